"""The log as lines, and a log of lines: nothing is lost between them, and what is no log is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.store.anchor import read_anchor
from tenure.store.export import export_events
from tenure.store.export_tables import export_tables
from tenure.store.import_log import BadExport, import_log
from tenure.store.lock import StoreLocked
from tenure.store.offline import verify_directory
from tenure.store.sqlite_schema import NAME, BadDatabase
from tenure.store.store import Store
from tests.store.making import (
    HOUR,
    SECOND,
    add_jobs,
    assign,
    change,
    created_event,
    creation,
    lease,
    life,
    put,
    queue_append,
    request,
    whole_log,
)
from tests.store.opening import opened

Values = list[dict[str, Any]]


async def fill(store: Store) -> None:
    """Events of every shape, in several commits."""
    terms = e.Terms(time_allocation_us=5 * HOUR + 1, basis=e.Basis.CREATED)
    facets = e.Facets(name="ü\n\u2028", labels=(("a", "1"), ("b", "2")))
    await put(store, queue_append("q", None, e.QueueConfigured(max_time_allocation_us=HOUR), e.QueuePaused(reason="r")))
    (a,) = await put(
        store,
        creation("a", created_event("a", terms=terms, facets=facets, specification=bytes(range(256)))),
        request=request("r-1", digest=bytes(range(32))),
    )
    await put(store, change(a, *life(a)))
    b, _ = await add_jobs(store, "b", "d")
    held = lease(b)
    beat = c.Beat(count=3, at_us=b.last_us + 2 * SECOND, progress=0.1, progress_message="x")
    (b,) = await put(
        store,
        change(
            b,
            assign(b),
            c.Start(lease_id=held),
            c.Record(lease_id=held, beat=beat),
            c.Fail(lease_id=held, stage=e.Stage.RUN, exit_code=0, message="m"),
        ),
    )
    for number in range(300):
        await add_jobs(store, f"many{number}")


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as store:
        await fill(store)
    return tmp_path / "data"


def exported(path: Path) -> list[str]:
    out = io.StringIO()
    export_events(path, out, lambda reached, last: None)
    return out.getvalue().splitlines()


def damage(directory: Path, statement: str) -> None:
    connection = apsw.Connection(str(directory / NAME))
    try:
        for name in ("events_stay", "events_last"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
    finally:
        connection.close()


def imported(lines: list[str], directory: Path) -> tuple[int, int]:
    head = import_log(lines, directory, log_id="fresh", progress=lambda reached, last: None)
    return head.position, head.epoch


async def test_the_same_events_in_a_new_epoch(data: Path, tmp_path: Path) -> None:
    lines = exported(data)
    async with opened(data) as store:
        events, head = await whole_log(store), store.head()
        jobs = await store.view_jobs(["a", "b", "many7"])
    assert len(lines) == head.position + 1
    assert imported(lines, tmp_path / "new") == (head.position, 2)
    *_, (_, report) = verify_directory(tmp_path / "new")
    assert report.problems == []
    anchor = read_anchor(tmp_path / "new")
    assert anchor is not None
    assert (anchor.log_id, anchor.epoch, anchor.position) == (head.log_id, 2, head.position)
    async with opened(tmp_path / "new") as store:
        assert await whole_log(store) == events
        assert await store.view_jobs(["a", "b", "many7"]) == jobs
        assert (await store.load_queues())["q"].paused
        await add_jobs(store, "more")
    # Again, from what was imported: but for the heading and the new event the lines are the same.
    assert exported(tmp_path / "new")[1:-1] == lines[1:]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = CAST(data || 'x' AS BLOB) WHERE position = 300",
        "UPDATE events SET time_us = time_us + 1 WHERE position = 300",
        "DELETE FROM events WHERE position = 300",
        "UPDATE commits SET hash = zeroblob(32) WHERE position = 300",
    ],
)
async def test_what_was_not_committed_is_not_exported(data: Path, tmp_path: Path, statement: str) -> None:
    good = exported(data)
    damage(data, statement)
    out = io.StringIO()
    with pytest.raises(BadDatabase, match=r"positions 300 to .* are not what was committed"):
        export_events(data, out, lambda reached, last: None)
    assert out.getvalue().splitlines() == good[:300]
    with pytest.raises(BadDatabase, match=r"positions 300 to .* are not what was committed"):
        export_tables(data, tmp_path / "tables.db", lambda specification: None, lambda reached, last: None)
    assert not (tmp_path / "tables.db").exists()
    # All before it makes a log, without the line that says how long it should be.
    assert imported(good[1:300], tmp_path / "saved") == (299, 1)


async def test_lines_are_plain_text(data: Path) -> None:
    assert all(line.isascii() and line.isprintable() for line in exported(data))


async def test_a_running_server_keeps_its_log_to_itself(data: Path, tmp_path: Path) -> None:
    async with opened(data) as store:
        await store.backup(tmp_path / "backup.db")
        with pytest.raises(StoreLocked):
            exported(data)
        assert len(exported(tmp_path / "backup.db")) == store.head().position + 1


async def test_where_there_is_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadDatabase, match="there is no store"):
            exported(path)
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(BadDatabase):
        exported(tmp_path / "text")


async def test_lines_without_a_heading_make_a_log_of_their_own(data: Path, tmp_path: Path) -> None:
    lines = exported(data)[1:]
    assert imported(["", *lines, "  "], tmp_path / "new") == (len(lines), 1)
    anchor = read_anchor(tmp_path / "new")
    assert anchor is not None
    assert anchor.log_id == "fresh"


async def test_an_empty_log(tmp_path: Path) -> None:
    async with opened(tmp_path / "data"):
        pass
    assert imported(exported(tmp_path / "data"), tmp_path / "new") == (0, 2)
    async with opened(tmp_path / "new") as store:
        await add_jobs(store, "a")


def without(index: int) -> Callable[[Values], object]:
    return lambda values: values.pop(index)


def changed(index: int, **fields: Any) -> Callable[[Values], object]:
    return lambda values: values[index].update(fields)


WRONG: dict[str, tuple[Callable[[Values], object], str]] = {
    "nothing": (lambda values: values.clear(), "it is empty"),
    "the end is missing": (without(-1), "it ends at position 312, and should reach 313: it was cut off"),
    "one is missing": (without(5), "line 6 is position 6, where 5 comes"),
    "one is twice": (lambda values: values.insert(5, values[5]), "line 7 is position 5, where 6 comes"),
    "of a later format": (changed(0, tenureLog=2), "an export of format 2; this version knows 1"),
    "no heading": (lambda values: values[0].pop("epoch"), "the heading does not say what log it is"),
    "no event": (changed(5, position="x"), "line 6 is no event of this version"),
    "of a later version": (changed(5, jobFrozen={}), "line 6 is no event of this version"),
    "without what happened": (lambda values: values[4].pop("jobAssigned"), "position 4: an event of a type"),
    "a version is missing": (changed(4, streamVersion="3"), "position 4: job/a goes from version 1 to 3"),
    "time runs back": (changed(4, time="2001-01-01T00:00:00Z"), "position 4: job/a goes back in time"),
    "it cannot have happened": (
        lambda values: values[4].update(jobStarted=values[5]["jobStarted"]) or values[4].pop("jobAssigned"),
        "position 4: job a is QUEUED: JobStarted is not allowed",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_no_log_makes_none(data: Path, tmp_path: Path, case: str) -> None:
    spoil, says = WRONG[case]
    values = [json.loads(line) for line in exported(data)]
    spoil(values)
    with pytest.raises(BadExport, match=says):
        imported([json.dumps(value) for value in values], tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["LOCK"]


@pytest.mark.parametrize("line", ["{", "[]", "null", "[" * 100_000])
async def test_what_is_no_json(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadExport, match="line 1 is no JSON"):
        imported([line], tmp_path / "new")


async def test_a_log_that_is_there_stays(data: Path) -> None:
    lines = exported(data)
    with pytest.raises(BadDatabase, match="holds a log already"):
        imported(lines, data)
    (data / "tenure.db").unlink()
    with pytest.raises(BadDatabase, match="holds a log already"):
        imported(lines, data)
