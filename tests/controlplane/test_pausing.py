"""A paused queue gives out nothing; what it gave out before goes on."""

from __future__ import annotations

from tenure.domain import events as e
from tenure.store.memory import MemoryStore
from tests.controlplane.disks import SlowDisk
from tests.controlplane.fleet import FakeWorker, Plane, failed


async def pause(plane: Plane, name: str = "default") -> None:
    await plane.handler.configure_queue(name, e.QueuePaused(reason=""), actor="admin:ops")


async def resume(plane: Plane, name: str = "default") -> None:
    await plane.handler.configure_queue(name, e.QueueResumed(), actor="admin:ops")


async def configured(plane: Plane, *names: str) -> None:
    for name in names:
        await plane.handler.configure_queue(name, e.QueueConfigured(), actor="server")


async def test_no_job_of_a_paused_queue_is_given_out_until_it_is_resumed() -> None:
    async with Plane() as plane:
        await configured(plane, "default", "other")
        await pause(plane)
        worker = FakeWorker(plane, "A", slots=3, queues=["default", "other"])
        await worker.connect()
        paused = await plane.create(2)
        (elsewhere,) = await plane.create(queue="other")
        await plane.settle()
        assert {one.job_id for one in worker.assignments} == {elsewhere}
        await plane.clock.advance(600)
        assert {one.job_id for one in worker.assignments} == {elsewhere}
        await resume(plane)
        await plane.settle()
        assert {one.job_id for one in worker.assignments} == {elsewhere, *paused}


async def test_what_runs_goes_on_and_what_comes_back_waits() -> None:
    async with Plane() as plane:
        await configured(plane, "default")
        a, b = FakeWorker(plane, "A"), FakeWorker(plane, "B")
        await a.connect()
        (job_id,) = await plane.create()
        await plane.settle()
        lease = a.assignments[0].lease_id
        await a.start(lease)
        await pause(plane)
        await b.connect()
        (beat,) = await a.beat(lease)
        assert beat.lease_id == lease
        await a.report(failed(lease))
        assert b.assignments == []
        await resume(plane)
        await plane.settle()
        assert [one.job_id for one in b.assignments] == [job_id]


async def test_a_pause_outlives_the_server() -> None:
    async with Plane() as plane:
        await configured(plane, "default")
        await pause(plane)
        await plane.restart()
        worker = FakeWorker(plane, "A")
        await worker.connect()
        await plane.create()
        await plane.settle()
        assert worker.assignments == []


async def test_what_was_being_given_out_is_waited_for() -> None:
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        await configured(plane, "default")
        await plane.service.given_out()
        (job_id,) = await plane.create()
        disk.open.clear()
        worker = FakeWorker(plane, "A")
        await worker.connect()
        pausing = plane.group.create_task(pause(plane))
        given_out = plane.group.create_task(plane.service.given_out())
        await plane.settle()
        waited = not given_out.done()
        disk.open.set()
        await pausing
        await given_out
        assert waited
        # It was under way before the queue was paused, and is known by the time that whoever paused it is answered.
        assert [one.job_id for one in worker.assignments] == [job_id]
