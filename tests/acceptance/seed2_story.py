"""The second seed's job on its worker, up to its last heartbeat at 14:09:38."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tenure.v1 import worker_service_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.scripted_worker import HELD, ScriptedWorker
from tests.acceptance.specifications import seed2
from tests.acceptance.world import World, open_world

SUBMITTED_MS = 1_729_433_313_000  # 2024-10-20T14:08:33Z
ASSIGNED_MS = SUBMITTED_MS + 4_000  # 14:08:37
BEATS_MS = (SUBMITTED_MS + 5_000, SUBMITTED_MS + 35_000, SUBMITTED_MS + 65_000)  # 14:08:38, 14:09:08, 14:09:38
LAST_MOMENT_MS = SUBMITTED_MS + 124_999  # 14:10:37.999
LOST_MS = SUBMITTED_MS + 125_000  # 14:10:38.000

WORKER = "9d8e79e1-54b4-db50-944c-c2ca6c126d20"
QUEUE = "8e78dce7-08b8-4854-b6ea-67a6bb6bcf03"
OWNER = "e243fb7b-f580-41e7-a851-161ffe74a920"


@dataclass
class Beaten:
    """The job after its third beat."""

    world: World
    user: Caller
    admin: Caller
    job_id: str
    worker: ScriptedWorker
    assignment: worker_service_pb2.Assignment

    async def machine(self, worker_id: str) -> ScriptedWorker:
        """Another machine of the container group."""
        return await self.world.worker(worker_id, queues=[QUEUE], allowed_roots=["/app"])


@asynccontextmanager
async def opened_2024(store_url: str) -> AsyncIterator[World]:
    """A world in which it is 2024-10-20T14:08:33Z."""
    async with open_world(store_url, wall_ms=SUBMITTED_MS) as world:
        yield world


async def beaten(world: World) -> Beaten:
    """Submitted at 14:08:33, assigned at 14:08:37, beats at 14:08:38, 14:09:08 and 14:09:38."""
    user, admin = await world.user(OWNER), await world.admin()
    job_id = await user.create(seed2())
    await world.until(ASSIGNED_MS)
    worker = await world.worker(WORKER, queues=[QUEUE], allowed_roots=["/app"])
    worker.beats_by_itself = False
    assignment = await worker.run()
    assert world.now_ms() == ASSIGNED_MS
    for at_ms in BEATS_MS:
        await world.until(at_ms)
        assert (await worker.beat(assignment)).state == HELD
    return Beaten(world, user, admin, job_id, worker, assignment)
