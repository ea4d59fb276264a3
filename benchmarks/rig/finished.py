"""Stores full of jobs that have lived their lives, made without a server: through the handler, a thousand at a time."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.rig.callers import created_event
from tenure.controlplane.handler import Handler, Step
from tenure.domain import commands as c
from tenure.domain.errors import Refused
from tenure.runtime.clock import SystemClock
from tenure.runtime.ids import Uuid7Ids
from tenure.store.open import open_store
from tenure.store.store import Store

EVENTS_A_LIFE = 4

_AT_ONCE = 1000


async def opened(directory: Path) -> Store:
    """The store of a data directory."""
    return await open_store(f"sqlite://{directory}", clock=SystemClock(), on_fatal=fatal)


def fatal(error: BaseException) -> None:
    """What a benchmark does when its store fails."""
    raise SystemExit(f"the store has failed: {error}")


async def fill(directory: Path, jobs: int) -> None:
    """Have so many jobs created, assigned, started and succeeded in a new store."""
    store, ids = await opened(directory), Uuid7Ids()
    handler = Handler(store, SystemClock(), ids)
    await handler.load()
    event = created_event()
    for _ in range(math.ceil(jobs / _AT_ONCE)):
        made = await handler.create([event] * _AT_ONCE, actor="user:bench")
        job_ids = [job.id for job in made.jobs if not isinstance(job, Refused)]
        leases = [ids.new() for _ in job_ids]
        steps: tuple[list[c.Command], ...] = (
            [c.Assign(lease_id=one, worker_id="bench") for one in leases],
            [c.Start(lease_id=one) for one in leases],
            [c.Succeed(lease_id=one) for one in leases],
        )
        for commands in steps:
            await handler.execute(
                [Step(job_id=job_id, command=command) for job_id, command in zip(job_ids, commands, strict=True)],
                actor="worker:bench",
            )
    await store.close()
