"""Scenario 6: concurrent extensions add up."""

from __future__ import annotations

import asyncio

from tests.acceptance.callers import extension, millis
from tests.acceptance.specifications import HOUR_S
from tests.acceptance.stories import EXTENDED_MS, TWICE_EXTENDED_MS, running
from tests.acceptance.world import World


async def test_scenario_06_two_clients_in_the_same_millisecond(world: World) -> None:
    story = await running(world)
    other = await world.user("user")
    ends = await asyncio.gather(story.user.extend(story.job_id, HOUR_S), other.extend(story.job_id, HOUR_S))
    assert sorted(ends) == [EXTENDED_MS, TWICE_EXTENDED_MS]
    assert TWICE_EXTENDED_MS == 1_633_354_976_235
    job = await story.user.job(story.job_id)
    assert millis(job.status.expires_at) == TWICE_EXTENDED_MS
    admin = await world.admin()
    events = await admin.events(story.job_id, types=["JobExtended"])
    assert [event.job_extended.requested_time.seconds for event in events] == [HOUR_S, HOUR_S]
    assert len({event.time.ToMicroseconds() for event in events}) == 1


async def test_scenario_06_two_items_of_one_call(world: World) -> None:
    story = await running(world)
    response = await story.user.extend_many([extension(story.job_id, HOUR_S), extension(story.job_id, HOUR_S)])
    assert [millis(item.expires_at) for item in response.responses] == [EXTENDED_MS, TWICE_EXTENDED_MS]
    assert millis((await story.user.job(story.job_id)).status.expires_at) == TWICE_EXTENDED_MS
    admin = await world.admin()
    assert len(await admin.events(story.job_id, types=["JobExtended"])) == 2


async def test_scenario_06_many_clients(world: World) -> None:
    story = await running(world)
    clients = [await world.user("user") for _ in range(4)]
    await asyncio.gather(*(clients[n % 4].extend(story.job_id, 60 + n) for n in range(60)))
    total_ms = sum(60 + n for n in range(60)) * 1000
    job = await story.user.job(story.job_id)
    assert millis(job.status.expires_at) == EXTENDED_MS - HOUR_S * 1000 + total_ms
    assert job.status.granted_extension.ToMilliseconds() == total_ms
