"""Scenario 4: the owner ends the job early."""

from __future__ import annotations

from tenure.v1 import worker_service_pb2
from tests.acceptance.callers import millis, outcome_of, state_of, updates_of
from tests.acceptance.scripted_worker import LOST
from tests.acceptance.stories import CANCELLED, TERMINATED_MS, extended
from tests.acceptance.world import World


async def test_scenario_04_terminate(world: World) -> None:
    story = await extended(world)
    await world.until(TERMINATED_MS)
    await story.user.terminate(story.job_id)
    # One round trip of the stream later the worker has been told, with no time gone by.
    await story.worker.round_trip()
    (stop,) = story.worker.stops(story.assignment)
    assert stop.reason == worker_service_pb2.STOP_REASON_LEASE_REVOKED
    assert stop.grace.ToMicroseconds() == 0
    assert world.now_ms() == TERMINATED_MS

    job = await story.user.job(story.job_id)
    assert state_of(job) == "SUCCESS"
    assert outcome_of(job) == "CANCELLED"
    assert not job.status.HasField("expires_at")
    assert len(job.updates) == 3
    assert updates_of(job)[2] == (TERMINATED_MS, "SUCCESS", CANCELLED)
    assert millis(job.attempts[0].ended_at) == TERMINATED_MS

    answer = await story.worker.succeed(story.assignment)
    assert answer.state == LOST
    assert outcome_of(await story.user.job(story.job_id)) == "CANCELLED"
