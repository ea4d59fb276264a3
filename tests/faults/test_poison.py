"""A job that kills the agent it runs under, on every worker it is given to: it ends as LOST, and nothing else does.

The workers are real ones, `tenure worker`, and somebody starts each again as soon as it has died, as a service manager
would. Jobs that did nothing wrong run beside the poisonous one, on the same workers.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tenure.v1 import job_pb2
from tests.acceptance.callers import Caller, duration, outcome_of
from tests.acceptance.invariants import assert_dense, assert_ends_once, assert_one_owner
from tests.acceptance.processes import ServerProcess, WorkerProcess
from tests.acceptance.waiting import eventually
from tests.faults.hosts import stories
from tests.faults.scene import together
from tests.faults.warm import Warm, warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

POISONS = size(short=1, full=20)
# Leases in a row that a job may lose; the product's own number takes longer than a short proof may, and with fewer one
# beside it is too likely to lose as many.
LIMIT = 5 if FULL else 3
WORKERS = LIMIT + 1
SLOTS = 2
GOOD = 2 * WORKERS if FULL else 4
GOOD_S = 1.0
WITHIN_S = 120.0
KILLS_ITS_PARENT = ["-c", "kill -9 $PPID; sleep 60"]


@dataclass
class Told:
    """What came of the poisonous jobs."""

    deaths: list[int] = field(default_factory=list)
    interruptions: int = 0
    events: int = 0
    violations: list[str] = field(default_factory=list)


async def test_poison(tmp_path: Path) -> None:
    began = time.monotonic()
    with warm() as family:
        told, control = await together(
            _run(tmp_path / "proof", family, limit=LIMIT, poisons=POISONS),
            _run(tmp_path / "control", family, limit=0, poisons=1),
        )
    settle(
        Proof(
            name="poison",
            promise=f"A job that kills its agents is LOST after {LIMIT} workers; jobs beside it end well.",
            fault="A job that kills its agent with SIGKILL; agents are started again at once.",
            runs=POISONS,
            faults=sum(told.deaths),
            acknowledged=told.events,
            violations=told.violations,
            figures={
                "workers": WORKERS,
                "agents killed by a poisonous job at most": max(told.deaths, default=0),
                "attempts of other jobs that were lost with their workers": told.interruptions,
            },
            control=f"without a limit it had killed agents of all {WORKERS} workers and went on",
            bites=bool(control.violations),
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _run(directory: Path, family: Warm, *, limit: int, poisons: int) -> Told:
    told = Told()
    directory.mkdir()
    directory.joinpath("tenure.toml").write_text(f"[defaults]\nmax_lost_leases = {limit}\n")
    server = ServerProcess(directory / "server", more=["--config", str(directory / "tenure.toml")])
    server.launch = family.launch
    workers: list[WorkerProcess] = []
    try:
        await server.up()
        caller = Caller(server.address, server.admin_token())
        for number in range(WORKERS):
            workers.append(WorkerProcess(f"w{number}", directory, server, slots=SLOTS))
            workers[-1].launch = family.launch
            workers[-1].start()
        supervising = asyncio.ensure_future(_supervise(workers))
        for _ in range(poisons):
            await _one(caller, told)
        supervising.cancel()
        events = await caller.events()
        told.events = len(events)
        for law in (assert_dense, assert_one_owner, assert_ends_once):
            law(events)
        await caller.close()
    except BaseException as error:
        error.add_note("\n".join(one.tail() for one in (server, *workers)))
        raise
    finally:
        for process in (*workers, server):
            process.close()
    return told


async def _supervise(workers: list[WorkerProcess]) -> None:
    """Start again whoever has died."""
    while True:
        for worker in workers:
            if not worker.running:
                worker.start()
        await asyncio.sleep(0.05)


async def _one(caller: Caller, told: Told) -> None:
    """One poisonous job among good ones, to the end of all of them."""
    poison = await caller.create(_job(*KILLS_ITS_PARENT))
    good = [await caller.create(_job("-c", f"sleep {GOOD_S}")) for _ in range(GOOD)]

    async def killed() -> Counter[str]:
        known = stories(await caller.events(poison)).values()
        return Counter(story.worker_id for story in known if story.lost_s is not None)

    async def over() -> bool:
        ended = [outcome_of(await caller.job(job_id)) != "UNSPECIFIED" for job_id in (poison, *good)]
        return all(ended) or len(await killed()) > LIMIT

    await eventually(over, "the end of a poisonous job and of those beside it", within_s=WITHIN_S)
    workers = await killed()
    told.deaths.append(workers.total())
    outcome = outcome_of(await caller.job(poison))
    if outcome != "LOST" or len(workers) != LIMIT:
        told.violations.append(f"the poisonous job ended as {outcome} after it had killed {dict(workers)}")
    for job_id in good:
        job = await caller.job(job_id)
        told.interruptions += job.status.num_interruptions
        if outcome_of(job) != "COMPLETED" or job.status.num_failures:
            told.violations.append(f"a job beside it ended as {outcome_of(job)}, {job.status.num_failures} failures")


def _job(*arguments: str) -> job_pb2.JobSpecification:
    return job_pb2.JobSpecification(command="/bin/sh", arguments=arguments, heartbeat_interval=duration(1))
