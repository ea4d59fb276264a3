"""Scenario 26, the server's side: a worker that drains gives its job back, and it costs the job nothing."""

from __future__ import annotations

from tests.acceptance.callers import millis, state_of, updates_of
from tests.acceptance.scripted_worker import HELD
from tests.acceptance.specifications import simple
from tests.acceptance.world import World


async def test_scenario_26_released(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    job_id = await user.create(simple(hours=1))
    a = await world.worker("A", slots=2)
    assignment = await a.run()
    await world.let_pass(5)
    # It is told to go: it says so, takes no more, and gives back what it has.
    await a.connect(leases=[assignment], draining=True)
    younger = await user.create(simple(hours=1))
    await world.let_pass(1)
    await a.round_trip()
    assert a.untouched() == []
    assert (await a.release(assignment, "worker is draining")).state == HELD
    released_ms = world.now_ms()
    await a.goodbye("drained")

    job = await user.job(job_id)
    assert state_of(job) == "IN_QUEUE"
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 1
    assert updates_of(job)[-1] == (
        released_ms,
        "IN_QUEUE",
        "Attempt 1 on A was released (worker is draining); trying again.",
    )
    b = await world.worker("B")
    second = await b.assignment()
    # It keeps its place before the younger one.
    assert (second.job_id, second.attempt) == (job_id, 2)
    assert younger != job_id
    (requeued,) = await admin.events(job_id, types=["JobRequeued"])
    assert not requeued.job_requeued.HasField("banned_until")
    assert millis(requeued.time) == released_ms


async def test_scenario_26_even_to_the_same_worker(world: World) -> None:
    user = await world.user("user")
    job_id = await user.create(simple(hours=1))
    a = await world.worker("A")
    await a.release(await a.run(), "preemption notice")
    again = await a.assignment()
    assert (again.job_id, again.attempt) == (job_id, 2)
