"""More jobs that no worker at hand fits than are held: those that were passed over are found when one may fit them."""

from __future__ import annotations

import asyncio

import pytest

from tenure.controlplane import ready
from tenure.domain import commands as c
from tenure.store.memory import MemoryStore
from tenure.store.store import Candidate
from tests.controlplane.fleet import FakeWorker, Plane, failed, succeeded


class SlowPages(MemoryStore):
    """The last page of candidates is on its way until `open` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()

    async def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        page = await super().candidates(queue, after, limit, now_us)
        if len(page) < limit:
            await self.open.wait()
        return page


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PAGE", 8), ("LOW", 2), ("MOST", 32), ("MOST_PARKED", 8)):
        monkeypatch.setattr(ready, name, value)
    monkeypatch.setattr("tenure.controlplane.dispatcher.PAGE", 8)


async def rooted_jobs(plane: Plane, count: int) -> list[str]:
    """Jobs that need a root, each a folder of its own."""
    return [job_id for one in range(count) for job_id in await plane.create(absolute_paths=(f"/data/{one}",))]


async def work_through(worker: FakeWorker, count: int, done: int = 0) -> list[str]:
    """Run what the worker is given until it has had so many; returns the jobs in the order it got them."""
    while done < count:
        fresh = worker.assignments[done:]
        assert fresh, f"it is given nothing more after {done} jobs"
        done += len(fresh)
        await worker.start(*(one.lease_id for one in fresh))
        await worker.report(*(succeeded(one.lease_id) for one in fresh))
    return [one.job_id for one in worker.assignments]


async def test_a_worker_that_comes_while_the_last_page_is_read_gets_them() -> None:
    store = SlowPages()
    async with Plane(store=store) as plane:
        job_ids = await rooted_jobs(plane, 17)
        await FakeWorker(plane, "bare").connect()
        rooted = FakeWorker(plane, "rooted", roots=["/data"])
        await rooted.connect()
        store.open.set()
        await plane.settle()
        assert sorted(await work_through(rooted, 17)) == sorted(job_ids)


async def test_a_slot_that_becomes_free_while_the_last_page_is_read_gets_them() -> None:
    store = SlowPages()
    store.open.set()
    async with Plane(store=store) as plane:
        rooted = FakeWorker(plane, "rooted", roots=["/data"])
        await rooted.connect()
        await plane.create()
        await plane.settle()
        [busy] = rooted.assignments
        job_ids = await rooted_jobs(plane, 41)
        store.open.clear()
        await FakeWorker(plane, "bare").connect()
        await rooted.start(busy.lease_id)
        await rooted.report(succeeded(busy.lease_id))
        store.open.set()
        await plane.settle()
        assert sorted(await work_through(rooted, 42, done=1)) == sorted([busy.job_id, *job_ids])


async def test_they_are_found_when_all_that_were_parked_are_gone() -> None:
    async with Plane() as plane:
        rooted = FakeWorker(plane, "rooted", roots=["/data"])
        await rooted.connect()
        busy = await plane.create()
        await plane.settle()
        job_ids = await rooted_jobs(plane, 12)
        await FakeWorker(plane, "bare").connect()
        for job_id in job_ids[:8]:
            await plane.do(job_id, c.Terminate())
        assert await work_through(rooted, 5) == [*busy, *job_ids[8:]]


async def test_they_are_found_when_their_bans_end() -> None:
    async with Plane() as plane:
        await rooted_jobs(plane, 8)
        worker = FakeWorker(plane, "bare", slots=2)
        await worker.connect()
        late = await plane.create(ban_us=600_000_000)
        early = await plane.create(ban_us=300_000_000)
        await plane.settle()
        for one in worker.assignments:
            await worker.start(one.lease_id)
            await worker.report(failed(one.lease_id))
        order = [*late, *early]
        for job_id in (*early, *late):
            await plane.clock.advance(299.9)
            assert [one.job_id for one in worker.assignments] == order
            await plane.clock.advance(0.1)
            order.append(job_id)
            assert await work_through(worker, len(order), done=len(order) - 1) == order
