"""What connected workers are to a job: each is counted once, for the first thing that is in the way."""

from __future__ import annotations

from tenure.controlplane.fitness import Fitness
from tests.controlplane.fleet import FakeWorker, Plane, failed


async def fit(plane: Plane, job_id: str) -> Fitness:
    return plane.service.fit(await plane.job(job_id))


async def test_nobody_is_connected() -> None:
    async with Plane() as plane:
        (job_id,) = await plane.create()
        assert await fit(plane, job_id) == Fitness()


async def test_those_of_other_queues_and_those_that_are_gone_do_not_count() -> None:
    async with Plane() as plane:
        await FakeWorker(plane, "elsewhere", queues=["other"]).connect()
        gone = FakeWorker(plane, "gone")
        await gone.connect()
        await gone.vanish()
        (job_id,) = await plane.create()
        assert (await fit(plane, job_id)).connected == 0


async def test_a_worker_is_full_then_it_is_the_accepting_that_counts() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "A")
        await worker.connect()
        first, second = await plane.create(2)
        await plane.settle()
        assert await fit(plane, second) == Fitness(full=1)
        assert await fit(plane, first) == Fitness(full=1, accepted=False)
        await worker.accept(worker.assignments[0].lease_id)
        assert (await fit(plane, first)).accepted is True


async def test_the_worker_that_has_it_is_away_and_back() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "A")
        await worker.connect()
        (job_id,) = await plane.create()
        await plane.settle()
        lease = worker.assignments[0].lease_id
        await worker.start(lease)
        assert (await fit(plane, job_id)).away_until_us is None
        heard_us = plane.clock.wall_us()
        await worker.vanish()
        await plane.clock.advance(10)
        live = plane.service._leases.get(lease)
        assert live is not None
        assert (await fit(plane, job_id)).away_until_us == heard_us + live.length_ns // 1000
        await worker.connect(held=worker.assignments[:1])
        assert (await fit(plane, job_id)).away_until_us is None


async def test_one_that_failed_and_one_that_declined_are_kept_from_it() -> None:
    async with Plane() as plane:
        a, b = FakeWorker(plane, "A"), FakeWorker(plane, "B")
        await a.connect()
        (job_id,) = await plane.create()
        await plane.settle()
        lease = a.assignments[0].lease_id
        await a.start(lease)
        await a.report(failed(lease))
        await b.connect()
        await b.decline(b.assignments[0].lease_id)
        found = await fit(plane, job_id)
        now_us = plane.clock.wall_us()
        assert [(one.worker_id, one.until_us - now_us, one.declines) for one in found.kept] == [
            ("B", 1_000_000, 1),
            ("A", 600_000_000, 0),
        ]
        assert (found.connected, found.free, found.fitting, found.free_slots) == (2, 2, 0, 2)
        await plane.clock.advance(1)
        assert (await plane.job(job_id)).attempt == 3


async def test_folders_that_are_not_allowed_or_in_use() -> None:
    async with Plane() as plane:
        await FakeWorker(plane, "plain", slots=2).connect()
        await FakeWorker(plane, "rooted", slots=2, roots=["/app"]).connect()
        first, second = await plane.create(2, absolute_paths=("/app/data",))
        await plane.settle()
        found = await fit(plane, second)
        assert (found.not_allowed, found.in_use, found.fitting, found.free_slots) == (1, 1, 0, 3)
        assert (await plane.job(first)).worker_id == "rooted"


async def test_draining_and_suspect_workers() -> None:
    async with Plane() as plane:
        a, b = FakeWorker(plane, "A"), FakeWorker(plane, "B")
        await a.connect()
        await b.connect()
        by_id = {worker.id: worker for worker in plane.service._workers}
        plane.service._workers.drain(by_id["A"])
        plane.service._workers.suspect(by_id["B"])
        (job_id,) = await plane.create()
        found = await fit(plane, job_id)
        assert found == Fitness(draining=1, suspect=1, suspect_until_us=plane.clock.wall_us() + 600_000_000)
