from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tenure.controlplane.changes import Executed, Step
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.states import Phase
from tenure.store.memory import MemoryStore
from tenure.v1 import errors_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.disks import FullDisk
from tests.controlplane.fleet import (
    HELD,
    LOST,
    FakeWorker,
    Plane,
    failed,
    released,
    started,
    stopped,
    succeeded,
)


async def running(plane: Plane, worker: FakeWorker) -> tuple[str, str]:
    """A job that runs on the worker, and its lease."""
    await worker.connect()
    [job_id] = await plane.create()
    await plane.settle()
    [one] = worker.assignments
    await worker.start(one.lease_id)
    return job_id, one.lease_id


async def test_repeats_are_acknowledged_and_write_nothing() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        job_id, lease_id = await running(plane, worker)
        assert [ack.state for ack in await worker.report(started(lease_id))] == [HELD]
        for _ in range(3):
            assert [ack.state for ack in await worker.report(succeeded(lease_id))] == [HELD]
        assert await plane.types(job_id) == ["JobCreated", "JobAssigned", "JobStarted", "JobTerminated"]


async def third_attempt(plane: Plane) -> tuple[str, list[FakeWorker], list[pb.Assignment]]:
    """A job that failed on one worker, was given back by the next, and runs on a third."""
    workers = [FakeWorker(plane, name) for name in "abc"]
    for worker in workers:
        await worker.connect()
    [job_id] = await plane.create()
    await plane.settle()
    for worker, end in zip(workers, (failed, released, None), strict=True):
        [one] = worker.assignments
        await worker.start(one.lease_id)
        if end is not None:
            assert [ack.state for ack in await worker.report(end(one.lease_id))] == [HELD]
    return job_id, workers, [worker.assignments[0] for worker in workers]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_end_of_an_attempt_is_acknowledged_again_after_later_ones(restarted: bool) -> None:
    async with Plane() as plane:
        job_id, (first, second, third), (one, two, three) = await third_attempt(plane)
        if restarted:
            await plane.restart()
            await first.connect([one])
            await second.connect([two])
        before = await plane.types(job_id)
        assert [ack.state for ack in await first.report(failed(one.lease_id))] == [HELD]
        assert [ack.state for ack in await second.report(released(two.lease_id), stopped(two.lease_id))] == [HELD] * 2
        for worker, report in ((first, succeeded(one.lease_id)), (second, failed(two.lease_id))):
            [ack] = await worker.report(report)
            assert (ack.state, ack.error) == (LOST, errors_pb2.ERROR_REASON_OUTCOME_CONFLICT)
        # Whose lease it was still counts, and what would begin something comes too late.
        for worker, report in ((first, failed(two.lease_id)), (first, started(one.lease_id))):
            [ack] = await worker.report(report)
            assert (ack.state, ack.error) == (LOST, errors_pb2.ERROR_REASON_LEASE_LOST)
        assert await plane.types(job_id) == before
        if restarted:
            await third.connect([three])
        assert [ack.state for ack in await third.report(succeeded(three.lease_id))] == [HELD]
        assert [ack.state for ack in await first.report(failed(one.lease_id))] == [HELD]


async def test_an_attempt_that_was_lost_before_another_ended_stays_lost() -> None:
    async with Plane() as plane:
        old, new = FakeWorker(plane, "old"), FakeWorker(plane, "new")
        _, lease_id = await running(plane, old)
        await plane.clock.advance(60)
        await new.connect()
        [again] = new.assignments
        await new.start(again.lease_id)
        await new.report(released(again.lease_id))
        for item in (failed(lease_id), succeeded(lease_id), released(lease_id)):
            [ack] = await old.report(item)
            assert (ack.state, ack.error) == (LOST, errors_pb2.ERROR_REASON_LEASE_LOST)


async def test_another_outcome_than_the_accepted_one_is_a_conflict() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        job_id, lease_id = await running(plane, worker)
        await worker.report(succeeded(lease_id))
        [ack] = await worker.report(failed(lease_id))
        assert (ack.state, ack.error) == (LOST, errors_pb2.ERROR_REASON_OUTCOME_CONFLICT)
        assert (await plane.job(job_id)).outcome is e.Outcome.COMPLETED


async def test_success_before_the_start_is_a_conflict_and_the_lease_lives() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.accept(one.lease_id)
        [ack] = await worker.report(succeeded(one.lease_id))
        assert (ack.state, ack.error) == (LOST, errors_pb2.ERROR_REASON_OUTCOME_CONFLICT)
        assert (await plane.job(job_id)).phase is Phase.ASSIGNED
        assert [ack.state for ack in await worker.report(started(one.lease_id))] == [HELD]


async def test_a_report_of_an_unknown_lease_is_lost() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        acks = await worker.report(succeeded("made-up"), stopped("made-up-too"))
        assert [(ack.state, ack.error) for ack in acks] == [
            (LOST, errors_pb2.ERROR_REASON_LEASE_LOST),
            (HELD, errors_pb2.ERROR_REASON_UNSPECIFIED),
        ]


async def test_a_worker_that_was_lost_changes_nothing() -> None:
    async with Plane() as plane:
        old, new = FakeWorker(plane, "old"), FakeWorker(plane, "new")
        job_id, lease_id = await running(plane, old)
        await plane.clock.advance(60)
        await new.connect()
        [again] = new.assignments
        await new.start(again.lease_id)
        before = await plane.types(job_id)
        assert [ack.state for ack in await old.beat(lease_id)] == [LOST]
        for item in (started(lease_id), failed(lease_id), succeeded(lease_id), released(lease_id)):
            [ack] = await old.report(item)
            assert (ack.state, ack.error) == (LOST, errors_pb2.ERROR_REASON_LEASE_LOST)
        assert await plane.types(job_id) == before
        [ack] = await new.report(succeeded(again.lease_id))
        assert ack.state == HELD


async def test_one_message_may_start_one_job_and_end_others() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=4)
        await worker.connect()
        job_ids = await plane.create(4)
        await plane.settle()
        a, b, d, f = (one.lease_id for one in worker.assignments)
        await worker.start(b, d, f)
        await worker.accept(a)
        acks = await worker.report(started(a), succeeded(a), failed(b), released(d), succeeded(f))
        assert [(ack.lease_id, ack.kind, ack.state) for ack in acks] == [
            (a, pb.REPORT_KIND_STARTED, HELD),
            (a, pb.REPORT_KIND_SUCCEEDED, HELD),
            (b, pb.REPORT_KIND_FAILED, HELD),
            (d, pb.REPORT_KIND_RELEASED, HELD),
            (f, pb.REPORT_KIND_SUCCEEDED, HELD),
        ]
        jobs = [await plane.job(job_id) for job_id in job_ids]
        assert [job.outcome for job in (jobs[0], jobs[3])] == [e.Outcome.COMPLETED] * 2
        assert (jobs[1].num_failures, jobs[2].num_interruptions) == (1, 1)


async def test_a_worker_that_stopped_a_live_attempt_gives_it_back() -> None:
    async with Plane() as plane:
        worker, other = FakeWorker(plane, "a"), FakeWorker(plane, "b")
        job_id, lease_id = await running(plane, worker)
        await other.connect()
        [ack] = await worker.report(stopped(lease_id))
        assert ack.state == HELD
        assert (await plane.job(job_id)).num_interruptions == 1


async def test_what_cannot_be_written_is_not_acknowledged_until_it_can() -> None:
    disk = FullDisk()
    async with Plane(store=MemoryStore(disk=disk)) as plane:
        worker = FakeWorker(plane, "a")
        job_id, lease_id = await running(plane, worker)
        disk.full = True
        worker.heard()
        [answer] = await worker.say(pb.ConnectRequest(report=pb.Report(items=[succeeded(lease_id)])))
        assert answer.refusal.reason == errors_pb2.ERROR_REASON_STORAGE_FULL
        disk.full = False
        assert [ack.state for ack in await worker.report(succeeded(lease_id))] == [HELD]
        assert (await plane.job(job_id)).outcome is e.Outcome.COMPLETED


async def test_no_stop_is_sent_for_what_the_worker_itself_has_ended() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        _, lease_id = await running(plane, worker)
        await worker.report(failed(lease_id))
        assert worker.stops == []


async def test_a_terminate_that_wins_makes_the_report_lost() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        job_id, lease_id = await running(plane, worker)
        worker.stream.put(pb.ConnectRequest(report=pb.Report(items=[succeeded(lease_id)])))
        await plane.do(job_id, c.Terminate())
        await plane.settle()
        [ack] = [item for message in worker.call.sent for item in message.report_ack.items][1:]
        assert (await plane.job(job_id)).outcome is e.Outcome.CANCELLED
        assert ack.state == LOST


async def test_a_command_does_not_begin_when_its_job_ends_right_after_started_was_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.accept(one.lease_id)
        execute = plane.handler.execute

        async def overtaken(steps: Sequence[Step], *, actor: str, partial: bool = False) -> Executed:
            executed = await execute(steps, actor=actor, partial=partial)
            if isinstance(steps[0].command, c.Start):
                await plane.do(job_id, c.Terminate())
            return executed

        monkeypatch.setattr(plane.handler, "execute", overtaken)
        [ack] = await worker.report(started(one.lease_id))
        assert await plane.types(job_id) == ["JobCreated", "JobAssigned", "JobStarted", "JobTerminated"]
        assert (ack.state, ack.error) == (LOST, errors_pb2.ERROR_REASON_LEASE_LOST)


async def test_a_report_that_waits_while_a_newer_stream_takes_over_is_not_carried_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.accept(one.lease_id)
        [known] = plane.service._workers
        session = known.session
        assert session is not None

        async def decided(condition: Callable[[], bool]) -> None:
            # The newer stream's Hello has waited for the same, and is let in first.
            session.end(Refused(Reason.SESSION_SUPERSEDED, "a newer stream of this worker has taken over"))

        monkeypatch.setattr(plane.service._upkeep, "until", decided)
        assert await worker.report(started(one.lease_id)) == []
        assert await plane.types(job_id) == ["JobCreated", "JobAssigned"]
