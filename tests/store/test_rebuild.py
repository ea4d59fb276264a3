"""A rebuild makes the same bytes, however events were grouped into commits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Refused
from tenure.domain.job import Job
from tenure.store.offline import rebuild_directory, verify_directory
from tenure.store.rebuild import TABLES
from tenure.store.sqlite_schema import BadDatabase
from tests.store.making import (
    HOUR,
    SECOND,
    add_jobs,
    change,
    created_event,
    creation,
    life,
    put,
    queue_append,
)
from tests.store.opening import opened


def dump(directory: Path) -> dict[str, list[Any]]:
    """All rows of all projections."""
    connection = apsw.Connection(str(directory / "tenure.db"))
    tables = {table: list(connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()) for table in TABLES}
    connection.close()
    return tables


def schema(directory: Path) -> list[Any]:
    connection = apsw.Connection(str(directory / "tenure.db"))
    found = list(connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall())
    connection.close()
    return found


def commands(job: Job, choices: list[int]) -> list[c.Command]:
    """A life of a job, as numbers choose it."""
    done: list[c.Command] = []
    attempt = 0
    for choice in choices:
        held = f"{job.id}.lease-{attempt}"
        match choice:
            case 0:
                attempt += 1
                done.append(c.Assign(lease_id=f"{job.id}.lease-{attempt}", worker_id=f"w{attempt % 3}"))
            case 1:
                done.append(c.Start(lease_id=held))
            case 2:
                beat = c.Beat(count=len(done), at_us=job.last_us, stage=e.Stage.RUN, progress=0.5, progress_message="½")
                done.append(c.Record(lease_id=held, beat=beat))
            case 3:
                done.append(c.Fail(lease_id=held, stage=e.Stage.RUN, signal=9, oom=True, message="ü"))
            case 4:
                done.append(c.Release(lease_id=held, reason="drain"))
            case 5:
                done.append(c.ExpireLease(lease_id=held, silence_us=60 * SECOND))
            case 6:
                done.append(c.Extend(requested_us=HOUR))
            case 7:
                done.append(c.Decline(lease_id=held, reason="no room"))
            case 8:
                done.append(c.Terminate(reason="why", grace_us=3600 * SECOND))
            case _:
                done.append(c.Succeed(lease_id=held))
    return done


LIVES = st.lists(st.lists(st.integers(0, 9), max_size=25), min_size=1, max_size=6)


@given(lives=LIVES, together=st.booleans())
async def test_deleting_and_rebuilding_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, lives: list[list[int]], together: bool
) -> None:
    directory = tmp_path_factory.mktemp("log")
    terms = e.Terms(time_allocation_us=500 * HOUR, basis=e.Basis.STARTED, max_failures=5, retry_initial_us=SECOND)
    async with opened(directory) as store:
        await put(store, queue_append("default", None, e.QueueConfigured(), e.QueuePaused(reason="r")))
        for number, choices in enumerate(lives):
            facets = e.Facets(name="n", labels=(("b", "2"), ("k", "v")), application_name="app")
            created = creation(
                f"j{number}", created_event(f"j{number}", terms=terms, facets=facets, priority=number - 2)
            )
            (job,) = await put(store, created)
            appends = []
            for command in commands(job, choices):
                try:
                    one = change(job, command)
                except Refused:
                    continue
                if not one.events or one.job is None:
                    continue
                job = one.job
                appends.append(one)
            if together:
                await put(store, *appends)
            else:
                for one in appends:
                    await put(store, one)
    before = dump(directory)
    *_, (reached, last) = rebuild_directory(directory)
    assert reached == last
    assert dump(directory) == before
    *_, (_, report) = verify_directory(directory)
    assert report.problems == []


async def test_lost_and_damaged_rows_come_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        a, *_ = await add_jobs(store, "a", "b", "c")
        await put(store, change(a, *life(a)))
        await put(store, queue_append("q", None, e.QueueConfigured()))
    before, tables = dump(tmp_path), schema(tmp_path)
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    connection.execute("DELETE FROM jobs; DELETE FROM queues; UPDATE origins SET id = id || 'x'")
    connection.close()
    for _ in rebuild_directory(tmp_path):
        pass
    assert dump(tmp_path) == before
    assert schema(tmp_path) == tables


async def test_a_wrong_log_changes_no_row(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a", "b")
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    connection.execute("DROP TRIGGER events_last")
    connection.execute("UPDATE events SET data = x'00' WHERE position = 2")
    connection.close()
    before = dump(tmp_path)
    with pytest.raises(BadDatabase, match=r"position 2: .* nothing was changed"):
        list(rebuild_directory(tmp_path))
    assert dump(tmp_path) == before
