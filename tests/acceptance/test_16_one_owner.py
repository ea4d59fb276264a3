"""Scenario 16: each job has one owner, however many want it."""

from __future__ import annotations

import asyncio

from tenure.v1 import worker_service_pb2
from tests.acceptance.invariants import assert_dense, assert_one_owner
from tests.acceptance.scripted_worker import HELD, ScriptedWorker
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World

WORKERS = 100
JOBS = 10


async def _assigned(workers: list[ScriptedWorker]) -> list[worker_service_pb2.Assignment]:
    """What the workers have been sent, once nothing more comes."""

    async def enough() -> bool:
        return sum(len(worker.assigned) for worker in workers) >= JOBS

    await eventually(enough, "ten assignments")
    await asyncio.gather(*(worker.round_trip() for worker in workers))
    return [assignment for worker in workers for assignment in worker.assigned]


async def test_scenario_16_a_hundred_workers_at_once(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    created = await user.create_many([simple(hours=1) for _ in range(JOBS)])
    job_ids = {item.id for item in created.responses}
    workers = [await world.new_worker(f"w{n:03}") for n in range(WORKERS)]
    await asyncio.gather(*(worker.connect() for worker in workers))
    assignments = await _assigned(workers)
    assert len(assignments) == JOBS
    assert {assignment.job_id for assignment in assignments} == job_ids
    assert len({assignment.lease_id for assignment in assignments}) == JOBS
    assert max(len(worker.assigned) for worker in workers) == 1

    await world.let_pass(3)
    await asyncio.gather(*(worker.round_trip() for worker in workers))
    events = await admin.events()
    assert_dense(events)
    assert_one_owner(events)
    assert len(await admin.events(types=["JobAssigned"])) == JOBS


async def test_scenario_16_across_restarts(lasting_world: World) -> None:
    world = lasting_world
    user = await world.user("user")
    created = await user.create_many([simple(hours=1) for _ in range(JOBS)])
    workers = [await world.worker(f"w{n}") for n in range(JOBS + 5)]
    assignments = await _assigned(workers)
    owners = {a.lease_id: worker.id for worker in workers for a in worker.assigned}
    for worker in workers:
        for assignment in list(worker.untouched()):
            await worker.assignment()
            await worker.accept(assignment)
    # Three of them had started before the server went away.
    started = {assignment.lease_id for assignment in assignments[:3]}
    for worker in workers:
        for held in worker.held.values():
            if held.assignment.lease_id in started:
                await worker.start(held.assignment)

    for _ in range(3):
        await world.stop()
        await world.start()
        workers = [await world.same_worker(worker) for worker in workers]
        for worker in workers:
            welcome = await worker.connect(leases=[held.assignment for held in worker.held.values()])
            assert all(verdict.keep for verdict in welcome.leases)
        await world.let_pass(5)
        for worker in workers:
            await worker.round_trip()
            assert worker.assigned == []
            for held in list(worker.held.values()):
                assert (await worker.beat(held.assignment)).state == HELD

    admin = await world.admin()
    events = await admin.events()
    assert_dense(events)
    assert_one_owner(events)
    given = {event.event_id: event.job_assigned.worker_id for event in events if event.HasField("job_assigned")}
    assert given == owners
    assert len(created.responses) == JOBS
