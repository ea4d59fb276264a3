from __future__ import annotations

import asyncio

import pytest

from tenure.controlplane.call import BadMessage
from tenure.controlplane.status import Violation
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason
from tenure.domain.states import Phase
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import (
    HELD,
    LOST,
    FakeWorker,
    Plane,
    started,
    stopped,
    succeeded,
    worker_identity,
)

HEARTBEAT = pb.ConnectRequest(heartbeat=pb.Heartbeat())


async def test_hello_comes_first() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        assert (await worker.refused(HEARTBEAT)).reason is Reason.HELLO_REQUIRED
        bad = BadMessage((Violation("hello.slots", "must be above 0"),))
        assert (await worker.refused(bad)).reason is Reason.INVALID_FIELD


async def test_hello_comes_once() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        hello = pb.ConnectRequest(hello=worker.hello)
        assert (await worker.refused(hello, hello)).reason is Reason.HELLO_REQUIRED


async def test_another_protocol_version_is_refused_with_the_versions_spoken() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        worker.hello.protocol_version = 2
        refused = await worker.refused(pb.ConnectRequest(hello=worker.hello))
        assert refused.reason is Reason.PROTOCOL_UNSUPPORTED
        assert refused.metadata == {"minimum": "1", "maximum": "1"}


async def test_welcome_names_the_queues_that_the_token_allows() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", queues=["x", "y", "z"], identity=worker_identity(queues=("z", "x")))
        welcome = await worker.connect()
        assert list(welcome.queues) == ["x", "z"]
        assert welcome.server_time.ToMicroseconds() == plane.clock.wall_us()
        assert welcome.session_id
        assert plane.service.queue_workers("x") == (1, 1)
        assert plane.service.queue_workers("y") == (0, 0)


async def test_a_token_for_other_queues_is_refused() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", queues=["x"], identity=worker_identity(queues=("y",)))
        refused = await worker.refused(pb.ConnectRequest(hello=worker.hello))
        assert refused.reason is Reason.QUEUE_NOT_ALLOWED


async def test_a_newer_stream_ends_the_older() -> None:
    async with Plane() as plane:
        older = FakeWorker(plane, "a")
        newer = FakeWorker(plane, "a")
        ended = asyncio.ensure_future(older.refused(pb.ConnectRequest(hello=older.hello)))
        await plane.settle()
        await newer.connect()
        assert (await ended).reason is Reason.SESSION_SUPERSEDED
        await plane.create()
        await plane.settle()
        assert len(newer.assignments) == 1


async def test_the_same_id_of_another_subject_is_another_worker() -> None:
    async with Plane() as plane:
        one = FakeWorker(plane, "a", identity=worker_identity("one"))
        other = FakeWorker(plane, "a", identity=worker_identity("other"))
        await one.connect()
        await other.connect()
        await plane.create(2)
        await plane.settle()
        [mine] = one.assignments
        assert len(other.assignments) == 1
        assert [item.state for item in await other.beat(mine.lease_id)] == [LOST]
        assert [item.state for item in await one.beat(mine.lease_id)] == [HELD]


async def test_processes_that_alternate_are_refused_until_one_keeps_away() -> None:
    async with Plane() as plane:
        one = FakeWorker(plane, "a", incarnation="one")
        two = FakeWorker(plane, "a", incarnation="two")
        for worker in (one, two, one, two):
            assert (await worker.connect()).session_id
            await plane.clock.advance(5)
        refused = await one.refused(pb.ConnectRequest(hello=one.hello))
        assert refused.reason is Reason.WORKER_CLONED
        # The one that is connected stays so, and may come back.
        assert [m.WhichOneof("message") for m in await two.say(HEARTBEAT)][-1] == "heartbeat_ack"
        assert (await two.connect()).session_id
        await plane.clock.advance(59)
        assert (await one.refused(pb.ConnectRequest(hello=one.hello))).reason is Reason.WORKER_CLONED
        await plane.clock.advance(60)
        assert (await one.connect()).session_id


async def test_a_worker_that_restarts_often_is_no_clone() -> None:
    async with Plane() as plane:
        for index in range(12):
            worker = FakeWorker(plane, "a", incarnation=f"run-{index}")
            assert (await worker.connect()).session_id


async def test_the_end_of_a_stream_says_nothing_of_its_jobs() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.vanish()
        await plane.clock.advance(30)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        welcome = await worker.connect([one])
        [verdict] = welcome.leases
        assert (verdict.keep, verdict.lease.ToSeconds()) == (True, 60)
        await plane.clock.advance(59.999999)
        [ack] = await worker.report(succeeded(one.lease_id))
        assert ack.state == HELD


async def test_an_assignment_that_hello_does_not_name_is_declined_at_once() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        await worker.connect()
        assert await plane.types(job_id) == ["JobCreated", "JobAssigned", "AssignmentDeclined"]
        assert worker.assignments == []
        await plane.clock.advance(1)  # it is passed over for a second
        assert [one.attempt for one in worker.assignments] == [2]


async def test_a_running_attempt_that_hello_does_not_name_is_lost_at_once() -> None:
    async with Plane() as plane:
        worker, other = FakeWorker(plane, "a"), FakeWorker(plane, "b")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        await worker.start(worker.assignments[0].lease_id)
        await other.connect()
        await plane.clock.advance(7)
        await worker.connect()
        types = await plane.types(job_id)
        assert types[-3:] == ["LeaseExpired", "JobRequeued", "JobAssigned"]
        lost = (await plane.events(job_id))[-3].payload
        assert isinstance(lost, e.LeaseExpired)
        assert (lost.silence_us, lost.suspicious) == (7_000_000, True)


async def test_a_lease_that_is_over_is_not_kept_and_its_slot_is_busy_until_it_stopped() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.vanish()
        await plane.do(job_id, c.Terminate())
        await plane.create()
        welcome = await worker.connect([one])
        assert [verdict.keep for verdict in welcome.leases] == [False]
        assert worker.assignments == []
        [ack] = await worker.report(stopped(one.lease_id))
        assert (ack.kind, ack.state) == (pb.REPORT_KIND_STOPPED, HELD)
        assert len(worker.assignments) == 1


async def test_a_lease_of_nobody_is_not_kept() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        welcome = await worker.connect([pb.Assignment(lease_id="made-up", job_id="made-up", attempt=1)])
        assert [(verdict.lease_id, verdict.keep) for verdict in welcome.leases] == [("made-up", False)]


async def test_goodbye_gives_back_what_was_not_accepted() -> None:
    async with Plane() as plane:
        worker, other = FakeWorker(plane, "a"), FakeWorker(plane, "b")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        await worker.say(pb.ConnectRequest(goodbye=pb.Goodbye(reason="done")))
        assert worker.task is not None
        assert worker.task.done()
        await other.connect()
        assert [one.job_id for one in other.assignments] == [job_id]


async def test_cancelling_with_grace_tells_the_worker_how_long() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.do(job_id, c.Terminate(reason="enough", grace_us=10_000_000))
        await plane.settle()
        [stop] = worker.stops
        assert (stop.lease_id, stop.reason) == (one.lease_id, pb.STOP_REASON_CANCEL_REQUESTED)
        assert (stop.grace.ToSeconds(), stop.message) == (10, "enough")
        await plane.clock.advance(3)
        welcome = await worker.connect([one])
        assert welcome.leases[0].keep
        [again] = worker.stops
        assert (again.reason, again.grace.ToSeconds()) == (pb.STOP_REASON_CANCEL_REQUESTED, 7)
        [ack] = await worker.report(succeeded(one.lease_id))
        job = await plane.job(job_id)
        assert (ack.state, job.outcome) == (HELD, e.Outcome.CANCELLED)
        assert len(worker.stops) == 1


async def test_when_the_grace_is_over_the_lease_is_revoked() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.do(job_id, c.Terminate(grace_us=10_000_000))
        await plane.clock.advance(9.999999)
        assert (await plane.job(job_id)).phase is Phase.STOPPING
        await plane.clock.advance(0.000001)
        job = await plane.job(job_id)
        assert (job.phase, job.outcome) == (Phase.FINAL, e.Outcome.CANCELLED)
        assert [stop.reason for stop in worker.stops] == [
            pb.STOP_REASON_CANCEL_REQUESTED,
            pb.STOP_REASON_LEASE_REVOKED,
        ]


async def test_terminating_a_running_job_tells_its_worker_and_frees_the_slot_once_it_stopped() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        first, second = await plane.create(2)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.do(first, c.Terminate())
        await plane.settle()
        [stop] = worker.stops
        assert (stop.lease_id, stop.reason) == (one.lease_id, pb.STOP_REASON_LEASE_REVOKED)
        assert len(worker.assignments) == 1
        await worker.report(stopped(one.lease_id))
        assert [one.job_id for one in worker.assignments] == [first, second]


async def test_what_was_not_accepted_frees_its_slot_when_it_is_revoked() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        first, second = await plane.create(2)
        await plane.settle()
        await plane.do(first, c.Halt(reason="no more"))
        await plane.settle()
        assert [one.job_id for one in worker.assignments] == [first, second]
        assert [stop.reason for stop in worker.stops] == [pb.STOP_REASON_LEASE_REVOKED]
        assert [item.state for item in await worker.accept(worker.assignments[0].lease_id)] == [LOST]


@pytest.mark.parametrize("pause", [0, 1, 2, 3, 4, 6, 8, 12, 16, 24])
async def test_after_ok_to_terminate_nothing_begins(pause: int) -> None:
    """Terminate falls somewhere into assigning, accepting and starting; ten times each."""
    for _ in range(10):
        async with Plane() as plane:
            workers = [FakeWorker(plane, name) for name in "ab"]
            for worker in workers:
                await worker.connect()
            [job_id] = await plane.create()
            for _ in range(pause):
                await asyncio.sleep(0)
                for worker in workers:
                    for one in worker.assignments:
                        accept = pb.Accept(lease_ids=[one.lease_id])
                        worker.stream.put(pb.ConnectRequest(accept=accept))
                        worker.stream.put(pb.ConnectRequest(report=pb.Report(items=[started(one.lease_id)])))
            await plane.do(job_id, c.Terminate())
            was_running = "JobStarted" in await plane.types(job_id)
            before = [len(worker.call.sent) for worker in workers]
            await plane.settle()
            for worker, count in zip(workers, before, strict=True):
                for message in worker.call.sent[count:]:
                    assert not message.assignments.items
                    assert not [item for item in message.accept_ack.items if item.state == HELD]
                    assert not [item for item in message.report_ack.items if item.state == HELD]
            assert (await plane.types(job_id))[-1] == "JobTerminated"
            assert was_running == ("JobStarted" in await plane.types(job_id))


async def test_extending_tells_the_worker_the_new_deadline() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(time_allocation_us=100_000_000, basis=e.Basis.CREATED)
        await plane.settle()
        [one] = worker.assignments
        begun_us = plane.clock.wall_us()
        await worker.start(one.lease_id)
        await plane.do(job_id, c.Extend(requested_us=50_000_000))
        await plane.settle()
        assert worker.deadlines == [begun_us + 150_000_000]
        [ack] = await worker.beat(one.lease_id)
        assert ack.expires_at.ToMicroseconds() == begun_us + 150_000_000


async def test_what_nobody_says_has_stopped_takes_its_slot_for_a_minute_over_streams_too() -> None:
    """The server was started anew, so it does not know what the worker was told of a lease that is over."""
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.vanish()
        await plane.do(job_id, c.Terminate())
        await plane.restart()
        await plane.create()
        for _ in range(2):
            await worker.vanish()
            assert not (await worker.connect([one])).leases[0].keep
            await plane.clock.advance(59.999999)
            assert worker.assignments == []
        await plane.clock.advance(0.000001)
        assert len(worker.assignments) == 1
