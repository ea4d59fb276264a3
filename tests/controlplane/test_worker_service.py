from __future__ import annotations

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.states import Phase
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import HELD, FakeWorker, Plane, fleet, stopped, succeeded, worker_identity


async def test_a_whole_life() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        assert [item.state for item in await worker.accept(one.lease_id)] == [HELD]
        assert [ack.state for ack in await worker.start(one.lease_id)] == [HELD]
        assert [ack.state for ack in await worker.report(succeeded(one.lease_id))] == [HELD]
        assert await plane.types(job_id) == ["JobCreated", "JobAssigned", "JobStarted", "JobTerminated"]
        assert [event.event_id for event in await plane.events(job_id)][1] == one.lease_id
        assert [event.actor for event in await plane.events(job_id)] == [
            "user:someone",
            "server",
            "worker:a",
            "worker:a",
        ]


async def test_an_outage_ends_no_job() -> None:
    """Ten jobs with a lease of two seconds, and no server for a minute."""
    async with Plane() as plane, fleet(plane, 10) as workers:
        job_ids = await plane.create(10, heartbeat_interval_us=1_000_000)
        await plane.settle()
        held = {worker.id: worker.assignments for worker in workers}
        for worker in workers:
            await worker.start(*(one.lease_id for one in held[worker.id]))
        await plane.crash()
        await plane.clock.advance(60)
        plane._boot()
        await plane._start()
        await plane.clock.advance(59)
        for worker in workers:
            welcome = await worker.connect(held[worker.id])
            assert all(verdict.keep for verdict in welcome.leases)
            for one in held[worker.id]:
                assert [ack.state for ack in await worker.beat(one.lease_id)] == [HELD]
                assert [ack.state for ack in await worker.report(succeeded(one.lease_id))] == [HELD]
        jobs = [await plane.job(job_id) for job_id in job_ids]
        assert {(job.outcome, job.attempt, job.num_interruptions) for job in jobs} == {(e.Outcome.COMPLETED, 1, 0)}


async def test_after_a_restart_a_lease_lasts_a_minute_and_then_ends() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        [job_id] = await plane.create(heartbeat_interval_us=1_000_000)
        await plane.settle()
        await worker.start(worker.assignments[0].lease_id)
        await plane.restart()
        await plane.clock.advance(59.999999)
        assert (await plane.job(job_id)).phase is Phase.RUNNING
        await plane.clock.advance(0.000001)
        assert (await plane.job(job_id)).num_interruptions == 1


async def test_a_restart_anywhere_never_makes_two_live_leases() -> None:
    for pause in range(0, 40, 2):
        async with Plane() as plane:
            workers = [FakeWorker(plane, f"worker-{index}") for index in range(5)]
            for worker in workers:
                await worker.connect(settle=False)
            job_ids = await plane.create(3)
            for _ in range(pause):
                await plane.clock.settle() if pause > 36 else None
            held = {worker.id: list(worker.assignments) for worker in workers}
            await plane.restart()
            for worker in workers:
                await worker.connect(held[worker.id])
            await plane.clock.advance(2)
            for job_id in job_ids:
                kinds = await plane.types(job_id)
                assert kinds.count("JobAssigned") - kinds.count("AssignmentDeclined") == 1


async def test_after_a_restart_an_accepted_assignment_that_is_not_named_is_declined() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        first, second = await plane.create(2)
        await plane.settle()
        await worker.accept(worker.assignments[0].lease_id)
        await plane.restart()
        await worker.connect()
        assert await plane.types(first) == ["JobCreated", "JobAssigned", "AssignmentDeclined"]
        assert [one.job_id for one in worker.assignments] == [second]


async def test_a_repeat_after_a_restart_is_answered_by_the_log() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.report(succeeded(one.lease_id))
        await plane.restart()
        welcome = await worker.connect([one])  # its report was never acknowledged, as far as it knows
        assert not welcome.leases[0].keep
        assert [ack.state for ack in await worker.report(succeeded(one.lease_id))] == [HELD]


async def test_streams_wait_until_the_leases_are_known() -> None:
    plane = Plane()
    worker = FakeWorker(plane, "a")
    async with plane.group:
        await worker.connect()
        assert worker.call.sent == []
        await plane._start()
        await plane.settle()
        assert worker.call.sent[0].WhichOneof("message") == "welcome"
        await plane.crash()


async def test_a_stopping_server_ends_streams_so_that_workers_look_for_the_next() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        caught: list[Refused] = []

        async def connect() -> None:
            caught.append(await worker.refused(pb.ConnectRequest(hello=worker.hello)))

        task = plane.group.create_task(connect())
        await plane.settle()
        await plane.service.drain()
        await task
        assert [refused.reason for refused in caught] == [Reason.DRAINING]
        await plane.create()
        await plane.settle()
        assert plane.store.head().position == 1


async def test_workers_are_browsed_by_id_in_pages() -> None:
    async with Plane() as plane, fleet(plane, 7) as workers:
        other = FakeWorker(plane, "worker-003", identity=worker_identity("another"), queues=["gpu"])
        other.hello.labels["zone"] = "b"
        other.hello.hostname = "host"
        await other.connect()
        await workers[6].vanish()
        names: list[str] = []
        token = ""
        while True:
            request = pb.BrowseWorkersRequest(page_size=3, page_token=token)
            page = await plane.service.browse_workers(request, other.call)
            names += [f"{one.subject}/{one.id}" for one in page.workers]
            token = page.next_page_token
            if not token:
                break
        assert names == [
            "fleet/worker-000", "fleet/worker-001", "fleet/worker-002", "another/worker-003", "fleet/worker-003",
            "fleet/worker-004", "fleet/worker-005", "fleet/worker-006",
        ]  # fmt: skip
        [one] = (await plane.service.browse_workers(pb.BrowseWorkersRequest(queue="gpu"), other.call)).workers
        assert (one.id, dict(one.labels), one.hostname, one.connected) == ("worker-003", {"zone": "b"}, "host", True)
        everyone = (await plane.service.browse_workers(pb.BrowseWorkersRequest(), other.call)).workers
        assert [one.connected for one in everyone] == [True] * 7 + [False]


async def test_a_page_token_of_another_question_is_refused() -> None:
    async with Plane() as plane, fleet(plane, 3) as workers:
        page = await plane.service.browse_workers(pb.BrowseWorkersRequest(page_size=1), workers[0].call)
        request = pb.BrowseWorkersRequest(page_size=1, page_token=page.next_page_token, queue="gpu")
        with pytest.raises(Refused) as refused:
            await plane.service.browse_workers(request, workers[0].call)
        assert refused.value.reason is Reason.PAGE_TOKEN_INVALID


async def test_browsing_shows_what_a_worker_does() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=3)
        await worker.connect()
        job_ids = await plane.create(2)
        await plane.settle()
        [one] = (await plane.service.browse_workers(pb.BrowseWorkersRequest(), worker.call)).workers
        assert (one.slots, one.busy_slots, sorted(one.job_ids)) == (3, 2, sorted(job_ids))
        assert not one.HasField("suspect_until")
        assert one.since.ToMicroseconds() == plane.clock.wall_us()


async def test_draining_workers_are_told_and_get_no_more() -> None:
    async with Plane() as plane:
        worker, other = FakeWorker(plane, "a", slots=2), FakeWorker(plane, "b")
        await worker.connect()
        request = pb.DrainWorkersRequest(worker_ids=["nobody", "b", "a"], release=True)
        answer = await plane.service.drain_workers(request, worker.call)
        assert list(answer.worker_ids) == ["a"]
        await plane.create()
        await plane.settle()
        drain = worker.call.sent[-1].drain
        assert (drain.release, bool(drain.reason)) == (True, True)
        assert worker.assignments == []
        [one] = (await plane.service.browse_workers(pb.BrowseWorkersRequest(), worker.call)).workers
        assert one.draining
        await other.connect()
        assert len(other.assignments) == 1


async def test_a_worker_that_says_it_drains_gets_nothing() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        worker.hello.draining = True
        await worker.connect()
        await plane.create()
        await plane.settle()
        assert worker.assignments == []


async def test_free_slots_of_a_queue_follow_what_happens() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=2)
        await worker.connect()
        assert plane.service.queue_workers("default") == (1, 2)
        [job_id] = await plane.create()
        await plane.settle()
        assert plane.service.queue_workers("default") == (1, 1)
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await plane.do(job_id, c.Terminate())
        await plane.settle()
        assert plane.service.queue_workers("default") == (1, 1)
        await worker.report(stopped(one.lease_id))
        assert plane.service.queue_workers("default") == (1, 2)
        await worker.vanish()
        assert plane.service.queue_workers("default") == (0, 0)


async def test_a_correction_of_the_clock_is_noticed_at_once() -> None:
    """The machine was suspended: its wall time is suddenly ahead of what was reckoned with when the timer was set."""
    async with Plane() as plane:
        [job_id] = await plane.create(time_allocation_us=500_000_000, basis=e.Basis.CREATED)
        await plane.clock.advance(100)
        plane.clock._wall_us += 450_000_000
        await plane.service.clock_corrected()
        await plane.settle()
        assert (await plane.job(job_id)).outcome is e.Outcome.EXPIRED


async def test_what_a_correction_brings_within_reach_is_read_from_the_store_at_once() -> None:
    """The machine was suspended for longer than the timers had looked ahead."""
    async with Plane() as plane:
        [job_id] = await plane.create(time_allocation_us=7_200_000_000, basis=e.Basis.CREATED)
        await plane.clock.advance(100)
        plane.clock._wall_us += 7_200_000_000
        await plane.service.clock_corrected()
        await plane.settle()
        job = await plane.job(job_id)
        assert (job.outcome, job.ended_us) == (e.Outcome.EXPIRED, job.origin.created_us + 7_200_000_000)
