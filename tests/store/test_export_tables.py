"""The log as tables: what one would ask of them can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.store.export_tables import export_tables
from tenure.store.new_file import CannotWrite
from tests.store.making import HOUR, add_jobs, assign, change, created_event, creation, lease, life, put
from tests.store.making import queue_append as queue
from tests.store.opening import opened


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as store:
        terms = e.Terms(time_allocation_us=HOUR, basis=e.Basis.CREATED)
        facets = e.Facets(
            name="train", labels=(("team", "x"),), product_id="i", product_category="c", product_provider="p"
        )
        (a,) = await put(store, creation("a", created_event("a", terms=terms, facets=facets)))
        held = lease(a)
        fail = c.Fail(lease_id=held, stage=e.Stage.RUN, exit_code=7, message="no luck")
        (a,) = await put(store, change(a, assign(a, "w1"), c.Start(lease_id=held), fail))
        await put(store, change(a, *life(a, "w2")))
        await add_jobs(store, "b")
        await put(store, queue("gpu", None, e.QueueConfigured(max_time_allocation_us=HOUR), e.QueuePaused(reason="r")))
    return tmp_path / "data"


@pytest.fixture
def tables(data: Path, tmp_path: Path) -> apsw.Connection:
    reached: list[tuple[int, int]] = []
    export_tables(
        data, tmp_path / "tables.db", lambda data: f'{{"was": "{data.decode()}"}}', lambda *at: reached.append(at)
    )
    assert reached[-1] == (11, 11)
    return apsw.Connection(str(tmp_path / "tables.db"))


def ask(tables: apsw.Connection, sql: str) -> list[Any]:
    return tables.execute(sql).fetchall()


def test_jobs(tables: apsw.Connection) -> None:
    assert ask(
        tables,
        "SELECT id, name, state, outcome, queue, created_by, product, time_allocation, attempts, worker, failures, "
        "labels ->> 'team', specification ->> 'was', arguments ->> 1 FROM jobs ORDER BY id",
    ) == [
        ("a", "train", "SUCCESS", "COMPLETED", "default", "user", "p/c/i", 3600.0, 2, "w2", 1, "x", "a", "b"),
        ("b", "", "IN_QUEUE", None, "default", "user", "", None, 0, "", 0, None, "b", "b"),
    ]
    # Times can be counted with.
    ((seconds,),) = ask(
        tables, "SELECT round((julianday(ended_at) - julianday(created_at)) * 86400) FROM jobs WHERE id = 'a'"
    )
    assert seconds == 6.0


def test_attempts_and_updates(tables: apsw.Connection) -> None:
    assert ask(
        tables, "SELECT job_id, number, worker, end_reason, exit_code, message FROM attempts ORDER BY number"
    ) == [
        ("a", 1, "w1", "AttemptFailed", 7, "no luck"),
        ("a", 2, "w2", "Completed", 0, ""),
    ]
    texts = [text for (text,) in ask(tables, "SELECT text FROM updates WHERE job_id = 'a' ORDER BY position")]
    assert texts[2] == "Attempt 1 on w1 failed (exit code 7: no luck); trying again."
    assert len(texts) == 5


def test_events_and_queues(tables: apsw.Connection) -> None:
    assert ask(tables, "SELECT count(*), min(position), max(position) FROM events") == [(11, 1, 11)]
    assert ask(tables, "SELECT stream, payload ->> 'exit_code', actor FROM events WHERE type = 'AttemptFailed'") == [
        ("job/a", 7, "server")
    ]
    assert ask(tables, "SELECT payload ->> 'specification' FROM events WHERE type = 'JobCreated'") == [(None,), (None,)]
    assert ask(tables, "SELECT name, paused, max_time_allocation FROM queues") == [("gpu", 1, 3600.0)]


async def test_nothing_of_a_long_history_is_left_out(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        (job,) = await put(store, creation("a", created_event("a", terms=e.Terms(max_failures=10_000))))
        for number in range(150):
            held = lease(job)
            fail = c.Fail(lease_id=held, stage=e.Stage.RUN, exit_code=number, message="m")
            (job,) = await put(store, change(job, assign(job, f"w{number}"), c.Start(lease_id=held), fail))
        view = (await store.view_jobs(["a"]))["a"]
        assert len(view.attempts) == 100
    export_tables(tmp_path / "data", tmp_path / "t.db", lambda data: None, lambda *at: None)
    tables = apsw.Connection(str(tmp_path / "t.db"))
    assert ask(tables, "SELECT count(*), min(number), max(number) FROM attempts") == [(150, 1, 150)]
    assert ask(tables, "SELECT count(*) FROM updates") == [(301,)]


async def test_a_file_that_is_there_stays(data: Path, tmp_path: Path) -> None:
    (tmp_path / "t.db").write_text("mine")
    with pytest.raises(CannotWrite, match="is there already"):
        export_tables(data, tmp_path / "t.db", lambda data: None, lambda *at: None)
    assert (tmp_path / "t.db").read_text() == "mine"


async def test_a_full_disk_is_not_the_stores_fault(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr("tenure.store.export_tables._insert", full)
    target = tmp_path / "full.db"
    with pytest.raises(CannotWrite, match=r"full\.db cannot be written: the disk is full"):
        export_tables(data, target, lambda _: None, lambda *_: None)
    assert not target.exists()
