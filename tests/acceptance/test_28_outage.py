"""Scenario 28, the server's side: an outage of the control plane fails no job."""

from __future__ import annotations

from tests.acceptance.callers import duration, outcome_of
from tests.acceptance.invariants import assert_one_owner
from tests.acceptance.scripted_worker import HELD
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World

JOBS = 10
OUTAGE_S = 60


async def test_scenario_28_sixty_seconds_under_a_lease_of_two(lasting_world: World) -> None:
    world = lasting_world
    user = await world.user("user")
    specification = simple(hours=1, heartbeat_interval=duration(1))
    created = await user.create_many([specification] * JOBS)
    workers = [await world.worker(f"w{n}", slots=5) for n in range(2)]
    for worker in workers:
        for _ in range(5):
            assignment = await worker.run()
            assert assignment.lease.seconds == 2
    await world.let_pass(5)

    await world.stop()
    world.clock.freeze(OUTAGE_S)
    await world.start()
    # It is up again; the workers take a while to notice, far longer than their leases.
    await world.let_pass_without_beats(20)
    workers = [await world.same_worker(worker) for worker in workers]
    for worker in workers:
        welcome = await worker.connect(leases=[held.assignment for held in worker.held.values()])
        assert [verdict.keep for verdict in welcome.leases] == [True] * 5
    await world.let_pass(30)
    for worker in workers:
        for held in list(worker.held.values()):
            assert (await worker.succeed(held.assignment)).state == HELD

    user, admin = await world.user("user"), await world.admin()
    for item in created.responses:
        job = await user.job(item.id)
        assert outcome_of(job) == "COMPLETED"
        assert job.status.attempt == 1
        assert job.status.num_interruptions == 0
        assert [attempt.number for attempt in job.attempts] == [1]
    assert_one_owner(await admin.events())


async def test_scenario_28_who_does_not_come_back_is_lost_after_a_minute(lasting_world: World) -> None:
    world = lasting_world
    user = await world.user("user")
    job_id = await user.create(simple(hours=1, heartbeat_interval=duration(1)))
    worker = await world.worker("w")
    await worker.run()
    await world.stop()
    await world.start()
    admin = await world.admin()
    await world.let_pass_without_beats(59)
    assert "LeaseExpired" not in await admin.event_types(job_id)
    await world.let_pass_without_beats(3)

    async def lost() -> bool:
        return "LeaseExpired" in await admin.event_types(job_id)

    await eventually(lost, "the end of the lease")
