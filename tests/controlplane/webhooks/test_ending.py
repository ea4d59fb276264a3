"""What nobody takes comes to an end: by its age, and with its endpoint, however much it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tenure.controlplane.webhooks.announcing import TOO_OLD
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.domain import commands as c
from tenure.store.outbox import DeliveryFilter, DeliveryState, Outbox
from tenure.store.sqlite import SqliteStore
from tenure.store.sqlite_schema import one as value
from tenure.store.store import StorageFull
from tests.controlplane.webhooks.receiver import Receiver, Reply
from tests.controlplane.webhooks.rig import Rig, rigged
from tests.store.opening import opened

HOUR_S = 3600
DAY_S = 24 * HOUR_S
SILENT = "http://silent.example:8443/"
MANY = 3000
PENDING, DELIVERED, DEAD = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD


async def states(rig: Rig) -> Counter[DeliveryState]:
    found = await rig.store.outbox.browse(DeliveryFilter(), None, 2 * MANY)
    return Counter(one.state for one in found)


async def until_rows(rig: Rig, store: SqliteStore, count: int) -> None:
    """Return when the table has so many rows, also such as nobody sees."""
    async with asyncio.timeout(15):
        while await rows_of(store) != count:
            await rig.clock.settle()


async def rows_of(store: SqliteStore) -> int:
    return int(await store.outbox._read(1, lambda connection: value(connection, "SELECT count(*) FROM deliveries")))


async def full(self: Outbox) -> None:
    raise StorageFull("full")


async def test_what_waits_for_a_silent_host_is_dead_after_three_days_however_much_it_is() -> None:
    async with rigged() as rig:
        rig.names.known["silent.example"] = []
        for _ in range(MANY // 1000):
            await rig.create(SILENT, count=1000)
        async with asyncio.timeout(30):
            while (await states(rig)).total() < MANY:
                await rig.clock.settle()
        rig.clock.freeze(3 * DAY_S - 2 * HOUR_S)
        await rig.clock.advance(HOUR_S)
        assert (await states(rig))[PENDING] > MANY - 500
        await rig.clock.advance(2 * HOUR_S)
        assert await states(rig) == {DEAD: MANY}
        found = await rig.deliveries()
        assert {(bool(one.attempts), one.error) for one in found} == {
            (True, "its name has no address"),
            (False, TOO_OLD),
        }
        assert await rig.webhooks.replay([one.number for one in found[:3]], {"silent.example"}) == 3
        assert await states(rig) == {PENDING: 3, DEAD: MANY - 3}


async def test_what_is_new_has_an_hour_to_be_tried_however_short_the_age() -> None:
    async with rigged(schedule=Schedule(max_age_us=0)) as rig:
        rig.names.known["silent.example"] = []
        await rig.clock.advance(HOUR_S / 2)
        await rig.create(SILENT, count=200)
        await rig.until(lambda found: len(found) == 200)
        await rig.clock.advance(HOUR_S / 2 + 1)
        assert TOO_OLD not in {one.error for one in await rig.deliveries()}
        await rig.clock.advance(HOUR_S)
        found = await rig.deliveries()
        assert {one.state for one in found} == {DEAD}
        assert TOO_OLD in {one.error for one in found}


async def test_the_next_of_a_job_waits_for_one_that_was_given_up_while_it_is_under_way(receiver: Receiver) -> None:
    receiver.replies(Reply(hang=True))
    async with rigged(limit_s=120.0) as rig:
        (job_id,) = await rig.create(receiver.url)
        await receiver.until(1)
        rig.clock.freeze(3 * DAY_S)
        await rig.start(job_id)
        await rig.until(lambda found: len(found) == 2)
        await rig.clock.advance(HOUR_S)
        (first, second) = await rig.until(lambda found: found[0].state is DEAD)
        assert (first.attempts, second.next_us is not None) == (0, True)
        for _ in range(5):
            await rig.clock.advance(61)
        assert len(receiver.seen) == 1
        # Other jobs go on meanwhile.
        (other,) = await rig.create(receiver.url)
        assert [one.job_id for one in await receiver.until(2)] == [job_id, other]


async def test_a_webhook_with_much_is_removed_and_nothing_of_it_is_sent(tmp_path: Path, receiver: Receiver) -> None:
    receiver.replies(*[Reply(hang=True)] * 2)
    async with opened(tmp_path) as store, rigged(store, limit_s=120.0) as rig:
        await rig.create(receiver.url, count=2000)
        await receiver.until(2)
        await until_rows(rig, store, 2000)
        await rig.webhooks.endpoints.remove([one.id for one in rig.webhooks.endpoints.all()])
        assert await rig.deliveries() == []
        (job_id,) = await rig.create(receiver.url)
        await rig.until(lambda found: [one.job_id for one in found] == [job_id])
        await until_rows(rig, store, 1)


async def test_what_a_crash_left_of_a_webhook_is_never_sent_and_goes(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.replies(*[Reply(hang=True)] * 2)
    async with opened(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(type(store.outbox), "sweep", full)
            async with rigged(store, limit_s=120.0) as rig:
                (job_id, *_) = await rig.create(receiver.url, count=2000)
                await receiver.until(2)
                await until_rows(rig, store, 2000)
                await rig.webhooks.endpoints.remove([one.id for one in rig.webhooks.endpoints.all()])
                assert 0 < await rows_of(store) < 2000
    async with opened(tmp_path) as store, rigged(store) as rig:
        assert await rig.deliveries() == []
        await rig.create(receiver.url)
        await rig.do(job_id, c.Terminate())
        (made,) = await rig.until(lambda found: found[:1] != [] and found[0].state is DELIVERED)
        await until_rows(rig, store, 1)
        await rig.clock.advance(121)
        assert [one.id for one in receiver.seen[2:]] == [made.id]


async def test_what_could_not_be_swept_is_swept_with_the_next_purge(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.replies(*[Reply(hang=True)] * 2)
    async with opened(tmp_path) as store, rigged(store, limit_s=120.0) as rig:
        with monkeypatch.context() as patch:
            patch.setattr(type(store.outbox), "sweep", full)
            await rig.create(receiver.url, count=2000)
            await until_rows(rig, store, 2000)
            await rig.webhooks.endpoints.remove([one.id for one in rig.webhooks.endpoints.all()])
            await rig.clock.settle()
            assert await rows_of(store) > 0
        await rig.clock.advance(HOUR_S)
        await until_rows(rig, store, 0)


async def test_gone_ends_everything_that_waits_however_much_it_is(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda seen: 410
    async with opened(tmp_path) as store, rigged(store) as rig:
        await rig.create(receiver.url, count=2000)
        async with asyncio.timeout(15):
            while await states(rig) != {DEAD: 2000}:
                await rig.clock.settle()
        assert receiver.connections <= 2
