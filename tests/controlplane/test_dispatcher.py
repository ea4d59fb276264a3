from __future__ import annotations

import random

import pytest

from tenure.controlplane import ready
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.states import Phase
from tenure.v1 import job_pb2
from tests.controlplane.fleet import HELD, FakeWorker, Plane, failed, fleet, released, succeeded


async def test_a_hundred_workers_and_ten_jobs_make_ten_assignments() -> None:
    async with Plane() as plane, fleet(plane, 100) as workers:
        job_ids = await plane.create(10)
        await plane.settle()
        given = [(worker.id, one.job_id) for worker in workers for one in worker.assignments]
        assert sorted(job_id for _, job_id in given) == sorted(job_ids)
        assert len({worker_id for worker_id, _ in given}) == 10
        for job_id in job_ids:
            assert await plane.types(job_id) == ["JobCreated", "JobAssigned"]


async def test_jobs_that_wait_go_to_whoever_comes() -> None:
    async with Plane() as plane:
        job_ids = await plane.create(3)
        worker = FakeWorker(plane, "a", slots=2)
        await worker.connect()
        assert [one.job_id for one in worker.assignments] == job_ids[:2]


async def test_an_assignment_says_all_that_is_needed() -> None:
    async with Plane() as plane:
        spec = job_pb2.JobSpecification(command="/bin/sum", queue="gpu", name="x" * 5000)
        [job_id] = await plane.create(
            queue="gpu",
            specification=spec.SerializeToString(),
            command="/bin/sum",
            arguments=("1", "100"),
            time_allocation_us=100_000_000,
            basis=e.Basis.CREATED,
            termination_grace_period_us=30_000_000,
            heartbeat_interval_us=4_000_000,
        )
        worker = FakeWorker(plane, "a", queues=["gpu"])
        await worker.connect()
        [one] = worker.assignments
        assert (one.job_id, one.attempt, one.queue, one.command) == (job_id, 1, "gpu", "/bin/sum")
        assert list(one.arguments) == ["1", "100"]
        assert one.specification == spec
        assert one.lease.ToSeconds() == 8
        assert one.heartbeat_interval.ToSeconds() == 4
        assert one.accept_within.ToSeconds() == 4
        assert one.termination_grace_period.ToSeconds() == 10  # a tenth of its time
        assert one.expires_at.ToMicroseconds() == plane.clock.wall_us() + 100_000_000
        assert (await plane.job(job_id)).lease is not None


async def test_priority_then_age_over_all_queues_of_a_worker() -> None:
    async with Plane() as plane:
        first = await plane.create(queue="x")
        second = await plane.create(queue="y")
        urgent = await plane.create(queue="y", priority=7)
        third = await plane.create(queue="x")
        worker = FakeWorker(plane, "a", queues=["x", "y"])
        await worker.connect()
        order: list[str] = []
        while len(order) < 4:
            [*_, one] = worker.assignments
            order.append(one.job_id)
            await worker.start(one.lease_id)
            await worker.report(succeeded(one.lease_id))
        assert order == [*urgent, *first, *second, *third]


async def test_new_jobs_stand_behind_older_ones_of_other_queues() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", queues=["x", "y"])
        await worker.connect()
        [busy] = await plane.create(queue="x")
        order = [busy]
        for queue in ("y", "x", "y", "x"):
            order += await plane.create(queue=queue)
        await plane.settle()
        seen = []
        for _ in order:
            [*_, one] = worker.assignments
            seen.append(one.job_id)
            await worker.start(one.lease_id)
            await worker.report(succeeded(one.lease_id))
        assert seen == order


async def test_a_job_that_comes_back_keeps_its_place() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        old, young = await plane.create(2)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.report(released(one.lease_id))
        assert [one.job_id for one in worker.assignments] == [old, old]
        assert worker.assignments[1].attempt == 2
        assert (await plane.job(young)).phase is Phase.QUEUED


async def test_failure_ban_retry_and_the_third_failure() -> None:
    async with Plane() as plane:
        workers = {name: FakeWorker(plane, name) for name in "abc"}
        await workers["a"].connect()
        [job_id] = await plane.create(max_failures=3)
        await plane.settle()
        given = []
        for name in "abc":
            [one] = workers[name].assignments
            given.append(one.attempt)
            await workers[name].start(one.lease_id)
            [ack] = await workers[name].report(failed(one.lease_id))
            assert ack.state == HELD
            await plane.clock.advance(30)
            job = await plane.job(job_id)
            if name == "c":
                break
            # With only this worker alive the job waits.
            assert (job.phase, len(workers[name].assignments)) == (Phase.QUEUED, 1)
            await workers[chr(ord(name) + 1)].connect()
        assert given == [1, 2, 3]
        assert (job.phase, job.outcome, job.num_failures) == (Phase.FINAL, e.Outcome.FAILED, 3)


async def test_a_ban_ends_by_itself() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create(ban_us=600_000_000)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.report(failed(one.lease_id))
        await plane.clock.advance(599.999999)
        assert len(worker.assignments) == 1
        await plane.clock.advance(0.000001)
        assert len(worker.assignments) == 2


async def test_a_ban_that_ended_while_the_machine_was_suspended_is_over() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.report(failed(one.lease_id))
        await plane.clock.advance(1)
        assert len(worker.assignments) == 1
        plane.clock._wall_us += 600_000_000
        await plane.service.clock_corrected()
        await plane.settle()
        assert len(worker.assignments) == 2


async def test_a_banned_job_does_not_hide_others() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        x = await plane.create()
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.report(failed(one.lease_id))
        y = await plane.create()
        await plane.settle()
        assert [one.job_id for one in worker.assignments] == [*x, *y]


async def test_a_wait_for_a_retry_ends_by_itself() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        await plane.create(retry_initial_us=5_000_000, ban_us=0)
        await plane.settle()
        [one] = worker.assignments
        await worker.start(one.lease_id)
        await worker.report(failed(one.lease_id))
        await plane.clock.advance(4.999999)
        assert len(worker.assignments) == 1
        await plane.clock.advance(0.000001)
        assert [one.attempt for one in worker.assignments] == [1, 2]


async def test_paths_must_lie_below_a_root_and_are_not_shared() -> None:
    async with Plane() as plane:
        bare = FakeWorker(plane, "bare", slots=4)
        rooted = FakeWorker(plane, "rooted", slots=4, roots=["/app/"])
        await bare.connect()
        await rooted.connect()
        first = await plane.create(absolute_paths=("/app/data",))
        await plane.settle()
        below = await plane.create(absolute_paths=("/app/data/x", "/app/y"))
        beside = await plane.create(absolute_paths=("/app/database",))
        outside = await plane.create(absolute_paths=("/application",))
        await plane.settle()
        assert bare.assignments == []
        assert [one.job_id for one in rooted.assignments] == [*first, *beside]
        [one, _] = rooted.assignments
        await rooted.start(one.lease_id)
        await rooted.report(succeeded(one.lease_id))
        assert [one.job_id for one in rooted.assignments] == [*first, *beside, *below]
        assert (await plane.job(outside[0])).phase is Phase.QUEUED


async def test_paths_that_a_worker_says_are_in_use_are_left_alone() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=2, roots=["/app"])
        worker.hello.paths_in_use.append("/app/data")
        worker.hello.leases.add(lease_id="of-old", job_id="of-old", attempt=1)
        await worker.connect()
        await plane.create(absolute_paths=("/app/data",))
        await plane.settle()
        assert worker.assignments == []
        await plane.clock.advance(60)  # it need not report that it stopped
        assert len(worker.assignments) == 1


async def test_a_paused_queue_gives_out_nothing_until_it_is_resumed() -> None:
    async with Plane() as plane:
        await plane.handler.configure_queue("default", e.QueueConfigured(), actor="admin:root")
        worker = FakeWorker(plane, "a", slots=2, queues=["default", "other"])
        await worker.connect()
        await plane.handler.configure_queue("default", e.QueuePaused(reason="repairs"), actor="admin:root")
        paused = await plane.create()
        other = await plane.create(queue="other")
        await plane.settle()
        assert [one.job_id for one in worker.assignments] == other
        await plane.handler.configure_queue("default", e.QueueResumed(), actor="admin:root")
        await plane.settle()
        assert [one.job_id for one in worker.assignments] == [*other, *paused]


async def test_a_job_terminated_in_the_queue_is_never_sent() -> None:
    async with Plane() as plane:
        [job_id] = await plane.create()
        await plane.do(job_id, c.Terminate())
        worker = FakeWorker(plane, "a")
        await worker.connect()
        assert worker.assignments == []


async def test_slots_are_never_exceeded() -> None:
    chance = random.Random(7)
    async with Plane() as plane, fleet(plane, 5, lambda i: FakeWorker(plane, f"w{i}", slots=i + 1)) as workers:
        running: dict[str, set[str]] = {worker.id: set() for worker in workers}
        seen: dict[str, int] = {worker.id: 0 for worker in workers}
        await plane.create(60, max_failures=100, ban_us=1)
        for _ in range(60):
            await plane.settle()
            for worker in workers:
                fresh = worker.assignments[seen[worker.id] :]
                seen[worker.id] = len(worker.assignments)
                running[worker.id].update(one.lease_id for one in fresh)
                assert len(running[worker.id]) <= worker.hello.slots
                if fresh:
                    await worker.start(*(one.lease_id for one in fresh))
                done = [lease_id for lease_id in running[worker.id] if chance.random() < 0.5]
                if done:
                    running[worker.id].difference_update(done)
                    kinds = [succeeded, failed, released]
                    acks = await worker.report(*(chance.choice(kinds)(lease_id) for lease_id in done))
                    assert all(ack.state == HELD for ack in acks)
        assert sum(len(worker.assignments) for worker in workers) > 60


async def test_a_worker_that_comes_back_gets_no_more_than_its_free_slots() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", slots=3)
        await worker.connect()
        await plane.create(5)
        await plane.settle()
        held = worker.assignments
        await worker.start(*(one.lease_id for one in held))
        await worker.vanish()
        await worker.connect(held[:2])
        # The third it does not know of: that slot is free, and the other two are in use.
        assert len(worker.assignments) == 1


async def test_many_more_jobs_than_are_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PAGE", 16), ("LOW", 4), ("MOST", 32), ("MOST_PARKED", 8)):
        monkeypatch.setattr(ready, name, value)
    monkeypatch.setattr("tenure.controlplane.dispatcher.PAGE", 16)
    async with Plane() as plane:
        hidden = await plane.create(40, absolute_paths=("/nowhere",), priority=1)
        before = await plane.create(50)
        worker = FakeWorker(plane, "a", slots=5)
        await worker.connect()
        after = await plane.create(100)
        order: list[str] = []
        while len(order) < 150:
            fresh = worker.assignments[len(order) :]
            assert fresh
            order += [one.job_id for one in fresh]
            await worker.start(*(one.lease_id for one in fresh))
            await worker.report(*(succeeded(one.lease_id) for one in fresh))
        assert order == [*before, *after]
        other = FakeWorker(plane, "b", slots=50, roots=["/nowhere"])
        await other.connect()
        assert [one.job_id for one in other.assignments] == hidden[:1]  # they share one folder


async def test_jobs_of_unserved_queues_wait_without_being_held() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a", queues=["served"])
        await worker.connect()
        [job_id] = await plane.create(queue="unserved")
        await plane.settle()
        assert isinstance(await plane.handler.get(job_id), Job)
        assert worker.assignments == []
        assert plane.service.queue_workers("served") == (1, 1)
        assert plane.service.queue_workers("unserved") == (0, 0)
