"""A worker that changes how many attempts it runs at once."""

from __future__ import annotations

from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import FakeWorker, Plane, stopped, succeeded


async def say(worker: FakeWorker, slots: int) -> None:
    worker.stream.put(pb.ConnectRequest(capacity=pb.Capacity(slots=slots)))
    await worker.plane.settle()


async def test_without_slots_a_worker_gets_nothing_until_it_says_so() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=0)
        await worker.connect()
        jobs = await plane.create(3)
        await plane.settle()
        assert worker.assignments == []
        await say(worker, 2)
        assert [one.job_id for one in worker.assignments] == jobs[:2]


async def test_with_fewer_those_it_holds_go_on() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=2)
        await worker.connect()
        jobs = await plane.create(3)
        await plane.settle()
        one, two = worker.assignments
        await worker.start(one.lease_id, two.lease_id)
        await say(worker, 1)
        await worker.report(succeeded(one.lease_id))
        await plane.settle()
        assert len(worker.assignments) == 2
        assert [ack.state for ack in await worker.beat(two.lease_id)] == [pb.LEASE_STATE_HELD]
        await worker.report(succeeded(two.lease_id))
        await plane.settle()
        assert [each.job_id for each in worker.assignments] == jobs


async def test_a_slot_is_taken_until_its_worker_says_that_nothing_runs_there_if_it_was_ever_told_to_begin() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create(2)
        await plane.settle()
        [one] = worker.assignments
        assert [ack.state for ack in await worker.accept(one.lease_id)] == [pb.LEASE_STATE_HELD]
        # It has that answer, reads no more, and asks again; the lease is over before the second answer has left.
        worker.call.open.clear()
        await worker.beat(one.lease_id)
        await worker.accept(one.lease_id)
        await plane.clock.advance(90)
        worker.call.open.set()
        await plane.settle()
        assert [each.lease_id for each in worker.assignments] == [one.lease_id]
        await worker.report(stopped(one.lease_id))
        assert len(worker.assignments) == 2
