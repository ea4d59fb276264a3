from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from tenure.v1 import job_pb2
from tests.cli.conftest import Tenure
from tests.cli.examples import changed, ended, mark, running_job, snapshot
from tests.client.scripted import Refusal, ScriptedServer, Silence


async def test_named_jobs_are_watched_to_their_end(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams(
        "WatchJobs",
        [snapshot(running_job("a")), snapshot(running_job("b")), mark(), ended("a", 5), ended("b", 6), Silence()],
    )
    result = await tenure("jobs", "watch", "a", "b")
    assert result.code == 0
    assert result.out.splitlines()[-2:] == [
        "2021-10-04 06:43:01.235Z  a  SUCCESS/COMPLETED  Your job has completed successfully!",
        "2021-10-04 06:43:02.235Z  b  SUCCESS/COMPLETED  Your job has completed successfully!",
    ]
    [request] = server.asked["WatchJobs"]
    assert (list(request.ids), request.HasField("flags")) == (["a", "b"], False)


async def test_one_failed_job_is_exit_code_1(server: ScriptedServer, tenure: Tenure) -> None:
    steps = [snapshot(running_job("a")), snapshot(running_job("b")), mark(), ended("a", 5), ended("b", 6, well=False)]
    server.streams("WatchJobs", [*steps, Silence()])
    assert (await tenure("jobs", "watch", "a", "b")).code == 1


async def test_a_job_that_has_ended_is_told_at_once(server: ScriptedServer, tenure: Tenure) -> None:
    job = running_job("a")
    job.status.state = job_pb2.JOB_STATE_SUCCESS
    server.streams("WatchJobs", [snapshot(job), Silence()])
    assert (await tenure("jobs", "watch", "a")).code == 0


async def test_a_lost_connection_repeats_no_line(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams(
        "WatchJobs",
        [snapshot(running_job("a")), mark("t1"), Refusal(grpc.StatusCode.UNAVAILABLE)],
        [changed("a", 4, job_pb2.JOB_STATE_RUNNING, "four"), Refusal(grpc.StatusCode.UNAVAILABLE)],
        [ended("a", 5), Silence()],
    )
    result = await tenure("jobs", "watch", "a")
    assert result.code == 0
    assert [line.rsplit("  ", 1)[1] for line in result.out.splitlines()] == [
        "Your job is now waiting in the queue!",
        "Your job is now running!",
        "four",
        "Your job has completed successfully!",
    ]
    assert [request.resume_token for request in server.asked["WatchJobs"]] == ["", "t1", "t4"]


async def test_a_connection_that_is_lost_within_the_snapshot_repeats_no_line(
    server: ScriptedServer, tenure: Tenure
) -> None:
    first, later = running_job("a"), running_job("a")
    later.version += 1
    later.updates.add(timestamp=later.updates[1].timestamp, state=job_pb2.JOB_STATE_RUNNING, status="half way")
    for job in (first, later):
        for position, update in enumerate(job.updates, start=1):
            update.position = position
    server.streams(
        "WatchJobs",
        [snapshot(first), Refusal(grpc.StatusCode.UNAVAILABLE)],
        [snapshot(later), mark(), ended("a", 5), Silence()],
    )
    result = await tenure("jobs", "watch", "a")
    assert [line.rsplit("  ", 1)[1] for line in result.out.splitlines()] == [
        "Your job is now waiting in the queue!",
        "Your job is now running!",
        "half way",
        "Your job has completed successfully!",
    ]


async def test_json_is_a_line_each_change(server: ScriptedServer, tenure: Tenure) -> None:
    server.streams("WatchJobs", [snapshot(running_job("a")), mark(), ended("a", 5), Silence()])
    first, last = (await tenure("jobs", "watch", "a", "-o", "json")).json_lines
    assert first["snapshot"]["id"] == "a"
    assert last["event"]["status"]["state"] == "JOB_STATE_SUCCESS"
    assert last["resumeToken"] == "t5"


async def test_without_names_filters_choose(server: ScriptedServer, tenure: Tenure) -> None:
    refusal = Refusal(grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", "not for workers")
    server.streams("WatchJobs", [refusal])
    result = await tenure("jobs", "watch", "--queue", "q", "--state", "running", "--label", "a=b")
    assert result.code == 1
    [request] = server.asked["WatchJobs"]
    assert (request.flags.filter_queue, request.flags.filter_state) == ("q", job_pb2.JOB_STATE_RUNNING)
    assert dict(request.flags.filter_labels) == {"a": "b"}
    assert request.flags.include_updates


@pytest.mark.parametrize("extra", [["--queue", "q"], ["--state", "running"], ["--label", "a=b"]])
async def test_names_or_filters(server: ScriptedServer, tenure: Tenure, extra: list[str]) -> None:
    result = await tenure("jobs", "watch", "a", *extra)
    assert result.code == 2
    assert "not both" in result.err


# A process that was started in the background of a script ignores it, and so do all that it starts.
HEEDING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


async def started(
    server: ScriptedServer, *args: str, stdout: int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    """The real command against the scripted server; Ctrl-C reaches it, also where whoever runs the tests ignores it."""
    command = str(Path(sys.executable).with_name("tenure"))
    environment = os.environ | {"TENURE_SERVER": server.address, "COLUMNS": "140", "LINES": "40", "TERM": "xterm"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", HEEDING, command, *args, stdout=stdout, stderr=asyncio.subprocess.PIPE, env=environment
    )


async def test_ctrl_c_ends_a_watch_without_a_traceback(server: ScriptedServer) -> None:
    server.streams("WatchJobs", [snapshot(running_job("a")), mark(), Silence()])
    process = await started(server, "jobs", "watch", "a")
    async with asyncio.timeout(20):
        assert process.stdout is not None
        assert b"waiting in the queue" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (130, b"")


async def test_on_a_terminal_it_is_drawn_and_stays_on_the_screen(server: ScriptedServer) -> None:
    server.streams("WatchJobs", [snapshot(running_job("a")), mark(), ended("a", 5), Silence()])
    ours, theirs = os.openpty()
    process = await started(server, "jobs", "watch", "a", stdout=theirs)
    os.close(theirs)
    async with asyncio.timeout(20):
        shown = await asyncio.to_thread(_read_all, ours)
        _, errors = await process.communicate()
    os.close(ours)
    assert (process.returncode, errors) == (0, b"")
    assert "\x1b[" in shown
    assert "SUCCESS/COMPLETED" in shown
    assert "Your job has completed successfully!" in shown


def _read_all(terminal: int) -> str:
    """Until the other side is closed, which Linux tells as an error."""
    found = b""
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            found += piece
    return found.decode()
