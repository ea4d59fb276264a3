from __future__ import annotations

import pytest

from tenure.store.memory import MemoryStore
from tests.controlplane.disks import FullDisk, SlowDisk
from tests.controlplane.fleet import FakeWorker, Plane


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
