"""Following a job's output with real processes: a command that prints without end, a server that is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tenure.client import Client
from tenure.v1 import job_pb2
from tenure.v1.job_service_pb2 import FollowLogsResponse
from tests.acceptance.callers import Caller, duration, outcome_of
from tests.acceptance.processes import ServerProcess, WorkerProcess, run_tenure
from tests.acceptance.waiting import eventually

pytestmark = pytest.mark.processes

# Prints a text in which every line of 64 bytes says at which offset it begins: as much as was asked for, and then on
# until it is told to end.
FLOOD = """
import pathlib, sys
least, end, n = int(sys.argv[1]), pathlib.Path(sys.argv[2]), 0
while n < least or not end.exists():
    sys.stdout.write("".join("%063d\\n" % at for at in range(n, n + 65536, 64)))
    n += 65536
sys.stdout.write("the end\\n")
"""
# Prints a numbered line now and then until it is told to end.
STEADY = """
import pathlib, sys, time
end, n = pathlib.Path(sys.argv[1]), 0
while not end.exists():
    print("line", n, flush=True)
    n += 1
    time.sleep(0.01)
print("the end of", n, flush=True)
"""
# Says which attempt it is, and fails in the first.
TWICE = "import os, sys\nprint('attempt', os.environ['TENURE_ATTEMPT'])\nsys.exit(os.environ['TENURE_ATTEMPT'] == '1')"

MEGABYTES_50 = 50 * 1024 * 1024
# Longer than two leases.
FLOOD_S = 4.0


class Place:
    """A server, two workers, and a user."""

    def __init__(self, server: ServerProcess, workers: list[WorkerProcess], client: Client) -> None:
        self.server = server
        self.workers = workers
        self.client = client

    async def create(self, program: str, *arguments: object) -> str:
        """A Python program as a job that beats every second."""
        specification = job_pb2.JobSpecification(
            queue="default",
            command=sys.executable,
            arguments=["-c", program, *map(str, arguments)],
            heartbeat_interval=duration(1),
        )
        return (await self.client.create_jobs([specification])).responses[0].id

    async def completed(self, job_id: str) -> job_pb2.Job:
        """The job, once it has ended; AssertionError when not by success."""

        async def ended() -> job_pb2.Job | None:
            job = await self.client.retrieve_job(job_id)
            return job if outcome_of(job) != "UNSPECIFIED" else None

        job = await eventually(ended, "its end", within_s=30)
        assert job is not None
        assert outcome_of(job) == "COMPLETED", job
        return job

    def logs(self, job_id: str, *more: str) -> str:
        """What `tenure jobs logs` prints into a pipe."""
        address = ("--server", self.server.address, "--token-file", str(self.server.token_file))
        result = run_tenure(*address, "jobs", "logs", job_id, *more, env=self.server.env)
        assert result.returncode == 0, result
        return result.stdout


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("logs")
    server = ServerProcess(folder / "server")
    workers: list[WorkerProcess] = []
    try:
        await server.up()
        for name in ("a", "b"):
            workers.append(worker := WorkerProcess(name, folder, server, slots=2))
            worker.start()
        for worker in workers:
            await worker.says(r"tenure: worker \S+ connected")
        async with Client(server.address, token=server.admin_token()) as client:
            yield Place(server, workers, client)
    finally:
        for worker in workers:
            worker.close()
        server.close()


def at(offset: int, length: int) -> bytes:
    """What FLOOD prints there."""
    first = offset - offset % 64
    return b"".join(b"%063d\n" % n for n in range(first, offset + length, 64))[offset - first :][:length]


async def test_a_command_that_prints_without_end_is_followed_and_delays_no_beat(place: Place, tmp_path: Path) -> None:
    job_id = await place.create(FLOOD, MEGABYTES_50, tmp_path / "end")
    loop = asyncio.get_running_loop()
    until = loop.time() + FLOOD_S
    reached, pieces, joined_late = 0, 0, None
    async with aclosing(place.client.follow_logs(job_id)) as output:
        async for piece in output:
            assert piece.offset >= reached
            if piece.data and not piece.data.endswith(b"the end\n"):
                # Making what is expected takes longer than reading it, so not all of it is looked at.
                edge = min(len(piece.data), 640)
                assert piece.data[:edge] == at(piece.offset, edge)
                assert piece.data[-edge:] == at(piece.offset + len(piece.data) - edge, edge)
            reached, pieces = piece.offset + len(piece.data), pieces + 1
            if loop.time() > until and joined_late is None:
                joined_late = asyncio.ensure_future(_first(place.client.follow_logs(job_id)))
            if joined_late is not None and joined_late.done():
                (tmp_path / "end").touch()
    assert piece.end
    assert reached > MEGABYTES_50
    assert pieces > 20
    # Who joins late begins with what the worker still has.
    assert joined_late is not None
    assert (await joined_late).offset > 0
    job = await place.completed(job_id)
    assert (job.status.attempt, job.status.num_interruptions) == (1, 0)
    assert job.status.num_heartbeats >= FLOOD_S - 1
    # Afterwards the last of it is kept.
    kept = place.logs(job_id)
    assert len(kept) == 64 * 1024
    assert kept.encode() == at(reached - 64 * 1024, 64 * 1024 - 8) + b"the end\n"


async def test_each_attempt_has_its_own_output(place: Place) -> None:
    job_id = await place.create(TWICE)
    followed = [_all(place.client.follow_logs(job_id, attempt=number)) for number in (1, 2)]
    assert await asyncio.gather(*followed) == [b"attempt 1\n", b"attempt 2\n"]
    await place.completed(job_id)
    assert place.logs(job_id, "--attempt", "1") == "attempt 1\n"
    assert place.logs(job_id) == "attempt 2\n"


async def test_a_server_that_is_killed_costs_who_follows_nothing(place: Place, tmp_path: Path) -> None:
    finished = await place.create("print('done before')")
    await place.completed(finished)
    job_id = await place.create(STEADY, tmp_path / "end")
    text, killed = b"", False
    async with aclosing(place.client.follow_logs(job_id)) as output:
        async for piece in output:
            assert piece.offset == len(text)
            text += piece.data
            if not killed and text.count(b"\n") > 50:
                killed = True
                seen = text.count(b"\n")
                place.server.kill()
                await place.server.up()
            elif killed and text.count(b"\n") > seen + 50:
                (tmp_path / "end").touch()
    lines = text.decode().splitlines()
    assert lines == [*(f"line {n}" for n in range(len(lines) - 1)), f"the end of {len(lines) - 1}"]
    job = await place.completed(job_id)
    assert (job.status.attempt, job.status.num_interruptions) == (1, 0)
    # What was kept before is still there.
    assert place.logs(finished) == "done before\n"


async def test_a_worker_that_nobody_follows_opens_no_call(place: Place, tmp_path: Path) -> None:
    job_id = await place.create(FLOOD, 1_000_000, tmp_path / "end")
    caller = Caller(place.server.address, place.server.admin_token())

    async def running() -> bool:
        return (await caller.job(job_id)).status.state == job_pb2.JOB_STATE_RUNNING

    async def alone() -> bool:
        return [_connections(worker.pid, place.server.address) for worker in place.workers] == [1, 1]

    try:
        await eventually(running, "the job to run")
        # Whoever followed another job before may just be leaving.
        await eventually(alone, "one connection of each worker")
        async with aclosing(place.client.follow_logs(job_id)) as output:
            await anext(output)
            followed = [_connections(worker.pid, place.server.address) for worker in place.workers]
        assert sorted(followed) == [1, 2]
        await eventually(alone, "the end of the call that brings the output")
    finally:
        (tmp_path / "end").touch()
        await caller.close()
    await place.completed(job_id)


async def _first(output: AsyncGenerator[FollowLogsResponse, None]) -> FollowLogsResponse:
    async with aclosing(output):
        return await anext(output)


async def _all(output: AsyncGenerator[FollowLogsResponse, None]) -> bytes:
    async with aclosing(output):
        return b"".join([piece.data async for piece in output])


def _connections(pid: int, address: str) -> int:
    """How many connections to that address a process has."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    inodes = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(file.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    established = "01"
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return sum(row[2].endswith(port) and row[3] == established and row[9] in inodes for row in rows)
