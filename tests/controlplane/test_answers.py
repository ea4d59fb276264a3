from __future__ import annotations

import pytest

from tenure.domain import events as e
from tenure.domain.states import Phase
from tenure.store.memory import MemoryStore
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.disks import FullDisk, SlowDisk
from tests.controlplane.fleet import HELD, LOST, FakeWorker, Plane, started, succeeded
from tests.fakes import FakeClock

# 2024-10-20T14:08:37Z
ASSIGNED_US = 1_729_433_317_000_000


async def beats(plane: Plane, job_id: str) -> list[e.JobHeartbeat]:
    return [one.payload for one in await plane.events(job_id) if isinstance(one.payload, e.JobHeartbeat)]


async def test_beats_are_counted_and_few_are_written_down() -> None:
    async with Plane(clock=FakeClock(ASSIGNED_US, rounds=40)) as plane:
        worker = FakeWorker(plane, "9d8e79e1")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=30_000_000)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        for seconds in (1, 30, 30):
            await plane.clock.advance(seconds)
            [ack] = await worker.beat(one.lease_id)
            assert (ack.state, ack.next_interval.ToSeconds()) == (HELD, 30)
        job = await plane.job(job_id)
        assert job.num_heartbeats == 3
        assert job.last_beat_us == ASSIGNED_US + 61_000_000
        assert [beat.count for beat in await beats(plane, job_id)] == [1, 3]


async def test_beating_every_second_is_written_once_a_minute_and_at_the_end() -> None:
    async with Plane(clock=FakeClock(rounds=15)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=1_000_000)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        for _ in range(600):
            await plane.clock.advance(1)
            await worker.beat(one.lease_id)
        last = pb.FinalBeat(count=607, progress=job_pb2.Progress(fraction=1, message="all"))
        last.sync.files_uploaded = 25
        last.sync.files_pending = 2
        report = succeeded(one.lease_id)
        report.last_beat.CopyFrom(last)
        await worker.report(report)
        written = await beats(plane, job_id)
        assert [beat.count for beat in written] == [1, 61, 121, 181, 241, 301, 361, 421, 481, 541, 607]
        assert written[-1].transfer == e.Transfer(files_uploaded=25, files_pending=2)
        assert written[-1].progress_message == "all"
        job = await plane.job(job_id)
        assert (job.num_heartbeats, job.outcome) == (607, e.Outcome.COMPLETED)


async def test_a_heartbeat_speaks_of_many_leases_and_of_none() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=3)
        await worker.connect()
        await plane.create(3)
        await plane.settle()
        leases = [one.lease_id for one in worker.assignments]
        await worker.start(*leases)
        acks = await worker.beat(leases[0], "made-up", leases[2])
        assert [(ack.lease_id, ack.state) for ack in acks] == [
            (leases[0], HELD),
            ("made-up", LOST),
            (leases[2], HELD),
        ]
        [answer] = await worker.say(pb.ConnectRequest(heartbeat=pb.Heartbeat()))
        assert answer.WhichOneof("message") == "heartbeat_ack"


async def test_many_are_accepted_and_started_with_one_message_each() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=20)
        await worker.connect()
        job_ids = await plane.create(20, time_allocation_us=60_000_000, basis=e.Basis.STARTED)
        await plane.settle()
        leases = [one.lease_id for one in worker.assignments]
        assert [len(message.assignments.items) for message in worker.call.sent][1:] == [20]
        accepted = await worker.accept(*leases)
        assert [item.state for item in accepted] == [HELD] * 20
        before = plane.store.head().position
        acks = await worker.report(*(started(lease_id) for lease_id in leases))
        assert [(ack.lease_id, ack.state) for ack in acks] == [(lease_id, HELD) for lease_id in leases]
        assert {ack.expires_at.ToMicroseconds() for ack in acks} == {plane.clock.wall_us() + 60_000_000}
        assert plane.store.head().position == before + 20
        assert {(await plane.job(job_id)).phase for job_id in job_ids} == {Phase.RUNNING}


async def test_an_assignment_not_accepted_in_time_is_taken_back() -> None:
    async with Plane() as plane:
        worker, other = FakeWorker(plane, "a"), FakeWorker(plane, "b")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=30_000_000)
        await plane.settle()
        [one] = worker.assignments
        await other.connect()
        await plane.clock.advance(9.999999)
        assert other.assignments == []
        await plane.clock.advance(0.000001)
        assert [one.job_id for one in other.assignments] == [job_id]
        assert [stop.reason for stop in worker.stops] == [pb.STOP_REASON_LEASE_REVOKED]
        assert [item.state for item in await worker.accept(one.lease_id)] == [LOST]
        job = await plane.job(job_id)
        assert (job.num_failures, job.num_interruptions) == (0, 0)


async def test_accepting_too_late_is_lost_even_before_anybody_has_noticed() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create()
        await plane.settle()
        [one] = worker.assignments
        plane.clock.freeze(9.999999)
        other = FakeWorker(plane, "b")
        await other.connect()
        plane.clock.freeze(0.000001)
        assert [item.state for item in await worker.accept(one.lease_id)] == [LOST]
        await plane.clock.advance(0)
        assert len(other.assignments) == 1


async def test_accepting_twice_is_held_twice() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create()
        await plane.settle()
        [one] = worker.assignments
        assert [item.state for item in await worker.accept(one.lease_id)] == [HELD]
        assert [item.state for item in await worker.accept(one.lease_id)] == [HELD]


async def test_accepting_for_another_worker_is_lost() -> None:
    async with Plane() as plane:
        worker, other = FakeWorker(plane, "a"), FakeWorker(plane, "b")
        await worker.connect()
        await plane.create()
        await plane.settle()
        await other.connect()
        [one] = worker.assignments
        assert [item.state for item in await other.accept(one.lease_id)] == [LOST]
        assert [item.state for item in await worker.accept(one.lease_id)] == [HELD]


async def test_a_declined_job_goes_to_the_next_worker_and_is_passed_over_for_a_growing_while() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        for index, seconds in enumerate((1, 2, 4)):
            await worker.decline(worker.assignments[index].lease_id)
            assert len(worker.stops) == 0
            await plane.clock.advance(seconds - 0.000001)
            assert len(worker.assignments) == index + 1
            await plane.clock.advance(0.000001)
            assert len(worker.assignments) == index + 2
        other = FakeWorker(plane, "b")
        await other.connect()
        await worker.decline(worker.assignments[3].lease_id, "no room")
        assert [one.job_id for one in other.assignments] == [job_id]
        declined = (await plane.events(job_id))[-2].payload
        assert isinstance(declined, e.AssignmentDeclined)
        assert declined.reason == "no room"


async def test_what_has_started_cannot_be_declined() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        first, _ = await plane.create(2)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.decline(one.lease_id)
        assert (await plane.job(first)).phase is Phase.RUNNING
        assert len(worker.assignments) == 1
        [ack] = await worker.beat(one.lease_id)
        assert ack.state == HELD


async def _ran_out(plane: Plane, disk: SlowDisk) -> tuple[FakeWorker, pb.Assignment]:
    """A worker whose lease has run out on a disk that has stopped, so that the end of it is being written."""
    worker = FakeWorker(plane, "a")
    await worker.connect()
    await plane.create()
    await plane.settle()
    [one] = worker.assignments
    await worker.start(one.lease_id)
    await plane.clock.advance(59)
    disk.open.clear()
    await plane.clock.advance(5)
    return worker, one


async def test_no_beat_is_answered_while_the_end_of_its_lease_is_being_written() -> None:
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker, one = await _ran_out(plane, disk)
        # It ran out, and cannot be saved any more: a worker that thought so would go on writing to the object store.
        assert await worker.beat(one.lease_id) == []
        disk.open.set()
        await plane.settle()
        [ack] = await worker.beat(one.lease_id)
        assert ack.state == LOST


@pytest.mark.parametrize("written", [True, False])
async def test_started_is_answered_when_it_is_known_whether_its_lease_is_over(written: bool) -> None:
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker, other = FakeWorker(plane, "a"), FakeWorker(plane, "b")
        await worker.connect()
        await other.connect()
        job_id, _ = await plane.create(2)
        await plane.settle()
        [one], [another] = worker.assignments, other.assignments
        assert one.job_id == job_id
        await worker.accept(one.lease_id)
        await other.accept(another.lease_id)
        await plane.clock.advance(59)
        disk.open.clear()
        # What is written first is another's beat: the end of this lease waits behind it, and is not on its way.
        await other.beat(another.lease_id)
        await plane.clock.advance(5)
        assert await worker.report(started(one.lease_id)) == []
        disk.full = not written
        disk.open.set()
        await plane.settle()
        disk.full = False
        answers = [ack.state for message in worker.heard() for ack in message.report_ack.items]
        if written:
            assert answers == [LOST]
            assert (await plane.job(job_id)).num_interruptions == 1
        else:
            await plane.clock.advance(30)
            assert LOST not in answers
            assert (await plane.job(job_id)).num_interruptions == 0


@pytest.mark.parametrize("written", [True, False])
async def test_welcome_waits_until_it_is_known_which_leases_are_over(written: bool) -> None:
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker, one = await _ran_out(plane, disk)
        await worker.connect([one])
        assert worker.call.sent == []
        disk.full = not written
        disk.open.set()
        await plane.settle()
        [verdict] = worker.call.sent[0].welcome.leases
        assert verdict.keep is not written


async def test_a_lease_whose_end_cannot_be_written_is_kept_by_whoever_is_heard_of() -> None:
    disk = FullDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        disk.full = True
        await plane.clock.advance(65)
        [ack] = await worker.beat(one.lease_id)
        assert ack.state == HELD
        disk.full = False
        await plane.clock.advance(30)
        assert (await plane.job(job_id)).num_interruptions == 0


@pytest.mark.parametrize("full", [False, True])
async def test_leases_live_on_while_the_disk_is_full(full: bool) -> None:
    disk = FullDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        disk.full = full
        for _ in range(10):
            await plane.clock.advance(30)
            [ack] = await worker.beat(one.lease_id)
            assert ack.state == HELD
        disk.full = False
        assert [ack.state for ack in await worker.report(succeeded(one.lease_id))] == [HELD]
        job = await plane.job(job_id)
        assert (job.outcome, job.num_heartbeats, job.num_interruptions) == (e.Outcome.COMPLETED, 10, 0)


async def test_a_beat_does_not_wait_for_the_commit_of_a_report_before_it() -> None:
    """A disk that takes longer than a lease would otherwise end the leases of workers that beat in time."""
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.accept(one.lease_id)
        disk.open.clear()
        assert await worker.report(started(one.lease_id)) == []
        for _ in range(5):
            await plane.clock.advance(30)
            [ack] = await worker.beat(one.lease_id)
            assert ack.state == HELD
        disk.open.set()
        await plane.settle()
        assert [ack.state for ack in worker.heard()[0].report_ack.items] == [HELD]
        job = await plane.job(job_id)
        assert (job.phase, job.num_interruptions) == (Phase.RUNNING, 0)


async def test_goodbye_comes_after_what_was_reported_before_it() -> None:
    disk = SlowDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        disk.open.clear()
        await worker.report(succeeded(one.lease_id))
        await worker.say(pb.ConnectRequest(goodbye=pb.Goodbye(reason="done")))
        disk.open.set()
        await plane.settle()
        assert (await plane.job(job_id)).outcome is e.Outcome.COMPLETED
        assert [ack.state for ack in worker.heard()[0].report_ack.items] == [HELD]
