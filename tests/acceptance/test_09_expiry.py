"""Scenario 9: the time allocation ends at its instant, whoever notices it when."""

from __future__ import annotations

from tenure.v1 import worker_service_pb2
from tests.acceptance.callers import Caller, millis, outcome_of, refusal, state_of, updates_of
from tests.acceptance.specifications import HOUR_S
from tests.acceptance.stories import EXPIRED, EXPIRES_MS, running
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World


async def _assert_expired(user: Caller, admin: Caller, job_id: str) -> None:
    job = await user.job(job_id)
    assert state_of(job) == "EXPIRED"
    assert outcome_of(job) == "EXPIRED"
    assert not job.status.HasField("expires_at")
    assert updates_of(job)[-1] == (EXPIRES_MS, "EXPIRED", EXPIRED)
    (event,) = await admin.events(job_id, types=["JobTerminated"])
    assert millis(event.time) == EXPIRES_MS == 1_633_347_776_235
    assert event.actor == "server"


async def _final(user: Caller, job_id: str) -> bool:
    return state_of(await user.job(job_id)) != "RUNNING"


async def test_scenario_09_to_the_millisecond(world: World) -> None:
    story = await running(world)
    admin = await world.admin()
    await world.until(EXPIRES_MS - 1)
    job = await story.user.job(story.job_id)
    assert state_of(job) == "RUNNING"
    assert millis(job.status.expires_at) == EXPIRES_MS
    stop = await story.worker.told_to_stop(story.assignment, worker_service_pb2.STOP_REASON_EXPIRING)
    assert 0 < stop.grace.ToMilliseconds() <= 30_000

    await world.until(EXPIRES_MS)
    await eventually(lambda: _final(story.user, story.job_id), "the expiry")
    assert world.now_ms() == EXPIRES_MS
    await _assert_expired(story.user, admin, story.job_id)
    await story.worker.told_to_stop(story.assignment, worker_service_pb2.STOP_REASON_LEASE_REVOKED)


async def test_scenario_09_sweep_900_ms_late(world: World) -> None:
    story = await running(world)
    admin = await world.admin()
    await world.until(EXPIRES_MS - 50)
    world.clock.freeze(0.95)
    assert world.now_ms() == EXPIRES_MS + 900
    await world.wake()
    await eventually(lambda: _final(story.user, story.job_id), "the expiry")
    assert world.now_ms() == EXPIRES_MS + 900
    await _assert_expired(story.user, admin, story.job_id)


async def test_scenario_09_extend_after_the_deadline_before_the_sweep(world: World) -> None:
    story = await running(world)
    admin = await world.admin()
    await world.until(EXPIRES_MS - 50)
    world.clock.freeze(0.051)
    # Nobody has been woken since; the call itself brings to light what time has done.
    refused = await refusal(story.user.extend(story.job_id, HOUR_S))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "JOB_FINAL")
    await _assert_expired(story.user, admin, story.job_id)
    await world.let_pass(2)
    await _assert_expired(story.user, admin, story.job_id)


async def test_scenario_09_restart_across_the_deadline(lasting_world: World) -> None:
    world = lasting_world
    story = await running(world)
    await world.until(EXPIRES_MS - 10_000)
    assert state_of(await story.user.job(story.job_id)) == "RUNNING"
    await world.stop()
    world.clock.freeze(25)
    assert world.now_ms() >= EXPIRES_MS + 15_000
    await world.start()
    user, admin = await world.user("user"), await world.admin()
    await world.let_pass(1)
    await eventually(lambda: _final(user, story.job_id), "the expiry")
    await _assert_expired(user, admin, story.job_id)


async def test_scenario_09_extended_in_time(world: World) -> None:
    story = await running(world)
    await world.until(EXPIRES_MS - 1)
    end = await story.user.extend(story.job_id, HOUR_S)
    assert end == EXPIRES_MS + HOUR_S * 1000
    await world.let_pass(2)
    assert state_of(await story.user.job(story.job_id)) == "RUNNING"
