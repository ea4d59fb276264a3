"""The closed lists of the domain are those of the wire and of the log: names, numbers, fields."""

from __future__ import annotations

import re
from enum import IntEnum

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused, seconds
from tenure.domain.states import State
from tenure.events.v1 import event_pb2
from tenure.v1 import errors_pb2, job_pb2


def test_reasons_are_those_of_the_wire() -> None:
    wire = [name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items() if number]
    assert [reason.value for reason in Reason] == wire
    assert [reason.name for reason in Reason] == wire
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", name) for name in wire)


@pytest.mark.parametrize(
    ("ours", "wire", "prefix", "zero"),
    [
        (e.Basis, event_pb2.AllocationBasis, "ALLOCATION_BASIS_", "NONE"),
        (e.Basis, job_pb2.TimeAllocationBasis, "TIME_ALLOCATION_BASIS_", "NONE"),
        (e.Stage, event_pb2.Stage, "STAGE_", "UNSPECIFIED"),
        (e.Stage, job_pb2.AttemptStage, "ATTEMPT_STAGE_", "UNSPECIFIED"),
        (e.Outcome, event_pb2.Outcome, "OUTCOME_", None),
        (e.Outcome, job_pb2.JobOutcome, "JOB_OUTCOME_", None),
        (e.RequeueCause, event_pb2.RequeueCause, "REQUEUE_CAUSE_", None),
    ],
)
def test_enums_have_the_numbers_of_the_messages(
    ours: type[IntEnum], wire: EnumTypeWrapper, prefix: str, zero: str | None
) -> None:
    """`zero` is our name of 0; None: 0 is never stored, so it is no member."""
    theirs = {name.removeprefix(prefix): number for name, number in wire.items()}
    theirs.pop("UNSPECIFIED")
    if zero is not None:
        theirs[zero] = 0
    assert {member.name: member.value for member in ours} == theirs


def test_states_are_those_of_the_wire_that_are_built() -> None:
    wire = {name.removeprefix("JOB_STATE_") for name in job_pb2.JobState.keys()}  # noqa: SIM118 (no mapping)
    assert {state.value for state in State} == wire - {"UNSPECIFIED", "SUSPENDED"}


def test_a_refusal_says_what_and_where() -> None:
    refused = Refused(Reason.INVALID_FIELD, "must be above 0", field="requested_time", metadata={"a": "b"})
    assert (refused.reason, str(refused), refused.message) == (
        Reason.INVALID_FIELD,
        "must be above 0",
        "must be above 0",
    )
    assert (refused.field, refused.metadata) == ("requested_time", {"a": "b"})
    assert Refused(Reason.JOB_FINAL, "over").metadata == {}


@pytest.mark.parametrize(
    ("span_us", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (250_000, "0.25"),
        (1_000_000, "1"),
        (2_592_000_000_000, "2592000"),
        (1_234_567_000_001, "1234567.000001"),
    ],
)
def test_seconds_are_exact(span_us: int, text: str) -> None:
    assert seconds(span_us) == text
