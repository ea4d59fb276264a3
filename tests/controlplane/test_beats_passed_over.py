"""Beats that are not answered while the end of their lease is being written down, and what becomes of them."""

from __future__ import annotations

import pytest

from tenure.store.memory import MemoryStore
from tests.controlplane.disks import SlowDisk
from tests.controlplane.fleet import HELD, FakeWorker, Plane


@pytest.mark.parametrize("again", [False, True])
async def test_beats_that_were_passed_over_are_answered_once_it_is_known_that_the_lease_goes_on(again: bool) -> None:
    """A worker takes each answer for that of its oldest beat: with one too few, it would lag behind from then on."""
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.clock.advance(59)
        disk.open.clear()
        await plane.clock.advance(5)
        for _ in range(3):
            assert await worker.beat(one.lease_id) == []
        if again:
            await worker.connect([one])
        disk.full = True
        disk.open.set()
        await plane.settle()
        disk.full = False
        # What was said on a stream that is gone needs no answer.
        assert [ack.state for ack in await worker.beat(one.lease_id)] == [HELD] * (1 if again else 4)
        assert [ack.state for ack in await worker.beat(one.lease_id)] == [HELD]
