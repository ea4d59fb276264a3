"""Scenario 22, the server's side: an attempt that cannot reach its store is heard of for as long as it likes."""

from __future__ import annotations

from tenure.v1 import job_pb2
from tests.acceptance.callers import duration, outcome_of, state_of, updates_of
from tests.acceptance.scripted_worker import HELD
from tests.acceptance.specifications import simple
from tests.acceptance.world import World


async def test_scenario_22_released_and_never_a_success(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    specification = simple(hours=5, sync_retry_budget=duration(3600))
    specification.sync.after.add(bucket="bucket", prefix="out", local_path="out")
    job_id = await user.create(specification)
    worker = await world.worker("w")
    assignment = await worker.run()
    assert assignment.specification.sync_retry_budget.seconds == 3600
    # Sixty lease lengths: it goes on trying, and beats.
    await world.let_pass(3600)
    assert state_of(await user.job(job_id)) == "RUNNING"
    assert (await worker.beat(assignment, stage=job_pb2.ATTEMPT_STAGE_SYNC_AFTER)).state == HELD
    reason = "object store unreachable: no answer for 1 h"
    assert (await worker.release(assignment, reason)).state == HELD

    job = await user.job(job_id)
    assert state_of(job) == "IN_QUEUE"
    assert outcome_of(job) == "UNSPECIFIED"
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 1
    assert updates_of(job)[-1][2] == f"Attempt 1 on w was released ({reason}); trying again."
    assert job.attempts[0].num_heartbeats >= 120
    assert "LeaseExpired" not in await admin.event_types(job_id)

    again = await worker.run()
    assert again.attempt == 2
    await worker.succeed(again)
    assert outcome_of(await user.job(job_id)) == "COMPLETED"
