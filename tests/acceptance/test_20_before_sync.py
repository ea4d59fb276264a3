"""Scenario 20, the server's side: an attempt whose input is not complete fails before it starts."""

from __future__ import annotations

from tenure.v1 import job_pb2
from tests.acceptance.callers import outcome_of, refusal, state_of, updates_of
from tests.acceptance.scripted_worker import HELD, SYNC_BEFORE
from tests.acceptance.specifications import simple
from tests.acceptance.world import World


def _with_input(prefix: str = "in/") -> job_pb2.JobSpecification:
    specification = simple(hours=1)
    specification.sync.before.add(bucket="bucket", prefix=prefix, local_path="in")
    return specification


async def test_scenario_20_failed_before_it_started(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    job_id = await user.create(_with_input())
    a = await world.worker("A")
    assignment = await a.take()
    assert assignment.specification.sync.before[0].prefix == "in/"
    message = "bucket/in/file-07: the store refuses it"
    assert (await a.fail(assignment, stage=SYNC_BEFORE, message=message)).state == HELD

    job = await user.job(job_id)
    (attempt,) = job.attempts
    assert attempt.stage == job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
    assert attempt.message == message
    assert not attempt.HasField("exit_code")
    assert not attempt.HasField("started_at")
    assert not job.status.HasField("started_at")
    assert job.status.num_failures == 1
    types = await admin.event_types(job_id)
    assert types == ["JobCreated", "JobAssigned", "AttemptFailed", "JobRequeued"]

    # Access is restored: another worker goes through with it.
    b = await world.worker("B")
    second = await b.run()
    await b.succeed(second)
    assert outcome_of(await user.job(job_id)) == "COMPLETED"


async def test_scenario_20_the_last_failure_before_a_start(world: World) -> None:
    user = await world.user("user")
    specification = _with_input()
    specification.max_failures = 1
    job_id = await user.create(specification)
    a = await world.worker("A")
    await a.fail(await a.take(), stage=SYNC_BEFORE, message="refused")
    job = await user.job(job_id)
    assert (state_of(job), outcome_of(job)) == ("FAILURE", "FAILED")
    assert updates_of(job)[-1][2] == "Your job has failed: refused"


async def test_scenario_20_a_prefix_with_dots_is_refused(world: World) -> None:
    user = await world.user("user")
    for prefix in ("../in/", "in/../../etc/", "/in/", "in/./x/"):
        refused = await refusal(user.create(_with_input(prefix)))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert refused.fields == ("items[0].specification.sync.before[0].prefix",)
