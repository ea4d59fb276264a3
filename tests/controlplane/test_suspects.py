from __future__ import annotations

from tests.controlplane.fleet import FakeWorker, Plane, failed, succeeded


async def test_five_failures_in_a_row_on_different_jobs_make_a_worker_suspect() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create(8)
        await plane.settle()
        for index in range(5):
            one = worker.assignments[index]
            await worker.start(one.lease_id)
            await worker.report(failed(one.lease_id))
        assert len(worker.assignments) == 5
        assert plane.service.queue_workers("default") == (1, 0)
        await plane.clock.advance(599.999)
        assert len(worker.assignments) == 5
        await plane.clock.advance(0.001)
        assert len(worker.assignments) == 6


async def test_a_success_between_failures_clears_the_worker() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create(12)
        await plane.settle()
        for index, outcome in enumerate([failed] * 4 + [succeeded] + [failed] * 4):
            one = worker.assignments[index]
            await worker.start(one.lease_id)
            await worker.report(outcome(one.lease_id))
        assert len(worker.assignments) == 10
