"""Workers that come back to a server that was started again: what their leases are given, and for how long."""

from __future__ import annotations

import pytest

from tenure.domain.states import Phase
from tests.controlplane.fleet import FakeWorker, Plane, worker_identity


@pytest.mark.parametrize(("goes_on", "lasts_s"), [(False, 60), (True, 10)])
async def test_a_stream_that_its_worker_has_given_up_takes_nothing_off_the_grace_of_a_restart(
    goes_on: bool, lasts_s: int
) -> None:
    """Where it goes on to speak, it has been answered: its lease is then one as any other."""
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=5_000_000)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.restart()
        await worker.connect([one])
        if goes_on:
            await worker.beat(one.lease_id)
        await worker.vanish()
        await plane.clock.advance(lasts_s - 0.000001)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await plane.clock.advance(0.000001)
        assert (await plane.job(job_id)).num_interruptions == 1


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_server_that_is_stopping_ends_no_lease_that_it_lets_nobody_keep(accepted: bool) -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=1_000_000)
        await plane.settle()
        [one] = worker.assignments
        if accepted:
            await worker.start(one.lease_id)
        await plane.service.drain()
        before = await plane.types(job_id)
        # More than a graceful stop may take.
        await plane.clock.advance(30)
        assert await plane.types(job_id) == before
        await plane.restart()
        [verdict] = (await worker.connect([one])).leases
        assert verdict.keep


@pytest.mark.parametrize("begun", [False, True])
async def test_another_worker_that_only_has_the_same_id_ends_and_takes_nothing(begun: bool) -> None:
    """A worker is known by the subject of its token as well."""
    async with Plane() as plane:
        mine = FakeWorker(plane, "a", identity=worker_identity("mine"))
        other = FakeWorker(plane, "a", identity=worker_identity("other"))
        await mine.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = mine.assignments
        if begun:
            await mine.start(one.lease_id)
        for _ in range(2):
            await plane.restart()
            await other.connect()
            await plane.settle()
            [verdict] = (await other.connect([one])).leases
            assert not verdict.keep
            [verdict] = (await mine.connect([one])).leases
            assert verdict.keep
        job = await plane.job(job_id)
        assert (job.attempt, job.num_interruptions) == (1, 0)
        assert job.phase is (Phase.RUNNING if begun else Phase.ASSIGNED)
