"""Scenario 5: what the log holds, and that everything shown is a fold of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from tenure.domain import events as e
from tenure.domain.job import Job, create, evolve
from tenure.domain.states import Phase, State
from tenure.events.v1 import event_pb2
from tenure.store.decoding import payload
from tenure.v1 import job_service_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.processes import run_tenure
from tests.acceptance.specifications import simple
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
        job = _folded(job, story.job_id, event)
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
    other = await story.user.create_many([simple(name=f"other {n}", hours=1) for n in range(20)])
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


def _folded(job: Job | None, job_id: str, event: event_pb2.Event) -> Job:
    what, time_us = payload(event, event.position), event.time.ToMicroseconds()
    if job is None:
        assert isinstance(what, e.JobCreated)
        return create(job_id, what, time_us)
    assert isinstance(what, e.JobEvent)
    return evolve(job, what, time_us)


async def _answers(user: Caller, ids: Sequence[str]) -> list[bytes]:
    """What the server says of these jobs, one by one and in lists, as it is on the wire."""
    answers = [(await user.job(job_id)).SerializeToString(deterministic=True) for job_id in ids]
    for sort_by in (job_service_pb2.JOB_SORT_BY_CREATED_AT, job_service_pb2.JOB_SORT_BY_EXPIRES_AT):
        request = job_service_pb2.BrowseJobsRequest(
            flags=job_service_pb2.JobFlags(include_updates=True, include_product=True), sort_by=sort_by
        )
        answers.append((await user.browse(request)).SerializeToString(deterministic=True))
    return answers


def _empty_projections(database: Path) -> None:
    """Delete every row that was made from the log."""
    connection = apsw.Connection(str(database))
    try:
        for table in ("origins", "jobs", "queues"):
            connection.execute(f"DELETE FROM {table}")
    finally:
        connection.close()
