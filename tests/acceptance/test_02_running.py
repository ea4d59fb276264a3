"""Scenario 2: a worker starts the job, and its end is counted from its creation."""

from __future__ import annotations

from tests.acceptance.callers import millis, state_of, updates_of
from tests.acceptance.stories import EXPIRES_MS, RUNNING, STARTED_MS, WAITING, created, running
from tests.acceptance.world import T0_MS, World


async def test_scenario_02_running(world: World) -> None:
    story = await running(world)
    job = await story.user.job(story.job_id)
    assert state_of(job) == "RUNNING"
    assert millis(job.status.started_at) == STARTED_MS
    assert millis(job.status.expires_at) == EXPIRES_MS == 1_633_347_776_235
    assert updates_of(job) == [(T0_MS, "IN_QUEUE", WAITING), (STARTED_MS, "RUNNING", RUNNING)]
    assert job.status.attempt == 1
    assert job.status.machine_id == "w1"
    (attempt,) = job.attempts
    assert (attempt.number, attempt.machine_id) == (1, "w1")
    assert millis(attempt.started_at) == STARTED_MS


async def test_scenario_02_assigned_is_still_in_queue(world: World) -> None:
    user, job_id = await created(world)
    worker = await world.worker("w1")
    assignment = await worker.take()
    assert assignment.job_id == job_id
    assert assignment.attempt == 1
    assert assignment.command
    assert millis(assignment.expires_at) == EXPIRES_MS
    assert assignment.lease.seconds == 60
    assert assignment.heartbeat_interval.seconds == 30
    job = await user.job(job_id)
    assert state_of(job) == "IN_QUEUE"
    assert len(job.updates) == 1
    assert not job.status.HasField("started_at")

    admin = await world.admin()
    assigned = [event for event in await admin.events(job_id) if event.HasField("job_assigned")]
    assert [event.event_id for event in assigned] == [assignment.lease_id]
