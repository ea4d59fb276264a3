"""Scenario 17: a failure bans the worker from the job, others try, and the third failure is the last."""

from __future__ import annotations

from tenure.v1 import job_pb2
from tests.acceptance.callers import millis, outcome_of, state_of, updates_of
from tests.acceptance.scripted_worker import HELD
from tests.acceptance.specifications import simple
from tests.acceptance.world import T0_MS, World

BAN_S = 600


async def test_scenario_17_three_workers_three_failures(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    job_id = await user.create(simple(hours=1, max_failures=3))
    workers = []
    for number, name in enumerate(("A", "B", "C"), start=1):
        workers.append(await world.worker(name))
        before_ms = world.now_ms()
        assignment = await workers[-1].run()
        assert (assignment.job_id, assignment.attempt) == (job_id, number)
        assert world.now_ms() - before_ms <= 1000
        assert (await workers[-1].fail(assignment, exit_code=number, message="no luck")).state == HELD
        await world.settle()
        # Those it failed on stay without it, as long as they are banned.
        for worker in workers:
            await worker.round_trip()
            assert worker.untouched() == []
        await world.let_pass(2)

    job = await user.job(job_id)
    assert state_of(job) == "FAILURE"
    assert outcome_of(job) == "FAILED"
    assert job.status.num_failures == 3
    assert [attempt.exit_code for attempt in job.attempts] == [1, 2, 3]
    assert [attempt.machine_id for attempt in job.attempts] == ["A", "B", "C"]
    assert {attempt.end_reason for attempt in job.attempts} == {job_pb2.ATTEMPT_END_REASON_FAILED}
    texts = [text for _, _, text in updates_of(job)]
    assert texts[2] == "Attempt 1 on A failed (exit code 1: no luck); trying again."
    assert texts[4] == "Attempt 2 on B failed (exit code 2: no luck); trying again."
    assert texts[-1] == "Your job has failed: exit code 3: no luck"

    requeued = await admin.events(job_id, types=["JobRequeued"])
    assert len(requeued) == 2
    for event in requeued:
        assert event.job_requeued.banned_until.ToMilliseconds() == millis(event.time) + BAN_S * 1000


async def test_scenario_17_an_idle_worker_gets_it_within_a_second(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    a = await world.worker("A")
    job_id = await user.create(simple(hours=1))
    assignment = await a.run()
    b = await world.worker("B")
    await b.round_trip()
    assert b.assigned == []
    await a.fail(assignment, exit_code=1)
    failed_ms = world.now_ms()
    await world.let_pass(1)
    again = await b.assignment()
    assert (again.job_id, again.attempt) == (job_id, 2)
    second = (await admin.events(job_id, types=["JobAssigned"]))[1]
    assert failed_ms <= millis(second.time) <= failed_ms + 1000
    assert a.untouched() == []


async def test_scenario_17_with_only_a_alive_the_job_waits(memory_world: World) -> None:
    world = memory_world
    user = await world.user("user")
    a = await world.worker("A")
    job_id = await user.create(simple(hours=1))
    await a.fail(await a.run(), exit_code=1)
    assert world.now_ms() == T0_MS
    await world.until(T0_MS + BAN_S * 1000 - 1)
    await a.round_trip()
    assert a.untouched() == []
    job = await user.job(job_id)
    assert state_of(job) == "IN_QUEUE"
    assert job.status.num_failures == 1
    why = await user.explain(job_id)
    assert (why.workers_connected, why.workers_banned) == (1, 1)
    assert why.queue_position == 1
    assert millis(why.next_retry) == T0_MS + BAN_S * 1000
    assert why.summary

    await world.let_pass(1)
    assert (await a.assignment()).attempt == 2
