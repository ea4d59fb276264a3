"""Scenario 21, the server's side: what a worker says of its copying is shown, and nothing is a success before its word.

That the last write is really stored is tested with real processes and a real store.
"""

from __future__ import annotations

from tenure.v1 import job_pb2
from tests.acceptance.callers import outcome_of, state_of
from tests.acceptance.scripted_worker import HELD
from tests.acceptance.specifications import simple
from tests.acceptance.world import World


async def test_scenario_21_counters_travel_with_beats_and_the_last_report(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    specification = simple(hours=1)
    specification.sync.during.add(bucket="bucket", prefix="state", local_path="state", commit_marker=r"\.done$")
    job_id = await user.create(specification)
    worker = await world.worker("w")
    assignment = await worker.run()
    rule = assignment.specification.sync.during[0]
    assert (rule.prefix, rule.direction, rule.commit_marker) == (
        "state/",
        job_pb2.SYNC_DIRECTION_UPLOAD,
        r"\.done$",
    )

    await worker.beat(assignment, sync=job_pb2.SyncCounters(files_uploaded=49, bytes_uploaded=4_900))
    await world.let_pass(10)
    # The command has ended; its last write is still on its way.
    await worker.beat(
        assignment,
        stage=job_pb2.ATTEMPT_STAGE_SYNC_AFTER,
        sync=job_pb2.SyncCounters(files_uploaded=49, bytes_uploaded=4_900, files_pending=1),
    )
    assert state_of(await user.job(job_id)) == "RUNNING"
    last = job_pb2.SyncCounters(files_uploaded=50, bytes_uploaded=5_000)
    assert (await worker.succeed(assignment, sync=last)).state == HELD

    job = await user.job(job_id)
    assert outcome_of(job) == "COMPLETED"
    assert job.attempts[0].bytes_uploaded == 5_000
    beats = [event.job_heartbeat for event in await admin.events(job_id, types=["JobHeartbeat"])]
    assert beats[-1].transfer.files_uploaded == 50
