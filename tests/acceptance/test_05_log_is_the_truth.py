"""Scenario 5: what the log holds, and that everything shown is a fold of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import apsw

from tenure.domain.job import Job, evolve
from tenure.domain.states import Phase, State
from tenure.store.decoding import decode
from tenure.v1 import job_service_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.processes import run_tenure
from tests.acceptance.stories import CANCELLED, EXTENDED_MS, terminated
from tests.acceptance.world import World


async def test_scenario_05_order_of_events(world: World) -> None:
    story = await terminated(world)
    admin = await world.admin()
    types = await admin.event_types(story.job_id)
    assert [name for name in types if name != "JobHeartbeat"] == [
        "JobCreated",
        "JobAssigned",
        "JobStarted",
        "JobExtended",
        "JobTerminated",
    ]
    assert "JobHeartbeat" in types
    assert types.index("JobHeartbeat") > types.index("JobAssigned")
    events = await admin.events()
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    own = [event for event in events if event.stream == f"job/{story.job_id}"]
    assert [event.stream_version for event in own] == list(range(1, len(own) + 1))


async def test_scenario_05_fold_up_to_the_extension(world: World) -> None:
    story = await terminated(world)
    admin = await world.admin()
    job: Job | None = None
    for event in await admin.events(story.job_id):
        recorded = decode(event.SerializeToString())
        job = evolve_recorded(job, story.job_id, recorded)
        if event.HasField("job_extended"):
            break
    assert job is not None
    assert job.phase is Phase.RUNNING
    assert job.state is State.RUNNING
    assert job.expires_us == EXTENDED_MS * 1000
    assert job.origin.terms.time_allocation_us == 5 * 3600 * 1_000_000


async def test_scenario_05_rebuild_gives_byte_equal_answers(lasting_world: World) -> None:
    world = lasting_world
    story = await terminated(world)
    other = await story.user.create_many([_other(n) for n in range(20)])
    ids = [story.job_id, *(item.id for item in other.responses)]
    before = await _answers(story.user, ids)
    assert CANCELLED.encode() in before[0]

    await world.stop()
    directory = Path(world.store_url.removeprefix("sqlite://"))
    _empty_projections(directory / "tenure.db")
    output = run_tenure("log", "rebuild", "--store", world.store_url)
    assert output.returncode == 0, output
    output = run_tenure("log", "verify", "--store", world.store_url)
    assert output.returncode == 0, output

    await world.start()
    assert await _answers(await world.user("user"), ids) == before
