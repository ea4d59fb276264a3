"""Scenario 27: two equal jobs at the same instant."""

from __future__ import annotations

import asyncio

from tests.acceptance.callers import refusal
from tests.acceptance.specifications import seed1, simple
from tests.acceptance.world import World


async def test_scenario_27_at_the_same_instant(world: World) -> None:
    one, two = await world.user("user"), await world.user("user")
    admin = await world.admin()
    results = await asyncio.gather(one.create(seed1()), two.create(seed1()), return_exceptions=True)
    (job_id,) = [result for result in results if isinstance(result, str)]
    (error,) = [result for result in results if not isinstance(result, str)]

    async def again() -> None:
        raise error

    refused = await refusal(again())
    assert (refused.code, refused.reason) == ("ALREADY_EXISTS", "DUPLICATE_JOB")
    assert refused.metadata["job_id"] == job_id
    assert len(await admin.events(types=["JobCreated"])) == 1

    await one.terminate(job_id)
    assert await two.create(seed1()) != job_id


async def test_scenario_27_many_at_once(world: World) -> None:
    users = [await world.user("user") for _ in range(5)]
    results = await asyncio.gather(*(users[n % 5].create(seed1()) for n in range(25)), return_exceptions=True)
    assert sum(isinstance(result, str) for result in results) == 1


async def test_scenario_27_what_counts(world: World) -> None:
    user, other = await world.user("user"), await world.user("other")
    job_id = await user.create(seed1())
    named = seed1()
    named.name = "another name"
    named.labels["stage"] = "test"
    assert (await refusal(user.create(named))).metadata["job_id"] == job_id
    longer = seed1(hours=6)
    assert await user.create(longer) != job_id
    assert await other.create(seed1()) != job_id
    allowed = seed1()
    allowed.allow_duplicate_job = True
    assert await user.create(allowed) != job_id
    allowed.ClearField("allow_duplicate_job")
    assert await user.create(allowed) != job_id


async def test_scenario_27_equal_items_of_one_call(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    before = await admin.position()
    refused = await refusal(user.create_many([simple(hours=1), seed1(), seed1()]))
    assert (refused.code, refused.reason) == ("ALREADY_EXISTS", "DUPLICATE_JOB")
    assert refused.fields == ("items[2].specification",)
    assert await admin.position() == before


async def test_scenario_27_across_a_restart(lasting_world: World) -> None:
    world = lasting_world
    user = await world.user("user")
    job_id = await user.create(seed1())
    await world.stop()
    await world.start()
    user = await world.user("user")
    assert (await refusal(user.create(seed1()))).metadata["job_id"] == job_id
    await user.terminate(job_id)
    await user.create(seed1())
