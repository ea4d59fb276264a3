from __future__ import annotations

import pytest

from tenure.controlplane import ready
from tenure.store.memory import MemoryStore
from tenure.store.store import Candidate, StoreDamaged
from tests.controlplane.disks import FullDisk, SlowDisk
from tests.controlplane.fleet import FakeWorker, Plane, succeeded


class UnreadableStore(MemoryStore):
    """Reads no candidates while `unreadable`."""

    unreadable = False

    async def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        if self.unreadable:
            raise StoreDamaged("a page")
        return await super().candidates(queue, after, limit, now_us)


async def test_a_full_disk_pauses_and_loses_nothing() -> None:
    disk = FullDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a", slots=2)
        job_ids = await plane.create(3)
        disk.full = True
        await worker.connect()
        await plane.clock.advance(10)
        assert worker.assignments == []
        disk.full = False
        await plane.clock.advance(1)
        assert [one.job_id for one in worker.assignments] == job_ids[:2]


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_stream_that_ends_during_the_commit_gets_nothing_and_the_job_goes_on(comes_back: bool) -> None:
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        [job_id] = await plane.create()
        disk.open.clear()
        gone, here = FakeWorker(plane, "gone"), FakeWorker(plane, "here")
        await gone.connect()
        await gone.vanish()
        if comes_back:
            await gone.connect()
        disk.open.set()
        await plane.settle()
        assert await plane.types(job_id) == ["JobCreated", "JobAssigned", "AssignmentDeclined"]
        assert gone.assignments == []
        await here.connect()
        assert [one.job_id for one in here.assignments] == [job_id]
        job = await plane.job(job_id)
        assert (job.num_failures, job.num_interruptions) == (0, 0)


async def test_jobs_that_come_while_a_page_cannot_be_read_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PAGE", 8), ("LOW", 2)):
        monkeypatch.setattr(ready, name, value)
    monkeypatch.setattr("tenure.controlplane.dispatcher.PAGE", 8)
    store = UnreadableStore()
    async with Plane(store=store) as plane:
        waiting = await plane.create(20)
        worker = FakeWorker(plane, "a", slots=7)
        await worker.connect()
        store.unreadable = True
        first = worker.assignments
        await worker.start(*(one.lease_id for one in first))
        await worker.report(succeeded(first[0].lease_id))
        urgent = await plane.create(priority=1)
        await plane.settle()
        store.unreadable = False
        await plane.clock.advance(1)
        await worker.report(*(succeeded(one.lease_id) for one in first[1:]))
        order = [one.job_id for one in worker.assignments]
        assert len(order) == 14
        assert set(urgent) < set(order)
        assert set(order) - set(urgent) == set(waiting[:13])
