"""Scenario 14: a worker that is not heard of loses its lease, to the millisecond."""

from __future__ import annotations

import pytest

from tests.acceptance.callers import millis, state_of, type_of, updates_of
from tests.acceptance.seed2_story import BEATS_MS, LAST_MOMENT_MS, LOST_MS, WORKER, beaten
from tests.acceptance.world import World


@pytest.mark.parametrize("how", ["its stream breaks", "it is silent"])
async def test_scenario_14_lost_worker(world2024: World, how: str) -> None:
    world = world2024
    story = await beaten(world)
    idle = await story.machine("idle")
    if how == "its stream breaks":
        await story.worker.vanish()

    await world.until(LAST_MOMENT_MS)
    await idle.round_trip()
    assert idle.assigned == []
    types = await story.admin.event_types(story.job_id)
    assert "LeaseExpired" not in types
    assert types.count("JobAssigned") == 1
    assert state_of(await story.user.job(story.job_id)) == "RUNNING"

    await world.until(LOST_MS)
    assignment = await idle.assignment()
    assert world.now_ms() <= LOST_MS + 1000
    assert (assignment.job_id, assignment.attempt) == (story.job_id, 2)

    events = await story.admin.events(story.job_id)
    (expired,) = [event for event in events if event.HasField("lease_expired")]
    assert millis(expired.time) == LOST_MS
    assert expired.time.ToJsonString() == "2024-10-20T14:10:38Z"
    assert expired.lease_expired.worker_id == WORKER
    assert expired.lease_expired.silence.ToMilliseconds() == 60_000
    assert expired.actor == "server"
    names = [type_of(event) for event in events]
    assert names[names.index("LeaseExpired") + 1] == "JobRequeued"
    second = [event for event in events if event.HasField("job_assigned")][1]
    assert LOST_MS <= millis(second.time) <= LOST_MS + 1000

    job = await story.user.job(story.job_id)
    assert updates_of(job)[2] == (
        LOST_MS,
        "IN_QUEUE",
        f"Attempt 1 on {WORKER} was lost (no heartbeat for 60 s); trying again.",
    )
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 1
    assert job.status.num_heartbeats == 3
    assert millis(job.status.last_heartbeat_at) == BEATS_MS[2]


async def test_scenario_14_a_beat_in_the_last_millisecond_saves_it(world2024: World) -> None:
    story = await beaten(world2024)
    await world2024.until(LAST_MOMENT_MS)
    await story.worker.beat(story.assignment)
    await world2024.until(LOST_MS + 30_000)
    assert "LeaseExpired" not in await story.admin.event_types(story.job_id)
