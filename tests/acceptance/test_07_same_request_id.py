"""Scenario 7: the same request id twice adds one hour."""

from __future__ import annotations

import asyncio

from tests.acceptance.callers import millis, refusal
from tests.acceptance.specifications import HOUR_S, seed1
from tests.acceptance.stories import EXTENDED_MS, running
from tests.acceptance.world import World


async def test_scenario_07_one_after_the_other(world: World) -> None:
    story = await running(world)
    admin = await world.admin()
    assert await story.user.extend(story.job_id, HOUR_S, request_id="extend-1") == EXTENDED_MS
    position = await admin.position()
    await world.let_pass(10)
    assert await story.user.extend(story.job_id, HOUR_S, request_id="extend-1") == EXTENDED_MS
    assert len(await admin.events(story.job_id, types=["JobExtended"])) == 1
    assert await admin.position() == position
    assert millis((await story.user.job(story.job_id)).status.expires_at) == EXTENDED_MS


async def test_scenario_07_at_the_same_instant(world: World) -> None:
    story = await running(world)
    clients = [await world.user("user") for _ in range(3)]
    ends = await asyncio.gather(
        *(clients[n % 3].extend(story.job_id, HOUR_S, request_id="extend-1") for n in range(12))
    )
    assert set(ends) == {EXTENDED_MS}
    admin = await world.admin()
    assert len(await admin.events(story.job_id, types=["JobExtended"])) == 1


async def test_scenario_07_another_body_is_refused(world: World) -> None:
    story = await running(world)
    await story.user.extend(story.job_id, HOUR_S, request_id="extend-1")
    refused = await refusal(story.user.extend(story.job_id, 2 * HOUR_S, request_id="extend-1"))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "REQUEST_ID_REUSED")
    assert millis((await story.user.job(story.job_id)).status.expires_at) == EXTENDED_MS


async def test_scenario_07_a_refused_call_burns_no_id(world: World) -> None:
    story = await running(world)
    refused = await refusal(story.user.extend("unknown", HOUR_S, request_id="extend-1"))
    assert refused.code == "NOT_FOUND"
    assert await story.user.extend(story.job_id, HOUR_S, request_id="extend-1") == EXTENDED_MS


async def test_scenario_07_the_id_belongs_to_its_caller_and_rpc(world: World) -> None:
    story = await running(world)
    await story.user.extend(story.job_id, HOUR_S, request_id="same")
    await story.user.terminate(story.job_id, request_id="same")
    other = await world.user("other")
    assert await other.create(seed1(), request_id="same") != story.job_id


async def test_scenario_07_creation(world: World) -> None:
    user = await world.user("user")
    specification = seed1()
    specification.allow_duplicate_job = True
    ids = await asyncio.gather(*(user.create(specification, request_id="create-1") for _ in range(8)))
    assert len(set(ids)) == 1
    admin = await world.admin()
    assert len(await admin.events(types=["JobCreated"])) == 1


async def test_scenario_07_after_a_restart(lasting_world: World) -> None:
    world = lasting_world
    user = await world.user("user")
    job_id = await user.create(seed1(), request_id="create-1")
    end = await user.extend(job_id, HOUR_S, request_id="extend-1")
    await world.stop()
    await world.start()
    user = await world.user("user")
    assert await user.create(seed1(), request_id="create-1") == job_id
    assert await user.extend(job_id, HOUR_S, request_id="extend-1") == end
    admin = await world.admin()
    assert await admin.event_types(job_id) == ["JobCreated", "JobExtended"]
