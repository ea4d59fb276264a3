"""What announcements live through: ends of the process at any point, a full disk, and defects."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tenure.controlplane.webhooks.announcing import Webhooks, WebhookSettings
from tenure.controlplane.webhooks.payloads import Payloads
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.domain import commands as c
from tenure.runtime.ids import Uuid7Ids
from tenure.store.memory import MemoryStore
from tenure.store.outbox import DeliveryState, Outbox, Tried
from tenure.store.store import StorageFull, StoreDamaged
from tests.controlplane.webhooks.receiver import Receiver, Reply, Seen
from tests.controlplane.webhooks.rig import Names, rigged
from tests.fakes import FakeClock
from tests.store.opening import opened


async def test_a_crash_before_it_was_written_down_repeats_it_with_the_same_id(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = receiver.url
    async with opened(tmp_path) as store:
        hanging: list[Tried] = []

        async def never(self: Outbox, tried: list[Tried]) -> None:
            hanging.extend(tried)
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(type(store.outbox), "settle", never)
            async with rigged(store) as rig:
                (job_id,) = await rig.create(url)
                await rig.start(job_id)
                await receiver.until(1)
                await rig.until(lambda found: len(found) == 2 and len(hanging) == 1)
                secret = rig.secret(url)
    async with opened(tmp_path) as store, rigged(store) as rig:
        seen = await receiver.until(3)
        assert [one.type for one in seen] == ["job.created", "job.created", "job.running"]
        assert (seen[0].id, seen[0].body) == (seen[1].id, seen[1].body)
        seen[2].verified(secret)
        await rig.until(lambda found: all(one.state is DeliveryState.DELIVERED for one in found))
        await rig.do(job_id, c.Terminate())
        assert (await receiver.until(4))[3].json["data"]["sequence"] == 3


async def test_a_crash_before_the_log_was_looked_through_skips_nothing(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = receiver.url
    async with opened(tmp_path) as store:

        async def never(self: Outbox, batch: object) -> None:
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(type(store.outbox), "enqueue", never)
            async with rigged(store) as rig:
                (job_id,) = await rig.create(url)
                await rig.do(job_id, c.Succeed(lease_id=await rig.start(job_id)))
                assert await rig.deliveries() == []
    async with opened(tmp_path) as store, rigged(store):
        assert [one.type for one in await receiver.until(3)] == ["job.created", "job.running", "job.completed"]


async def test_whenever_it_ends_every_change_arrives_and_in_order(tmp_path: Path, receiver: Receiver) -> None:
    """Six lives of a server, each cut off somewhere, before a receiver that fails every third time."""
    chance = random.Random(7)
    taken: dict[str, list[int]] = {}

    def answer(seen: Seen) -> int:
        if chance.random() < 0.3:
            return 500
        numbers = taken.setdefault(seen.job_id, [])
        if seen.json["data"]["sequence"] not in numbers:
            numbers.append(seen.json["data"]["sequence"])
        return 200

    receiver.answer = answer
    schedule = Schedule(initial_us=20_000, maximum_us=50_000)
    jobs: list[str] = []
    clock = FakeClock(rounds=20, pause_s=0.001)
    for _ in range(6):
        async with opened(tmp_path) as store, rigged(store, schedule=schedule, clock=clock) as rig:
            for job_id in jobs[-3:]:
                await rig.do(job_id, c.Succeed(lease_id=await rig.start(job_id)))
            jobs += await rig.create(receiver.url, count=3)
            for _ in range(chance.randrange(6)):
                await clock.advance(0.02)
    async with opened(tmp_path) as store, rigged(store, schedule=schedule, clock=clock) as rig:
        found = await rig.until(
            lambda found: len(found) == 48 and all(one.state is DeliveryState.DELIVERED for one in found), step_s=0.1
        )
    assert len({one.id for one in found}) == 48
    ended, waiting = [1, 2, 3], [1]
    assert taken == {job_id: ended if number < 15 else waiting for number, job_id in enumerate(jobs)}


async def test_a_full_disk_holds_announcements_up_and_loses_none(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged() as rig:
        outbox: Any = rig.store.outbox
        for name in ("enqueue", "settle"):
            _fail_once(monkeypatch, outbox, name)
        await rig.create(receiver.url)
        await rig.until(lambda found: found[:1] != [] and found[0].state is DeliveryState.DELIVERED, step_s=1)
        assert len(receiver.seen) == 1


def _fail_once(monkeypatch: pytest.MonkeyPatch, outbox: Any, name: str) -> None:
    works = getattr(outbox, name)
    failures = [StorageFull("full")]

    async def sometimes(what: object) -> None:
        if failures:
            raise failures.pop()
        await works(what)

    monkeypatch.setattr(outbox, name, sometimes)


async def test_a_webhook_made_again_does_not_wait_for_what_is_under_way_to_the_removed_one(
    tmp_path: Path, receiver: Receiver
) -> None:
    # In this engine the new delivery gets the number of the removed one, whose call nobody answers.
    receiver.replies(Reply(hang=True))
    url = receiver.url
    async with opened(tmp_path) as store, rigged(store, limit_s=120.0) as rig:
        await rig.create(url)
        await receiver.until(1)
        (gone,) = await rig.deliveries()
        await rig.webhooks.endpoints.remove([gone.endpoint_id])
        await rig.create(url)
        (_, seen) = await receiver.until(2)
        (made,) = await rig.until(lambda found: found[:1] != [] and found[0].state is DeliveryState.DELIVERED)
        assert (made.id, made.attempts) == (seen.id, 1)
        assert (made.number, made.id != gone.id) == (gone.number, True)


async def test_a_defect_in_one_delivery_is_a_failed_try_of_that_one(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = Payloads.body

    async def broken(self: Payloads, delivery: Any) -> bytes:
        if delivery.position == 1 and delivery.attempts == 0:
            raise ZeroDivisionError
        return await body(self, delivery)

    monkeypatch.setattr(Payloads, "body", broken)
    async with rigged() as rig:
        await rig.create(receiver.url, count=2)
        found = await rig.until(
            lambda found: len(found) == 2 and all(one.state is DeliveryState.DELIVERED for one in found), step_s=1
        )
        assert [one.attempts for one in found] == [2, 1]


async def test_a_defect_in_reading_is_tried_again(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged() as rig:
        works = rig.store.outbox.due
        failures = [RuntimeError("broken")]

        async def sometimes(host: str, limit: int) -> Any:
            if failures:
                raise failures.pop()
            return await works(host, limit)

        monkeypatch.setattr(rig.store.outbox, "due", sometimes)
        await rig.create(receiver.url)
        await rig.until(lambda found: found[:1] != [] and found[0].state is DeliveryState.DELIVERED, step_s=1)


@pytest.mark.parametrize("turns", range(1, 12))
async def test_it_ends_when_it_is_told_to_whatever_breaks_at_that_moment(turns: int) -> None:
    """The server waits for its end."""
    store = MemoryStore()

    async def damaged() -> list[str]:
        raise StoreDamaged("tenure.db is damaged")

    store.outbox.hosts = damaged  # type: ignore[method-assign]
    webhooks = Webhooks(
        store=store, clock=FakeClock(), ids=Uuid7Ids(), settings=WebhookSettings(), resolver=Names(), connector=None
    )
    await webhooks.load()
    running = asyncio.create_task(webhooks.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait((running,), timeout=1)
    assert running.cancelled()


async def test_the_log_is_not_read_while_nobody_listens(receiver: Receiver) -> None:
    class Counting(MemoryStore):
        reads = 0

        async def read(self, *arguments: Any) -> Any:
            self.reads += 1
            return await super().read(*arguments)

    store = Counting()
    async with rigged(store) as rig:
        quiet = await rig.create("", count=20)
        await rig.do(quiet[0], c.Terminate())
        await rig.clock.settle()
        assert store.reads == 0
        await rig.create(receiver.url)
        await receiver.until(1)
        assert 0 < store.reads <= 2
        assert await store.outbox.position() >= 21


async def test_what_is_kept_long_enough_is_forgotten(receiver: Receiver) -> None:
    async with rigged(schedule=Schedule(keep_us=2 * 3600 * 1_000_000)) as rig:
        await rig.create(receiver.url)
        await rig.until(lambda found: found[:1] != [] and found[0].state is DeliveryState.DELIVERED)
        await rig.clock.advance(3600)
        assert len(await rig.deliveries()) == 1
        await rig.clock.advance(2 * 3600)
        assert await rig.deliveries() == []
