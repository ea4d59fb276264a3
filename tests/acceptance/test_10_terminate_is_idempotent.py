"""Scenario 10: ending a job again changes nothing, and a job ended in the queue never starts."""

from __future__ import annotations

from tenure.v1 import worker_service_pb2
from tests.acceptance.callers import Caller, outcome_of, state_of
from tests.acceptance.scripted_worker import LOST, ScriptedWorker
from tests.acceptance.specifications import seed1, simple
from tests.acceptance.stories import EXPIRES_MS, running
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World

REPETITIONS = 100


async def test_scenario_10_twice(world: World) -> None:
    story = await running(world)
    await story.user.terminate(story.job_id)
    await world.let_pass(1)
    await story.user.terminate(story.job_id)
    await story.user.terminate(story.job_id, story.job_id)
    admin = await world.admin()
    assert len(await admin.events(story.job_id, types=["JobTerminated"])) == 1
    assert outcome_of(await story.user.job(story.job_id)) == "CANCELLED"


async def test_scenario_10_expired_stays_expired(memory_world: World) -> None:
    world = memory_world
    user = await world.user("user")
    job_id = await user.create(seed1())
    await world.until(EXPIRES_MS)

    async def expired() -> bool:
        return state_of(await user.job(job_id)) == "EXPIRED"

    await eventually(expired)
    admin = await world.admin()
    before = await admin.position()
    await user.terminate(job_id)
    assert await expired()
    assert await admin.position() == before


async def test_scenario_10_in_the_queue_with_idle_workers(world: World) -> None:
    """Each job is ended as soon as it is there, while workers take what they can get and try to start it."""
    user, admin = await world.user("user"), await world.admin()
    workers = [await world.worker(f"idle-{n}") for n in range(4)]
    ended = []
    for _ in range(REPETITIONS):
        job_id = await user.create(simple(hours=1))
        await user.terminate(job_id)
        ended.append(job_id)
        await _nothing_starts(workers, job_id)
    assert len(set(ended)) == REPETITIONS
    for job_id in ended:
        await _assert_never_started(admin, job_id)


async def _nothing_starts(workers: list[ScriptedWorker], job_id: str) -> None:
    """What was assigned before the OK is lost; nothing is assigned after it."""
    for worker in workers:
        await worker.round_trip()
        for assignment in worker.untouched():
            await worker.assignment()
            assert (await worker.accept(assignment)).state == LOST
            assert (await worker.start(assignment)).state == LOST
            await worker.stopped(assignment)
    for worker in workers:
        await worker.round_trip()
        assert worker.untouched() == []


async def _assert_never_started(admin: Caller, job_id: str) -> None:
    types = await admin.event_types(job_id)
    assert "JobStarted" not in types
    assert types[-1] == "JobTerminated"
    assert types.count("JobTerminated") == 1
    assert [name for name in types if name not in ("JobAssigned", "AssignmentDeclined")] == [
        "JobCreated",
        "JobTerminated",
    ]


async def test_scenario_10_accepted_but_not_started(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    worker = await world.worker("w1")
    for _ in range(10):
        job_id = await user.create(simple(hours=1))
        assignment = await worker.take()
        assert assignment.job_id == job_id
        await user.terminate(job_id)
        assert (await worker.start(assignment)).state == LOST
        await worker.told_to_stop(assignment, worker_service_pb2.STOP_REASON_LEASE_REVOKED)
        await worker.stopped(assignment)
        await _assert_never_started(admin, job_id)
