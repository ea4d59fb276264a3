"""Workers that come back to a server that was started again: what their leases are given, and for how long."""

from __future__ import annotations

from tenure.domain.states import Phase
from tests.controlplane.fleet import FakeWorker, Plane


async def test_a_stream_that_its_worker_has_given_up_already_takes_nothing_off_the_grace_of_a_restart() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=5_000_000)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.restart()
        await worker.connect([one])
        await worker.vanish()
        await plane.clock.advance(59.999999)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await plane.clock.advance(0.000001)
        assert (await plane.job(job_id)).num_interruptions == 1


async def test_a_worker_that_has_come_back_after_a_restart_is_noticed_as_soon_as_ever_when_it_is_lost() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=5_000_000)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.restart()
        await worker.connect([one])
        await worker.beat(one.lease_id)
        await worker.vanish()
        await plane.clock.advance(9.999999)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await plane.clock.advance(0.000001)
        assert (await plane.job(job_id)).num_interruptions == 1
