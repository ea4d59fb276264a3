"""Scenario 24, the server's side: three workers die under one job, and the fourth finishes it."""

from __future__ import annotations

from tests.acceptance.callers import outcome_of, updates_of
from tests.acceptance.invariants import assert_one_owner
from tests.acceptance.scripted_worker import HELD
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import eventually
from tests.acceptance.world import World


async def test_scenario_24_three_lost_workers(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    job_id = await user.create(simple(hours=1, max_failures=1))
    names = []
    for number, checkpoint in enumerate((12, 42, 78), start=1):
        worker = await world.worker(f"w{number}")
        names.append(worker.id)
        assignment = await worker.run()
        assert assignment.attempt == number
        for _ in range(3):
            await world.let_pass(20)
            await worker.beat(assignment, message=f"checkpoint {checkpoint}", fraction=checkpoint / 100)
        await worker.vanish()
        worker.beats_by_itself = False
        await world.let_pass(61)
    last = await world.worker("w4")
    assignment = await last.run()
    assert assignment.attempt == 4
    await world.let_pass(20)
    await last.beat(assignment, message="96 of 100", fraction=0.96)
    assert (await last.succeed(assignment)).state == HELD

    job = await user.job(job_id)
    assert outcome_of(job) == "COMPLETED"
    assert [attempt.machine_id for attempt in job.attempts] == [*names, "w4"]
    assert job.status.attempt == 4
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 3
    assert job.status.progress.message == "96 of 100"
    assert updates_of(job)[-1][2] == "Your job has completed successfully!"
    assert_one_owner(await admin.events(job_id))


async def test_scenario_24_but_a_job_that_kills_its_workers_is_given_up(world: World) -> None:
    """The fifth lease in a row that expired soon after its start, each on another worker, is the last."""
    user = await world.user("user")
    job_id = await user.create(simple(hours=1))
    for number in range(1, 6):
        worker = await world.worker(f"w{number}")
        await worker.run()
        await worker.vanish()
        worker.beats_by_itself = False
        await world.let_pass(61)

    async def given_up() -> bool:
        return outcome_of(await user.job(job_id)) == "LOST"

    await eventually(given_up, "the job to be given up")
    job = await user.job(job_id)
    assert job.status.num_failures == 0
    assert updates_of(job)[-1][2].startswith("Your job has failed: ")
