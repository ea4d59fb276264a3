"""How an assignment is read."""

from __future__ import annotations

import json

import pytest
from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

from tenure.agent.assignment import AssignmentUnusable, decode
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.fake_server import assignment, span

NS = 1_000_000_000


def test_what_is_left_out_has_its_default() -> None:
    read = decode(pb.Assignment(lease_id="l", job_id="j", attempt=3, command="true"))
    assert (read.name, read.heartbeat_ns, read.lease_ns) == ("j-3", 30 * NS, 60 * NS)
    assert (read.accept_within_ns, read.grace_ns) == (10 * NS, 30 * NS)
    assert (read.max_disconnected_ns, read.sync_retry_budget_ns) == (600 * NS, 3600 * NS)
    assert (read.expires_at_us, read.parameters, read.absolute_paths) == (None, None, ())


def test_a_zero_that_was_asked_for_is_kept() -> None:
    spec = job_pb2.JobSpecification(max_disconnected=span(0))
    read = decode(assignment(grace_s=0, specification=spec))
    assert (read.grace_ns, read.max_disconnected_ns) == (0, 0)


def test_parameters_become_json_as_they_were_written() -> None:
    inner = Struct(fields={"b": Value(bool_value=True), "a": Value(null_value=NullValue.NULL_VALUE)})
    values = ListValue(values=[Value(number_value=0.5), Value(number_value=-2), Value(number_value=1e300)])
    spec = job_pb2.JobSpecification(
        parameters={
            "n": Value(number_value=3),
            "nan": Value(number_value=float("nan")),
            "list": Value(list_value=values),
            "inner": Value(struct_value=inner),
            "text": Value(string_value="ä\n"),
        }
    )
    text = decode(assignment(specification=spec)).parameters
    assert text is not None
    assert json.loads(text) == {
        "n": 3,
        "nan": None,
        "list": [0.5, -2, 1e300],
        "inner": {"b": True, "a": None},
        "text": "ä\n",
    }
    assert '"n":3' in text


def test_absolute_folders_are_found_in_every_phase_once() -> None:
    paths = {"before": ["/a/in/", "rel"], "during": ["/a/ck", "/a/./in"], "after": ["/a/ck/"]}
    rules = {phase: [job_pb2.SyncRule(local_path=path) for path in each] for phase, each in paths.items()}
    spec = job_pb2.JobSpecification(sync=job_pb2.Sync(**rules))
    assert decode(assignment(specification=spec)).absolute_paths == ("/a/ck", "/a/in")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"command": ""}, "names no command"),
        ({"job_id": "../x"}, "job_id is not a valid id"),
        ({"lease_id": ""}, "lease_id is not a valid id"),
    ],
)
def test_what_cannot_be_run_is_refused(change: dict[str, str], why: str) -> None:
    message = pb.Assignment(lease_id="l", job_id="j", attempt=1, command="true")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(AssignmentUnusable, match=why):
        decode(message)
