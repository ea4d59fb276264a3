"""Scenario 13: three beats."""

from __future__ import annotations

from tenure.v1 import job_pb2
from tests.acceptance.callers import state_of
from tests.acceptance.seed2_story import BEATS_MS, WORKER, beaten
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World


async def test_scenario_13_heartbeats(world2024: World) -> None:
    story = await beaten(world2024)

    async def counted() -> job_pb2.Job | None:
        job = await story.user.job(story.job_id)
        return job if job.status.num_heartbeats == 3 else None

    job = await eventually(counted, "three heartbeats")
    assert job is not None
    assert job.status.last_heartbeat_at.ToJsonString() == "2024-10-20T14:09:38Z"
    assert job.status.machine_id == WORKER == "9d8e79e1-54b4-db50-944c-c2ca6c126d20"
    assert job.status.started_at.ToJsonString() == "2024-10-20T14:08:37Z"
    assert job.status.num_failures == 0
    assert state_of(job) == "RUNNING"
    assert job.attempts[0].num_heartbeats == 3

    beats = [event.job_heartbeat for event in await story.admin.events(story.job_id, types=["JobHeartbeat"])]
    # The first of an attempt and then one a minute: 14:09:08 is not in the log.
    assert [beat.count for beat in beats] == [1, 3]
    assert [beat.last_beat.ToMilliseconds() for beat in beats] == [BEATS_MS[0], BEATS_MS[2]]
    assert len(job.updates) == 2


async def test_scenario_13_a_fleet_that_beats_every_second_does_not_flood_the_log(world2024: World) -> None:
    story = await beaten(world2024)
    for _ in range(60):
        await story.world.let_pass(1)
        await story.worker.beat(story.assignment)
    await story.worker.succeed(story.assignment)
    beats = [event.job_heartbeat for event in await story.admin.events(story.job_id, types=["JobHeartbeat"])]
    assert len(beats) <= 4
    # The end of the attempt writes down what was not yet.
    assert beats[-1].count == 63
    assert (await story.user.job(story.job_id)).status.num_heartbeats == 63
