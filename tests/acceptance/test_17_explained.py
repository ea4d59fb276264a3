"""Scenario 17, its last sentence: with only A alive the job waits, and is told why when asked."""

from __future__ import annotations

from tenure.v1 import job_pb2
from tests.acceptance.callers import millis, refusal
from tests.acceptance.specifications import simple
from tests.acceptance.world import T0_MS, World

BAN_MS = 600_000


async def test_scenario_17_told_why_when_asked(world: World) -> None:
    user = await world.user("user")
    a = await world.worker("A")
    job_id = await user.create(simple(hours=1))
    await a.fail(await a.run(), exit_code=1)

    told = await user.explain(job_id)
    assert told.summary == (
        "It waits because an attempt failed on A, which does not get it again before 2021-10-04 06:52:56.235Z. "
        "It is the next of queue default."
    )
    assert told.state == job_pb2.JOB_STATE_IN_QUEUE
    assert (told.workers_connected, told.workers_free, told.workers_banned) == (1, 1, 1)
    assert (told.queue_position, told.free_slots) == (1, 1)
    assert millis(told.next_retry) == T0_MS + BAN_MS

    # A has other things to do: its ban is not all that is in the way any more.
    younger = await user.create(simple(hours=2))
    assignment = await a.run()
    assert assignment.job_id == younger
    told = await user.explain(job_id)
    assert told.summary == (
        "It waits because 1 worker of queue default has no free slot. It is the next of queue default."
    )
    await a.succeed(assignment)

    await world.until(T0_MS + BAN_MS)
    assert (await a.assignment()).job_id == job_id
    told = await user.explain(job_id)
    assert told.summary.startswith("It has a worker: attempt 2 on A, since ")
    assert (told.queue_position, told.HasField("next_retry")) == (0, False)


async def test_scenario_17_others_are_not_told(world: World) -> None:
    user, other = await world.user("user"), await world.user("other")
    job_id = await user.create(simple(hours=1))
    foreign, unknown = await refusal(other.explain(job_id)), await refusal(other.explain("no-such-job"))
    assert foreign.reason == "JOB_NOT_FOUND"
    assert foreign.raw == unknown.raw
    worker = await world.worker_credentials()
    assert (await refusal(worker.explain(job_id))).reason == "ROLE_NOT_ALLOWED"


async def test_scenario_17_places_in_the_queue(world: World) -> None:
    user = await world.user("user")
    low, high = simple(hours=1), simple(hours=1)
    low.priority, high.priority = -1, 1
    last = await user.create(low)
    first = await user.create(high)
    middle = await user.create(simple(hours=1))
    assert [(await user.explain(job_id)).queue_position for job_id in (first, middle, last)] == [1, 2, 3]
    assert "It is number 3 in queue default." in (await user.explain(last)).summary
