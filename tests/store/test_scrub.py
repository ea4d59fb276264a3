"""The log read again: what every engine promises of it, and what is found in a damaged database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from tenure.domain import events as e
from tenure.store import chain
from tenure.store.memory import MemoryStore
from tenure.store.scrub import LONGEST_STREAM, SAMPLE, Scrubbed, read_on, sample_of
from tenure.store.store import StorageReadOnly, Store, StoreError
from tests.acceptance.waiting import eventually
from tests.store.making import add_jobs, change, life, put, queue_append
from tests.store.opening import opened


async def whole_pass(store: Store, limit: int = 4, turn: int = 0) -> tuple[Scrubbed, int]:
    """Read everything again; where that ended, and in how many pieces."""
    reached, pieces = Scrubbed(turn=turn), 0
    while (found := await store.scrub(reached, limit)) != reached:
        reached, pieces = found, pieces + 1
        if reached.problem:
            break
    return reached, pieces


async def fill(store: Store) -> None:
    """Sixteen events in seven commits, the largest of nine."""
    a, _, _ = await add_jobs(store, "a", "b", "c")
    await put(store, change(a, *life(a)))
    await put(store, queue_append("q", None, e.QueueConfigured()))
    await add_jobs(store, *(f"j{number}" for number in range(9)))


class ScrubContract:
    """What every engine promises."""

    async def test_an_empty_log_is_whole(self, store: Store) -> None:
        assert await store.scrub(Scrubbed(), 10) == Scrubbed()

    async def test_it_ends_where_the_log_ends_with_the_same_chain(self, store: Store) -> None:
        await fill(store)
        reached, pieces = await whole_pass(store)
        assert (reached.position, reached.hash, reached.problem) == (16, store.head().hash, "")
        assert reached.jobs > 0
        # Whole commits: 3, 3 and 1 events in four, then nine that are one commit.
        assert pieces == 3
        assert (await whole_pass(store, 1000))[1] == 1

    async def test_it_goes_on_where_it_was_when_the_log_has_grown(self, store: Store) -> None:
        await add_jobs(store, "a")
        reached, _ = await whole_pass(store)
        await add_jobs(store, "b", "c")
        further = await store.scrub(reached, 10)
        assert (further.position, further.hash) == (3, store.head().hash)

    async def test_another_chain_is_noticed(self, store: Store) -> None:
        await fill(store)
        first = await store.scrub(Scrubbed(), 3)
        other = Scrubbed(position=first.position, hash=b"x" * 32)
        found = await store.scrub(other, 3)
        assert found == other.wrong("positions 4 to 6 are not what was committed")

    async def test_a_closed_store_is_not_read(self, store: Store) -> None:
        await store.close()
        with pytest.raises(StoreError, match="the store is closed"):
            await store.scrub(Scrubbed(), 10)

    async def test_a_store_that_is_to_refuse_changes_does_and_goes_on_reading(self, store: Store) -> None:
        await add_jobs(store, "a")
        store.refuse_changes("the log is damaged")
        for _ in range(2):
            with pytest.raises(StorageReadOnly, match="the log is damaged"):
                await add_jobs(store, "b")
        assert store.read_only_reason == "the log is damaged"
        assert set(await store.load_jobs(["a", "b"])) == {"a"}
        assert (await store.read(0, 10))[1] == 1
        assert (await whole_pass(store))[0].position == 1


class TestMemory(ScrubContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        made = MemoryStore()
        yield made
        await made.close()

    async def test_a_changed_event_is_noticed(self, store: MemoryStore) -> None:
        await fill(store)
        assert store._events[15].stream == "job/j8"
        store._events[15] = replace(store._events[15], time_us=0)
        assert "positions 8 to 16 are not what was" in (await whole_pass(store))[0].problem
        store._events[4], store._events[5] = store._events[5], store._events[4]
        assert "job/a: " in (await whole_pass(store))[0].problem

    async def test_a_row_that_is_no_fold_is_noticed(self, store: MemoryStore) -> None:
        await fill(store)
        store._rows.jobs["b"] = store._rows.jobs["a"]
        problems = [(await whole_pass(store, turn=turn))[0].problem for turn in range(3)]
        assert "job/b: its row is not what its 1 events make of it" in problems


class TestSqlite(ScrubContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with opened(tmp_path) as made:
            yield made


CASES: dict[str, tuple[str, str]] = {
    "an event was changed": ("UPDATE events SET time_us = time_us + 1 WHERE position = 9", "positions 8 to 16 are not"),
    "an event is missing": ("DELETE FROM events WHERE position = 9", "positions 8 to 16 are not all in the log"),
    "a stream cannot be so": ("DELETE FROM events WHERE position = 5", "position 6: job a is ASSIGNED: it cannot end"),
    "a commit was changed": ("UPDATE commits SET hash = zeroblob(32) WHERE position = 6", "positions 4 to 6 are not"),
    "a commit is missing": ("DELETE FROM commits WHERE position = 3", "positions 1 to 6 are not what was committed"),
    "the last commits are missing": ("DELETE FROM commits WHERE position > 6", "positions 7 to 16 belong to no commit"),
    "a row was changed": ("UPDATE jobs SET due_us = 5", "its row is not what its"),
    "a row is missing": ("DELETE FROM origins", "its row is not what its"),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    statement, words = CASES[case]
    async with opened(tmp_path) as store:
        await fill(store)
        # By the server's own connection: another program's would be noticed as such.
        await store._errand(lambda connection: _damage(connection, statement))
        assert words in (await whole_pass(store))[0].problem


async def test_a_database_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await fill(store)
        await store._errand(lambda connection: _damage(connection, "DROP TABLE commits"))
        assert "after position 0 the database cannot be read" in (await whole_pass(store))[0].problem


async def test_an_index_that_has_lost_a_stream_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await fill(store)
    _lose_streams(tmp_path)
    async with opened(tmp_path) as store:
        assert "job/a: its events cannot be found" in (await whole_pass(store))[0].problem


@pytest.mark.parametrize("error", [apsw.BusyError("locked"), apsw.CantOpenError("unable"), apsw.NoMemError("memory")])
async def test_what_could_not_be_read_just_now_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: apsw.Error
) -> None:
    def fail(_: object) -> None:
        raise error

    async with opened(tmp_path) as store:
        await fill(store)
        with monkeypatch.context() as patched:
            patched.setattr("tenure.store.sqlite_scrub.connect_reader", fail)
            with pytest.raises(StoreError, match="the log cannot be read just now"):
                await store.scrub(Scrubbed(), 10)
        assert (await whole_pass(store))[0].problem == ""


async def test_what_was_read_before_is_read_from_the_disk_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a", "b", "marked-for-change")

        async def copied_back() -> bool:
            return (tmp_path / "tenure.db-wal").stat().st_size == 0

        await eventually(copied_back)
        assert (await whole_pass(store))[0].problem == ""
        # By another process: this one must not open the database's files.
        code = "import sys; p = sys.argv[1]; d = open(p, 'rb').read().replace(b'-change', b'-chanGe'); "
        code += "open(p, 'r+b').write(d)"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "tenure.db")], check=True)  # noqa: ASYNC221
        assert (await whole_pass(store))[0].problem == "positions 1 to 3 are not what was committed"


async def test_the_write_ahead_log_does_not_wait_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await fill(store)
        await store.scrub(Scrubbed(), 4)
        assert await store._errand(lambda connection: connection.execute("SELECT 1").get) == 1
        pages, copied = store._writer._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        assert pages == copied


async def test_a_long_stream_is_left_to_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LONGEST_STREAM > 100
    monkeypatch.setattr("tenure.store.sqlite_scrub.LONGEST_STREAM", 3)
    async with opened(tmp_path) as store:
        (job,) = await add_jobs(store, "a")
        await put(store, change(job, *life(job)))
        await store._errand(lambda connection: _damage(connection, "UPDATE jobs SET due_us = 5"))
        reached, _ = await whole_pass(store)
        assert (reached.position, reached.problem) == (4, "")


def test_everything_has_its_turn() -> None:
    found = list("abcdefg")
    seen = [each for turn in range(7) for each in sample_of(found, turn)]
    assert set(seen) == set(found)
    assert len(sample_of(found, 3)) == SAMPLE
    assert sample_of(["a"], 5) == ["a"]
    assert sample_of([], 5) == []


def test_a_column_that_cannot_be_is_no_commit() -> None:
    links: list[Any] = [(1, 1, 1, "noon", b"data")]
    found = read_on(Scrubbed(), [(1, chain.START)], links)
    assert found.problem == "positions 1 to 1 are not what was committed"


def test_what_is_good_before_the_damage_counts() -> None:
    links = [(position, 1, position, 7, b"data") for position in (1, 2, 3)]
    good = chain.advance(chain.START, links[:2])
    found = read_on(Scrubbed(), [(2, good), (3, b"other")], links)
    assert found == Scrubbed(position=2, hash=good, problem="positions 3 to 3 are not what was committed")


def _damage(connection: apsw.Connection, statement: str) -> None:
    for name in ("events_stay", "events_last"):
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)


def _lose_streams(directory: Path) -> None:
    """An empty index in the place of the one by which events are found."""
    connection = apsw.Connection(str(directory / "tenure.db"))
    connection.execute("CREATE TABLE empty (stream INTEGER NOT NULL, version INTEGER NOT NULL)")
    connection.execute("CREATE UNIQUE INDEX hollow ON empty (stream, version)")
    connection.pragma("writable_schema", 1)
    connection.execute(
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'hollow') "
        "WHERE name = 'events_by_stream'"
    )
    connection.close()
