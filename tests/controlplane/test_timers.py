from __future__ import annotations

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.states import Phase
from tenure.store.memory import MemoryStore
from tenure.store.store import Request, Unit
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.disks import FullDisk
from tests.controlplane.fleet import LOST, FakeWorker, Plane, failed, released, succeeded
from tests.fakes import FakeClock

# 2024-10-20T14:08:37Z
ASSIGNED_US = 1_729_433_317_000_000
SECOND_US = 1_000_000


async def test_a_worker_that_vanishes_is_lost_to_the_microsecond() -> None:
    async with Plane(clock=FakeClock(ASSIGNED_US, rounds=40)) as plane:
        gone, idle = FakeWorker(plane, "9d8e79e1"), FakeWorker(plane, "idle")
        await gone.connect()
        [job_id] = await plane.create(heartbeat_interval_us=30 * SECOND_US)
        await plane.settle()
        [one] = gone.assignments
        await gone.start(one.lease_id)
        for seconds in (1, 30, 30):
            await plane.clock.advance(seconds)
            await gone.beat(one.lease_id)
        await gone.vanish()
        await idle.connect()
        await plane.clock.advance_to(ASSIGNED_US + 120_999_000)  # 14:10:37.999
        assert idle.assignments == []
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await plane.clock.advance_to(ASSIGNED_US + 121 * SECOND_US - 1)
        assert idle.assignments == []
        await plane.clock.advance_us(1)  # 14:10:38.000
        [again] = idle.assignments
        assert (again.job_id, again.attempt) == (job_id, 2)
        job = await plane.job(job_id)
        assert (job.num_failures, job.num_interruptions) == (0, 1)
        lost = next(one for one in await plane.events(job_id) if isinstance(one.payload, e.LeaseExpired))
        assert lost.time_us == ASSIGNED_US + 121 * SECOND_US
        assert isinstance(lost.payload, e.LeaseExpired)
        assert (lost.payload.worker_id, lost.payload.silence_us) == ("9d8e79e1", 60 * SECOND_US)
        # It comes back: nothing that it says changes anything.
        await gone.connect([one])
        assert not gone.call.sent[0].welcome.leases[0].keep
        for item in (failed(one.lease_id), succeeded(one.lease_id)):
            assert [ack.state for ack in await gone.report(item)] == [LOST]
        assert [ack.state for ack in await gone.beat(one.lease_id)] == [LOST]
        assert (await plane.job(job_id)).attempt == 2


async def test_a_deadline_ends_a_job_at_its_instant() -> None:
    async with Plane() as plane:
        begun_us = plane.clock.wall_us()
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(
            time_allocation_us=5 * 3600 * SECOND_US, basis=e.Basis.CREATED, heartbeat_interval_us=3600 * SECOND_US
        )
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        for _ in range(4):
            await plane.clock.advance(3600)
            await worker.beat(one.lease_id)
        await plane.clock.advance_to(begun_us + 5 * 3600 * SECOND_US - 1)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await plane.clock.advance_us(1)
        job = await plane.job(job_id)
        assert (job.outcome, job.ended_us) == (e.Outcome.EXPIRED, begun_us + 5 * 3600 * SECOND_US)
        assert worker.stops[-1].reason == pb.STOP_REASON_LEASE_REVOKED


async def test_a_job_in_the_queue_expires_as_well() -> None:
    async with Plane() as plane:
        [job_id] = await plane.create(time_allocation_us=10 * SECOND_US, basis=e.Basis.CREATED)
        await plane.clock.advance(9.999999)
        assert (await plane.job(job_id)).phase is Phase.QUEUED
        await plane.clock.advance(0.000001)
        assert (await plane.job(job_id)).outcome is e.Outcome.EXPIRED


async def test_the_stop_signal_comes_the_grace_before_the_deadline() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create(
            time_allocation_us=600 * SECOND_US, basis=e.Basis.STARTED, heartbeat_interval_us=3600 * SECOND_US
        )
        await plane.settle()
        [one] = worker.assignments
        await plane.clock.advance(5)
        await worker.start(one.lease_id)
        await plane.clock.advance(569.999999)
        assert worker.stops == []
        await plane.clock.advance(0.000001)
        [stop] = worker.stops
        assert (stop.lease_id, stop.reason, stop.grace.ToSeconds()) == (one.lease_id, pb.STOP_REASON_EXPIRING, 30)
        await plane.clock.advance(29)
        assert len(worker.stops) == 1


async def test_the_stop_signal_moves_with_the_deadline() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(
            time_allocation_us=600 * SECOND_US, basis=e.Basis.STARTED, heartbeat_interval_us=3600 * SECOND_US
        )
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.clock.advance(580)
        assert len(worker.stops) == 1
        await plane.do(job_id, c.Extend(requested_us=100 * SECOND_US))
        await plane.clock.advance(89.999999)
        assert len(worker.stops) == 1
        await plane.clock.advance(0.000001)
        assert [stop.reason for stop in worker.stops] == [pb.STOP_REASON_EXPIRING] * 2
        await plane.clock.advance(30)
        assert (await plane.job(job_id)).outcome is e.Outcome.EXPIRED


async def test_an_attempt_that_begins_within_the_grace_is_told_when_it_accepts() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await plane.create(time_allocation_us=100 * SECOND_US, basis=e.Basis.CREATED)
        await plane.clock.advance(95)
        await worker.connect()
        [one] = worker.assignments
        assert worker.stops == []
        await worker.accept(one.lease_id)
        [stop] = worker.stops
        assert (stop.reason, stop.grace.ToSeconds()) == (pb.STOP_REASON_EXPIRING, 5)


async def test_a_warning_is_said_again_to_a_new_stream() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create(
            time_allocation_us=100 * SECOND_US, basis=e.Basis.CREATED, heartbeat_interval_us=3600 * SECOND_US
        )
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.vanish()
        await plane.clock.advance(92)
        await worker.connect([one])
        [stop] = worker.stops
        assert (stop.reason, stop.grace.ToSeconds()) == (pb.STOP_REASON_EXPIRING, 8)


async def test_a_deadline_during_an_outage_counts_as_if_there_had_been_none() -> None:
    async with Plane() as plane:
        begun_us = plane.clock.wall_us()
        [waits] = await plane.create(time_allocation_us=20 * SECOND_US, basis=e.Basis.CREATED)
        await plane.crash()
        await plane.clock.advance(60)
        plane._boot()
        await plane._start()
        await plane.clock.advance(0)
        job = await plane.job(waits)
        assert (job.outcome, job.ended_us) == (e.Outcome.EXPIRED, begun_us + 20 * SECOND_US)


async def test_what_lies_beyond_the_horizon_is_found_in_time() -> None:
    async with Plane(clock=FakeClock(rounds=20)) as plane:
        job_ids = [
            (await plane.create(time_allocation_us=minutes * 60 * SECOND_US, basis=e.Basis.CREATED))[0]
            for minutes in range(1, 60, 7)
        ]
        for minutes, job_id in zip(range(1, 60, 7), job_ids, strict=True):
            job = await plane.job(job_id)
            assert job.expires_us is not None
            await plane.clock.advance_to(job.expires_us - 1)
            assert (await plane.job(job_id)).phase is Phase.QUEUED, minutes
            await plane.clock.advance_us(1)
            assert (await plane.job(job_id)).outcome is e.Outcome.EXPIRED, minutes


async def test_a_deadline_far_behind_its_stop_signal_is_not_forgotten() -> None:
    async with Plane(clock=FakeClock(rounds=20)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(
            time_allocation_us=100_000 * SECOND_US,
            basis=e.Basis.CREATED,
            termination_grace_period_us=10_000 * SECOND_US,
            heartbeat_interval_us=90_000 * SECOND_US,
        )
        await plane.settle()
        await worker.start(worker.assignments[0].lease_id)
        await plane.clock.advance(90_000)
        assert [stop.grace.ToSeconds() for stop in worker.stops] == [10_000]
        await plane.clock.advance(9_999)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await plane.clock.advance(1)
        assert (await plane.job(job_id)).outcome is e.Outcome.EXPIRED


async def test_a_deadline_on_a_full_disk_is_tried_again() -> None:
    disk = FullDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        due_us = plane.clock.wall_us() + 10 * SECOND_US
        [job_id] = await plane.create(time_allocation_us=10 * SECOND_US, basis=e.Basis.CREATED)
        disk.full = True
        await plane.clock.advance(15)
        assert (await plane.job(job_id)).phase is Phase.QUEUED
        disk.full = False
        await plane.clock.advance(1)
        job = await plane.job(job_id)
        assert (job.outcome, job.ended_us) == (e.Outcome.EXPIRED, due_us)


async def test_a_lease_that_ran_out_on_a_full_disk_ends_later() -> None:
    disk = FullDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        await worker.start(worker.assignments[0].lease_id)
        disk.full = True
        await plane.clock.advance(70)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        disk.full = False
        await plane.clock.advance(1)
        assert (await plane.job(job_id)).num_interruptions == 1


async def lost(plane: Plane, count: int) -> list[Job]:
    """So many jobs, each running on a worker of its own that is then not heard of for a lease."""
    workers = [FakeWorker(plane, f"worker-{index}") for index in range(count)]
    for worker in workers:
        await worker.connect()
    job_ids = await plane.create(count)
    await plane.settle()
    for worker in workers:
        await worker.start(worker.assignments[0].lease_id)
        await worker.vanish()
    await plane.clock.advance(60)
    return [await plane.job(job_id) for job_id in job_ids]


async def test_many_at_once_are_held_for_one_lease_and_make_no_job_suspect() -> None:
    async with Plane() as plane:
        jobs = await lost(plane, 10)
        assert {job.phase for job in jobs} == {Phase.RUNNING}
        await plane.clock.advance(59.999)
        assert {(await plane.job(job.id)).phase for job in jobs} == {Phase.RUNNING}
        await plane.clock.advance(0.001)
        for job in jobs:
            assert (await plane.job(job.id)).phase is Phase.QUEUED
            [expired] = [one.payload for one in await plane.events(job.id) if isinstance(one.payload, e.LeaseExpired)]
            assert (expired.suspicious, expired.silence_us) == (False, 120 * SECOND_US)


async def test_three_at_once_are_three_lost_workers() -> None:
    async with Plane() as plane:
        jobs = await lost(plane, 3)
        assert {job.phase for job in jobs} == {Phase.QUEUED}
        assert all(job.lost_in_a_row for job in jobs)


async def test_a_process_that_was_stopped_blames_itself() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        plane.clock.freeze(100)
        await plane.clock.advance(0)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await worker.beat(one.lease_id)
        await plane.clock.advance(59)
        assert (await plane.job(job_id)).phase is Phase.RUNNING


async def test_a_job_that_takes_down_its_workers_is_ended_after_five() -> None:
    async with Plane() as plane:
        [job_id] = await plane.create()
        for index in range(5):
            worker = FakeWorker(plane, f"worker-{index}")
            await worker.connect()
            [one] = worker.assignments
            await worker.start(one.lease_id)
            await worker.vanish()
            await plane.clock.advance(60)
        job = await plane.job(job_id)
        assert (job.outcome, job.attempt, job.num_failures) == (e.Outcome.LOST, 5, 0)


async def test_answers_are_forgotten_after_a_week() -> None:
    async with Plane(clock=FakeClock(rounds=10)) as plane:

        def request(name: str) -> Request:
            at_us = plane.clock.wall_us()
            return Request(principal="user:a", rpc="X", request_id=name, digest=b"", answer=b"", at_us=at_us)

        await plane.store.commit(Unit(appends=(), request=request("old")))
        await plane.clock.advance(24 * 3600)
        await plane.store.commit(Unit(appends=(), request=request("young")))
        await plane.clock.advance(6 * 24 * 3600 - 1)
        assert await plane.store.find_request("user:a", "X", "old")
        await plane.clock.advance(3602)
        assert await plane.store.find_request("user:a", "X", "old") is None
        assert await plane.store.find_request("user:a", "X", "young")


async def test_an_idle_server_sleeps() -> None:
    """Nothing is polled: with idle workers and no job the clock is asked for a few sleeps an hour."""
    clock = FakeClock(rounds=20)
    sleeps = 0
    inner = clock.sleep

    async def counted(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        await inner(seconds)

    clock.sleep = counted  # type: ignore[method-assign]
    async with Plane(clock=clock) as plane:
        await FakeWorker(plane, "a").connect()
        await clock.advance(3600)
        position = plane.store.head().position
        assert (position, sleeps < 60) == (0, True)


async def test_a_released_attempt_goes_on_elsewhere_at_once() -> None:
    async with Plane() as plane:
        draining, other = FakeWorker(plane, "a"), FakeWorker(plane, "b")
        await draining.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = draining.assignments
        await draining.start(one.lease_id)
        await draining.connect([one])
        await other.connect()
        await plane.service.drain_workers(pb.DrainWorkersRequest(worker_ids=["a"]), draining.call)
        await draining.report(released(one.lease_id))
        assert [item.attempt for item in other.assignments] == [2]
        job = await plane.job(job_id)
        assert (job.num_failures, job.num_interruptions) == (0, 1)
