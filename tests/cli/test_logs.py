from __future__ import annotations

import base64
import io
import sys

import grpc
import pytest

from tenure.cli.logs import _Printer
from tenure.cli.session import Options, Session
from tenure.client import SyncClient
from tenure.v1 import job_pb2, job_service_pb2
from tests.cli.conftest import Tenure
from tests.client.scripted import Refusal, ScriptedServer


def piece(offset: int, data: bytes = b"", *, attempt: int = 1, end: bool = False) -> job_service_pb2.FollowLogsResponse:
    return job_service_pb2.FollowLogsResponse(offset=offset, data=data, attempt=attempt, end=end)


def retrieved(outcome: job_pb2.JobOutcome.ValueType) -> job_service_pb2.RetrieveJobResponse:
    return job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id="a", status=job_pb2.JobStatus(outcome=outcome)))


async def test_what_there_is_goes_to_a_pipe_as_it_is(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [piece(0, b"a\xc3"), piece(2, b"\xbc\x1b[1m\n")])
    result = await tenure("jobs", "logs", "a")
    assert (result.code, result.out, result.err) == (0, "aü\x1b[1m\n", "")
    [request] = server.asked["FollowLogs"]
    assert (request.job_id, request.HasField("attempt"), request.from_offset, request.snapshot) == ("a", False, 0, True)


async def test_an_attempt_is_followed_to_its_end(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [piece(5, b"x", attempt=2), piece(6, b"y", attempt=2, end=True)])
    assert (await tenure("jobs", "logs", "a", "--attempt", "2", "--from-offset", "5", "-f")).out == "xy"
    [request] = server.asked["FollowLogs"]
    assert (request.attempt, request.from_offset, request.snapshot) == (2, 5, False)
    assert server.asked["RetrieveJob"] == []


async def test_a_job_is_followed_over_its_attempts(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams(
        "FollowLogs",
        [piece(0, b"one\n", attempt=3, end=True)],
        [piece(0, attempt=4, end=True)],
        [piece(0, b"two\n", attempt=5, end=True)],
    )
    live, done = retrieved(job_pb2.JOB_OUTCOME_UNSPECIFIED), retrieved(job_pb2.JOB_OUTCOME_COMPLETED)
    server.answers("RetrieveJob", live, live, done)
    result = await tenure("jobs", "logs", "a", "--follow")
    assert (result.out, result.err) == ("one\ntwo\n", "")
    assert [request.attempt for request in server.asked["FollowLogs"]] == [0, 4, 5]


async def test_a_job_that_had_no_attempt_has_no_output(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [piece(0, attempt=0, end=True)])
    result = await tenure("jobs", "logs", "a", "-f")
    assert (result.code, result.out) == (0, "")


@pytest.mark.parametrize("more", [(), ("-o", "json"), ("-o", "jsonl")])
async def test_that_there_is_nothing_to_tell_is_not_told(
    server: ScriptedServer, tenure: Tenure, more: tuple[str, ...]
) -> None:
    steps = [piece(0, attempt=0), piece(0), piece(0, b"x"), piece(1), piece(1, end=True)]
    server.streams("FollowLogs", steps, [step for step in steps if step.data or step.end])
    told, told_without = [await tenure("jobs", "logs", "a", "--attempt", "1", "-f", *more) for _ in range(2)]
    assert told == told_without
    assert len(told.out.splitlines()) == (2 if more else 1)


async def test_a_job_that_ends_after_an_attempt_has_not_had_another_one(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [piece(0, b"x", end=True)], [piece(0, attempt=0, end=True)])
    server.answers("RetrieveJob", retrieved(job_pb2.JOB_OUTCOME_UNSPECIFIED))
    [line] = (await tenure("jobs", "logs", "a", "-f", "-o", "json")).json_lines
    assert (line["attempt"], line["end"]) == (1, True)
    assert [request.attempt for request in server.asked["FollowLogs"]] == [0, 2]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([], "there is no output yet"),
        ([piece(0, attempt=0, end=True)], "no attempt has begun, so there is no output"),
        ([piece(0, attempt=2)], "attempt 2 has printed nothing that is kept"),
        ([piece(0, attempt=2, end=True)], "attempt 2 has printed nothing that is kept"),
    ],
)
async def test_nothing_is_not_met_with_silence(
    server: ScriptedServer, tenure: Tenure, pieces: list[job_service_pb2.FollowLogsResponse], said: str
) -> None:
    server.streams("FollowLogs", pieces, pieces)
    result = await tenure("jobs", "logs", "a")
    assert (result.code, result.out, result.err) == (0, "", f"tenure: {said}\n")
    assert (await tenure("jobs", "logs", "a", "-o", "json")).err == ""


async def test_an_attempt_that_never_was_is_said(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [piece(0, attempt=0, end=True)])
    result = await tenure("jobs", "logs", "a", "--attempt", "3")
    assert (result.code, result.out, result.err) == (0, "", "tenure: there was no attempt 3, so there is no output\n")


async def test_what_is_missing_is_said_beside_the_output(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [piece(100, b"x"), piece(200, b"y"), piece(201, end=True)])
    result = await tenure("jobs", "logs", "a")
    assert result.out == "xy"
    assert result.err == (
        "tenure: bytes 0 to 99 of attempt 1 are not kept\ntenure: bytes 101 to 199 of attempt 1 are not kept\n"
    )


async def test_for_programs_each_piece_is_a_line(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [piece(0, b"\xff\x00"), piece(2, end=True)])
    first, last = (await tenure("jobs", "logs", "a", "-o", "json")).json_lines
    assert (base64.b64decode(first["data"]), first["offset"], first["attempt"]) == (b"\xff\x00", "0", 1)
    assert last["end"] is True


async def test_a_worker_that_is_away_is_said(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("FollowLogs", [Refusal(grpc.StatusCode.FAILED_PRECONDITION, "WORKER_UNREACHABLE", "it is away")])
    result = await tenure("jobs", "logs", "a")
    assert result.code == 1
    assert result.err == "tenure: refused (WORKER_UNREACHABLE): it is away\n  → `--follow` waits for it\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_text_without_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    with SyncClient("127.0.0.1:1") as client:
        printer = _Printer(Session(Options(), client), 0)
        pieces = [
            piece(0, b"a\tb\x1b]0;title\x07\r\n50%\r60%\n\xc3"),
            piece(23, b"\xbc\n\xe2"),
            piece(26, b"", end=True),
        ]
        assert printer.show(pieces) == 1
        printer.show([piece(0, b"ok\n", attempt=2, end=True)])
    assert screen.getvalue() == "a\tb\\x1b]0;title\\x07\n50%\n60%\nü\n\ufffdok\n"
