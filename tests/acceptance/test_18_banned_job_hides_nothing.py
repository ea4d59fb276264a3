"""Scenario 18: a job that a worker may not have does not hide the ones behind it."""

from __future__ import annotations

from tests.acceptance.callers import state_of
from tests.acceptance.specifications import simple
from tests.acceptance.world import World


async def test_scenario_18_a_gets_y(world: World) -> None:
    user = await world.user("user")
    a = await world.worker("A")
    x = await user.create(simple(hours=1, priority=10))
    await a.fail(await a.run(), exit_code=1)
    await world.let_pass(1)
    y = await user.create(simple(hours=1))
    assignment = await a.assignment()
    assert assignment.job_id == y
    assert state_of(await user.job(x)) == "IN_QUEUE"


async def test_scenario_18_nor_do_a_thousand_that_nobody_can_take(memory_world: World) -> None:
    world = memory_world
    user = await world.user("user")
    unfit = simple(hours=1, priority=10)
    unfit.sync.before.add(bucket="bucket", prefix="in/", local_path="/nowhere/in")
    await user.create_many([unfit] * 1000)
    y = await user.create(simple(hours=1))
    a = await world.worker("A")
    await world.let_pass(1)
    assert (await a.assignment()).job_id == y


async def test_scenario_18_order(world: World) -> None:
    """Priority, then age; a job that waits again keeps its place."""
    user = await world.user("user")
    first = await user.create(simple(hours=1))
    second = await user.create(simple(hours=1))
    urgent = await user.create(simple(hours=1, priority=1))
    a = await world.worker("A")
    order = []
    assignment = await a.run()
    order.append(assignment.job_id)
    await a.release(assignment, "drill")
    for _ in range(3):
        assignment = await a.run()
        order.append(assignment.job_id)
        await a.succeed(assignment)
    assert order == [urgent, urgent, first, second]
