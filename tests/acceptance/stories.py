"""Beginnings that several scenarios share."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.v1 import worker_service_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.scripted_worker import ScriptedWorker
from tests.acceptance.specifications import seed1
from tests.acceptance.world import T0_MS, World

STARTED_MS = 1_633_329_781_235
EXPIRES_MS = 1_633_347_776_235
EXTENDED_MS = 1_633_351_376_235
TERMINATED_MS = 1_633_336_981_235
TWICE_EXTENDED_MS = 1_633_354_976_235

WAITING = "Your job is now waiting in the queue!"
RUNNING = "Your job is now running!"
CANCELLED = "Your job has been cancelled!"
EXPIRED = "Your job has expired: its time allocation is used up."


@dataclass
class Story:
    """A job, who owns it and who runs it."""

    world: World
    user: Caller
    job_id: str
    worker: ScriptedWorker
    assignment: worker_service_pb2.Assignment


async def created(world: World) -> tuple[Caller, str]:
    """Scenario 1: `user` creates the first seed's job at T0; its id is 62348."""
    user = await world.user("user")
    assert world.now_ms() == T0_MS
    world.ids.then("62348")
    return user, await user.create(seed1())


async def running(world: World) -> Story:
    """Scenario 2: a worker starts it five seconds later."""
    user, job_id = await created(world)
    worker = await world.worker("w1")
    assignment = await worker.take()
    await world.until(STARTED_MS)
    answer = await worker.start(assignment)
    assert answer.state == worker_service_pb2.LEASE_STATE_HELD
    return Story(world, user, job_id, worker, assignment)


async def extended(world: World) -> Story:
    """Scenario 3: its owner extends it by an hour while it runs."""
    story = await running(world)
    assert await story.user.extend(story.job_id, 3600) == EXTENDED_MS
    return story


async def terminated(world: World) -> Story:
    """Scenario 4: its owner ends it early."""
    story = await extended(world)
    await world.until(TERMINATED_MS)
    await story.user.terminate(story.job_id)
    return story
