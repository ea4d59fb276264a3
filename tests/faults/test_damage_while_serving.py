"""A bit of an old event changes on the disk under a running server: its scrub notices, and the server takes no changes.

Nobody asks for that event, so nothing but reading the log again could notice it.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from tenure.v1 import job_pb2
from tests.acceptance.callers import Caller, refusal
from tests.acceptance.waiting import eventually
from tests.faults.disk_damage import flip_stored
from tests.faults.disk_server import DiskServer
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

FLIPS = size(short=1, full=25)
JOBS = 50
MARK = "an-old-event-"
# A pass every second is as often as there can be one.
SCRUB = '[scrub]\ninterval = "200ms"\n'
NEVER = "[scrub]\ninterval = 0\n"
DAMAGED = re.compile(r'"event": "log_damaged"')
CONTROL_S = size(short=2500, full=4000) / 1000


@dataclass
class Told:
    """What came of it."""

    noticed_s: list[float] = field(default_factory=list)
    acknowledged: int = 0
    violations: list[str] = field(default_factory=list)


async def test_damage_while_serving(tmp_path: Path) -> None:
    began = time.monotonic()
    generator = random.Random(first_seed())
    told = Told()
    for number in range(FLIPS):
        with _server(tmp_path / f"server-{number}", SCRUB) as server:
            told.violations += [f"run {number}: {wrong}" for wrong in await _flipped(server, generator, told)]
    with _server(tmp_path / "control", NEVER) as server:
        unnoticed = await _unnoticed(server, generator)
    settle(
        Proof(
            name="scrub",
            promise="Damage to the log under a running server is noticed by the next pass of its scrub; it takes no "
            "changes from then on, and reading goes on.",
            fault="a bit of an old event's stored bytes flipped in the database file.",
            runs=FLIPS,
            faults=FLIPS,
            acknowledged=told.acknowledged,
            violations=told.violations,
            figures={
                "noticed after, with a pass a second, at most (s)": round(max(told.noticed_s, default=0), 2),
            },
            control="without a scrub "
            + ("the server goes on taking changes" if unnoticed else "it was noticed all the same"),
            bites=unnoticed,
            seconds=round(time.monotonic() - began, 1),
        )
    )


@contextmanager
def _server(directory: Path, config: str) -> Iterator[DiskServer]:
    directory.mkdir()
    file = directory / "tenure.toml"
    file.write_text(config)
    server = DiskServer(directory, more=["--config", str(file)])
    try:
        yield server
    except BaseException as error:
        error.add_note(f"seed {first_seed()}; the server's log ends with:\n{server.tail()}")
        raise
    finally:
        server.close()


async def _flipped(server: DiskServer, generator: random.Random, told: Told) -> list[str]:
    caller = await _with_jobs(server)
    try:
        told.acknowledged += JOBS
        flip_stored(server.data / "tenure.db", _mark(generator), generator)
        began = time.monotonic()
        await server.says(DAMAGED, within_s=30)
        told.noticed_s.append(time.monotonic() - began)
        refused = await refusal(caller.create(_job(JOBS)))
        wrong = []
        if (refused.code, refused.reason) != ("UNAVAILABLE", "STORAGE_READ_ONLY"):
            wrong.append(f"a change was answered with {refused.code} {refused.reason}")
        if not re.search(r"positions \d+ to \d+ are not what was committed", server.output()):
            wrong.append(f"it was not said where: {server.tail()}")
        if len((await caller.retrieve(await _last_job(caller))).job.id) == 0:
            wrong.append("a job could not be read")
        return wrong
    finally:
        await caller.close()


async def _unnoticed(server: DiskServer, generator: random.Random) -> bool:
    caller = await _with_jobs(server)
    try:
        flip_stored(server.data / "tenure.db", _mark(generator), generator)
        await asyncio.sleep(CONTROL_S)
        await caller.create(_job(JOBS))
        return not DAMAGED.search(server.output())
    except grpc.aio.AioRpcError:
        return False
    finally:
        await caller.close()


async def _with_jobs(server: DiskServer) -> Caller:
    """A server that has copied its write-ahead log back into the database, and who made its jobs."""
    await server.up()
    caller = Caller(server.address, server.admin_token())
    await caller.create_many([_job(number) for number in range(JOBS)])

    async def copied_back() -> bool:
        return (server.data / "tenure.db-wal").stat().st_size == 0

    await eventually(copied_back, "the write-ahead log to be copied back")
    return caller


async def _last_job(caller: Caller) -> str:
    events = await caller.events(types=["JobCreated"])
    return events[-1].stream.removeprefix("job/")


def _mark(generator: random.Random) -> bytes:
    """What one event has and no other."""
    return _job(generator.randrange(JOBS)).command.encode()


def _job(number: int) -> job_pb2.JobSpecification:
    return job_pb2.JobSpecification(command=f"{MARK}{number:02}")
