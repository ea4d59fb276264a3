"""Scenario 19: death by a signal that we did not send is a failure."""

from __future__ import annotations

import pytest

from tenure.v1 import job_pb2
from tests.acceptance.callers import outcome_of, state_of, updates_of
from tests.acceptance.specifications import simple
from tests.acceptance.world import World


@pytest.mark.parametrize(("signal", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (2, "SIGINT")])
async def test_scenario_19_signal(memory_world: World, signal: int, name: str) -> None:
    world = memory_world
    user, admin = await world.user("user"), await world.admin()
    job_id = await user.create(simple(hours=1, max_failures=2))
    a, b = await world.worker("A"), None
    await a.fail(await a.run(), signal=signal)
    job = await user.job(job_id)
    assert state_of(job) == "IN_QUEUE"
    assert job.status.num_failures == 1
    assert updates_of(job)[-1][2] == f"Attempt 1 on A failed (signal {signal} ({name})); trying again."
    b = await world.worker("B")
    await b.fail(await b.run(), signal=signal)
    job = await user.job(job_id)
    assert (state_of(job), outcome_of(job)) == ("FAILURE", "FAILED")
    for attempt in job.attempts:
        assert attempt.signal == signal
        assert not attempt.HasField("exit_code")
        assert attempt.oom is False
        assert attempt.end_reason == job_pb2.ATTEMPT_END_REASON_FAILED
    (first, _) = await admin.events(job_id, types=["AttemptFailed"])
    assert first.attempt_failed.signal == signal


async def test_scenario_19_out_of_memory(world: World) -> None:
    user = await world.user("user")
    job_id = await user.create(simple(hours=1, max_failures=1))
    a = await world.worker("A")
    await a.fail(await a.run(), signal=9, oom=True)
    job = await user.job(job_id)
    assert (state_of(job), outcome_of(job)) == ("FAILURE", "FAILED")
    assert job.attempts[0].oom is True
    assert "out of memory" in updates_of(job)[-1][2]
