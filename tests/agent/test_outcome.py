"""Outcomes as they are reported."""

from __future__ import annotations

import protovalidate
import pytest

from tenure.agent.outcome import Failed, Outcome, Released, Stopped, Succeeded, clip, kind_of, to_item
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Failed(stage=job_pb2.ATTEMPT_STAGE_RUN, message="m" * 5000, exit_code=255), pb.REPORT_KIND_FAILED),
        (Failed(stage=job_pb2.ATTEMPT_STAGE_RUN, message="", signal=9, oom=True), pb.REPORT_KIND_FAILED),
        (Succeeded(), pb.REPORT_KIND_SUCCEEDED),
        (Released(reason="ä" * 5000), pb.REPORT_KIND_RELEASED),
        (Stopped(), pb.REPORT_KIND_STOPPED),
    ],
)
def test_every_outcome_makes_a_valid_report(outcome: Outcome, kind: pb.ReportKind.ValueType) -> None:
    item = to_item("lease-1", outcome)
    protovalidate.validate(pb.Report(items=[item]))
    assert kind_of(outcome) == kind
    assert pb.ReportKind.Name(kind) == f"REPORT_KIND_{(item.WhichOneof('outcome') or '').upper()}"


def test_texts_are_cut_between_characters() -> None:
    assert clip("abc", 3) == "abc"
    assert clip("ä" * 10, 9) == "äää…"
    assert clip("a\ud800b") == "a?b"
