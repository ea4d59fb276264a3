"""Scenario 3: an hour more."""

from __future__ import annotations

from tests.acceptance.callers import millis, state_of
from tests.acceptance.stories import EXTENDED_MS, extended
from tests.acceptance.world import World


async def test_scenario_03_extend(world: World) -> None:
    story = await extended(world)
    job = await story.user.job(story.job_id)
    assert millis(job.status.expires_at) == EXTENDED_MS == 1_633_351_376_235
    assert state_of(job) == "RUNNING"
    assert len(job.updates) == 2
    assert job.specification.time_allocation.seconds == 5 * 3600
    assert job.status.granted_extension.seconds == 3600
    await story.worker.told_deadline(story.assignment, EXTENDED_MS)

    admin = await world.admin()
    (event,) = await admin.events(story.job_id, types=["JobExtended"])
    assert event.job_extended.requested_time.ToMilliseconds() == 3_600_000
