"""A worker that comes back as another process, and knows nothing of what it had."""

from __future__ import annotations

import pytest

from tenure.domain.states import Phase
from tenure.store.memory import MemoryStore
from tests.controlplane.disks import SlowDisk
from tests.controlplane.fleet import FakeWorker, Plane, started


@pytest.mark.parametrize("begun", [False, True])
async def test_what_it_does_not_name_waits_again_at_once(begun: bool) -> None:
    """Also where the start of it is being written down at that moment."""
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.accept(one.lease_id)
        disk.open.clear()
        if begun:
            await worker.report(started(one.lease_id))
        again = FakeWorker(plane, "a", incarnation="another", slots=0)
        await again.connect()
        disk.open.set()
        await plane.settle()
        job = await plane.job(job_id)
        assert (job.phase, job.lease) == (Phase.QUEUED, None)
        assert job.num_interruptions == int(begun)
