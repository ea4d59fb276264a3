from __future__ import annotations

import grpc
import pytest

from tenure.cli.failures import EXIT_REFUSED, EXIT_UNREACHABLE, HINTS, Problem, refusal
from tenure.client import FieldViolation, TenureError
from tenure.v1 import errors_pb2


def told(error: TenureError) -> tuple[list[str], int]:
    problem = refusal(error, "host:1")
    return problem.lines(), problem.exit_code


def test_a_refusal_is_one_line_and_what_to_do() -> None:
    error = TenureError(code=grpc.StatusCode.FAILED_PRECONDITION, reason="JOB_FINAL", message="The job has ended.")
    assert told(error) == (
        ["refused (JOB_FINAL): The job has ended.", "  → `tenure jobs get ID` shows how it ended"],
        EXIT_REFUSED,
    )


def test_bad_fields_get_a_line_each() -> None:
    error = TenureError(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_FIELD",
        message="2 fields are wrong",
        field_violations=(
            FieldViolation(field="items[0].specification.name", description="is too long"),
            FieldViolation(field="project", description="\x1b[2J"),
        ),
    )
    lines, _ = told(error)
    assert lines[1:] == ["  items[0].specification.name: is too long", "  project: \\x1b[2J"]


def test_what_the_message_has_said_is_not_said_again() -> None:
    error = TenureError(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="JOB_STOPPING",
        message="it stops",
        field_violations=(FieldViolation(field="items[0]", description="it stops"),),
    )
    assert told(error)[0] == ["refused (JOB_STOPPING): it stops"]
    assert refusal(error, "host:1", many=True).details == ("items[0]: it stops",)
    error.message = "items[0].time: is 0"
    error.field_violations = (FieldViolation(field="items[0].time", description="is 0"),)
    assert told(error)[0] == ["refused (JOB_STOPPING): items[0].time: is 0"]


@pytest.mark.parametrize(
    ("message", "gist"),
    [
        ("failed to connect to all addresses; last error: … Connection refused (111)", "connection refused"),
        ("DNS resolution failed for nowhere:1", "no such host"),
        ("Ssl handshake failed", "the encrypted connection"),
        (
            "UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed",
            "it hung up at once (does it want TLS? --tls-ca FILE or --tls)",
        ),
        ("… check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.", "its certificate is for"),
        ("something new", "something new"),
    ],
)
def test_nobody_there(message: str, gist: str) -> None:
    lines, code = told(TenureError(code=grpc.StatusCode.UNAVAILABLE, message=message))
    assert code == EXIT_UNREACHABLE
    assert lines[0].startswith(f"cannot reach host:1: {gist}")
    assert "--server" in lines[1]


def test_a_change_of_unknown_outcome_says_how_to_repeat_it() -> None:
    for error in (
        TenureError(code=grpc.StatusCode.UNAVAILABLE, reason="COMMIT_OUTCOME_UNKNOWN", request_id="r-1"),
        TenureError(code=grpc.StatusCode.DEADLINE_EXCEEDED, request_id="r-1"),
    ):
        lines, code = told(error)
        assert code == EXIT_UNREACHABLE
        assert "--request-id r-1 repeats it" in lines[-1]


def test_a_store_that_takes_no_changes_has_answered() -> None:
    error = TenureError(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="STORAGE_READ_ONLY",
        message="the server's store can only be read; nothing was changed",
        request_id="r-1",
    )
    assert told(error) == (
        [
            "refused (STORAGE_READ_ONLY): the server's store can only be read; nothing was changed",
            "  → try again later; `tenure log state` tells the operator why",
        ],
        EXIT_REFUSED,
    )


def test_hints_use_what_the_reason_says() -> None:
    duplicate = TenureError(code=grpc.StatusCode.ALREADY_EXISTS, reason="DUPLICATE_JOB", metadata={"job_id": "x\x1by"})
    assert told(duplicate)[0][-1] == "  → `tenure jobs get x\\x1by` shows it"
    cap = TenureError(
        code=grpc.StatusCode.FAILED_PRECONDITION, reason="EXTENSION_CAP", metadata={"remaining_seconds": "5400"}
    )
    assert told(cap)[0][-1] == "  → at most 1h 30m can be added"
    cap.metadata["remaining_seconds"] = "0"
    assert told(cap)[0][-1] == "  → nothing can be added"
    cap.metadata["remaining_seconds"] = "soon"
    assert len(told(cap)[0]) == 1


def test_every_hint_is_for_a_reason_there_is() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert HINTS.keys() <= reasons


def test_a_problem_reads_as_lines() -> None:
    problem = Problem("bad", details=["a", "b"], hints=["do"])
    assert problem.lines() == ["bad", "  a", "  b", "  → do"]
