"""Scenario 29, the server's side: a job that is ended with a grace period may save its work."""

from __future__ import annotations

from tenure.v1 import worker_service_pb2
from tests.acceptance.callers import millis, outcome_of, state_of, updates_of
from tests.acceptance.scripted_worker import HELD, LOST
from tests.acceptance.specifications import simple
from tests.acceptance.stories import CANCELLED, EXPIRES_MS, STARTED_MS, running
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World

CANCELING = "Your job is being cancelled."


async def test_scenario_29_saved_in_three_of_ten_seconds(world: World) -> None:
    story = await running(world)
    await story.user.terminate(story.job_id, grace_s=10)
    job = await story.user.job(story.job_id)
    assert state_of(job) == "CANCELING"
    assert outcome_of(job) == "UNSPECIFIED"
    assert updates_of(job)[-1] == (STARTED_MS, "CANCELING", CANCELING)
    stop = await story.worker.told_to_stop(story.assignment, worker_service_pb2.STOP_REASON_CANCEL_REQUESTED)
    assert stop.grace.ToMilliseconds() == 10_000

    await world.let_pass(3)
    assert (await story.worker.beat(story.assignment)).state == HELD
    assert (await story.worker.succeed(story.assignment)).state == HELD
    job = await story.user.job(story.job_id)
    assert (state_of(job), outcome_of(job)) == ("SUCCESS", "CANCELLED")
    assert updates_of(job)[-1] == (STARTED_MS + 3_000, "SUCCESS", CANCELLED)
    await world.let_pass(30)
    assert len((await story.user.job(story.job_id)).updates) == 4


async def test_scenario_29_any_end_is_a_cancellation(world: World) -> None:
    user = await world.user("user")
    for end in ("failed", "released", "lost", "grace over", "second terminate"):
        worker = await world.worker(f"w-{end.replace(' ', '-')}")
        job_id = await user.create(simple(hours=1))
        assignment = await worker.run()
        await user.terminate(job_id, grace_s=10)
        await worker.told_to_stop(assignment, worker_service_pb2.STOP_REASON_CANCEL_REQUESTED)
        match end:
            case "failed":
                await worker.fail(assignment, exit_code=1)
            case "released":
                await worker.release(assignment, "drain")
            case "lost":
                worker.beats_by_itself = False
                await worker.vanish()
                await world.let_pass(61)
            case "grace over":
                await world.let_pass(10)
                await worker.told_to_stop(assignment, worker_service_pb2.STOP_REASON_LEASE_REVOKED)
                assert (await worker.succeed(assignment)).state == LOST
            case _:
                await user.terminate(job_id)

        async def cancelled(job_id: str = job_id) -> bool:
            job = await user.job(job_id)
            return (state_of(job), outcome_of(job)) == ("SUCCESS", "CANCELLED")

        await eventually(cancelled, f"the cancellation: {end}")
        job = await user.job(job_id)
        assert (job.status.num_failures, job.status.num_interruptions) == (0, 0)
        await worker.vanish()
        worker.beats_by_itself = False


async def test_scenario_29_the_grace_ends_with_the_deadline(world: World) -> None:
    story = await running(world)
    await world.until(EXPIRES_MS - 4_000)
    await story.user.terminate(story.job_id, grace_s=10)
    stop = await story.worker.told_to_stop(story.assignment, worker_service_pb2.STOP_REASON_CANCEL_REQUESTED)
    assert stop.grace.ToMilliseconds() == 4_000
    await world.until(EXPIRES_MS)

    async def final() -> bool:
        return state_of(await story.user.job(story.job_id)) == "SUCCESS"

    await eventually(final, "the end of the grace")
    job = await story.user.job(story.job_id)
    assert outcome_of(job) == "CANCELLED"
    assert millis(job.updates[-1].timestamp) == EXPIRES_MS


async def test_scenario_29_a_job_that_has_not_started_ends_at_once(world: World) -> None:
    user = await world.user("user")
    job_id = await user.create(simple(hours=1))
    await user.terminate(job_id, grace_s=10)
    assert outcome_of(await user.job(job_id)) == "CANCELLED"
