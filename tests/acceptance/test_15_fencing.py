"""Scenario 15: whoever has lost the lease changes nothing any more."""

from __future__ import annotations

import pytest

from tenure.v1 import errors_pb2
from tests.acceptance.callers import state_of
from tests.acceptance.scripted_worker import HELD, LOST
from tests.acceptance.seed2_story import LOST_MS, Beaten, beaten
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World


async def _lost(world: World, *, taken_over: bool) -> Beaten:
    story = await beaten(world)
    await story.worker.vanish()
    if taken_over:
        other = await story.machine("other")
        await world.until(LOST_MS)
        await other.run()
    else:
        await world.until(LOST_MS)

        async def lost() -> bool:
            return "LeaseExpired" in await story.admin.event_types(story.job_id)

        await eventually(lost, "the end of the lease")
    return story


@pytest.mark.parametrize("taken_over", [True, False], ids=["another worker has it", "it waits"])
async def test_scenario_15_fencing(world2024: World, taken_over: bool) -> None:
    story = await _lost(world2024, taken_over=taken_over)
    welcome = await story.worker.connect(leases=[story.assignment])
    (verdict,) = welcome.leases
    assert verdict.lease_id == story.assignment.lease_id
    assert verdict.keep is False
    assert verdict.message

    before = [event for event in await story.admin.events(story.job_id) if event.HasField("lease_expired")]
    job = await story.user.job(story.job_id)
    # Only what the old lease could change is compared: the job may be assigned anew meanwhile.
    facts = (job.status.num_failures, job.status.num_heartbeats, len(job.updates), state_of(job))

    for _ in range(2):
        assert (await story.worker.beat(story.assignment)).state == LOST
        for report in (
            story.worker.fail(story.assignment, exit_code=1),
            story.worker.succeed(story.assignment),
            story.worker.release(story.assignment, "too late"),
            story.worker.start(story.assignment),
        ):
            answer = await report
            assert answer.state == LOST
            assert answer.error == errors_pb2.ERROR_REASON_LEASE_LOST

    job = await story.user.job(story.job_id)
    assert (job.status.num_failures, job.status.num_heartbeats, len(job.updates), state_of(job)) == facts
    assert [event for event in await story.admin.events(story.job_id) if event.HasField("lease_expired")] == before
    types = await story.admin.event_types(story.job_id)
    assert "AttemptFailed" not in types
    assert "AttemptReleased" not in types
    assert "JobTerminated" not in types
    await story.worker.stopped(story.assignment)


async def test_scenario_15_the_new_owner_is_not_disturbed(world2024: World) -> None:
    story = await beaten(world2024)
    await story.worker.vanish()
    other = await story.machine("other")
    await world2024.until(LOST_MS)
    assignment = await other.run()
    await story.worker.connect(leases=[story.assignment])
    assert (await story.worker.succeed(story.assignment)).state == LOST
    assert (await other.beat(assignment)).state == HELD
    assert (await other.succeed(assignment)).state == HELD
    job = await story.user.job(story.job_id)
    assert state_of(job) == "SUCCESS"
    assert [attempt.machine_id for attempt in job.attempts] == [story.worker.id, "other"]


async def test_scenario_15_a_repeat_of_what_was_accepted_is_acknowledged(world2024: World) -> None:
    story = await beaten(world2024)
    assert (await story.worker.succeed(story.assignment)).state == HELD
    before = await story.admin.position()
    assert (await story.worker.succeed(story.assignment)).state == HELD
    answer = await story.worker.fail(story.assignment, exit_code=1)
    assert answer.error == errors_pb2.ERROR_REASON_OUTCOME_CONFLICT
    assert await story.admin.position() == before


async def test_scenario_15_a_lease_of_somebody_else(world2024: World) -> None:
    """A worker cannot speak for an attempt by knowing its lease id."""
    story = await beaten(world2024)
    thief = await story.machine("thief")
    assert (await thief.succeed(story.assignment)).state == LOST
    assert (await thief.beat(story.assignment)).state == LOST
    assert state_of(await story.user.job(story.job_id)) == "RUNNING"
