"""Damaged pages: whatever reads them, it is said in words, by a start, by `verify`, and by a store that is open."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import apsw
import pytest

from tenure.domain import events as e
from tenure.store import offline, sqlite_open
from tenure.store.damage import words
from tenure.store.decoding import DecodeError
from tenure.store.export import export_events
from tenure.store.import_log import import_log
from tenure.store.offline import rebuild_directory, verify_directory
from tenure.store.sqlite_reads import readable
from tenure.store.sqlite_schema import NAME, BadDatabase
from tenure.store.store import JobFilter, JobOrder, StoreDamaged, StoreError
from tests.store.making import add_jobs, change, life, put, queue_append
from tests.store.opening import opened

PAGE = 4096
TABLES = ("meta", "events", "commits", "origins", "jobs", "queues")
INDEXES = ("events_by_stream", "origins_by_id", "jobs_ready", "jobs_leased", "jobs_due", "jobs_twins")


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as store:
        a, _ = await add_jobs(store, "a", "b")
        await put(store, change(a, *life(a)))
        await put(store, queue_append("q", None, e.QueueConfigured()))
    return tmp_path / "data"


def root_of(directory: Path, name: str) -> int:
    """The first page of a table or an index."""
    connection = apsw.Connection(str(directory / NAME))
    try:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchall()
        assert isinstance(page, int)
        return page
    finally:
        connection.close()


def write_over(directory: Path, name: str, data: bytes | None = None) -> bytes:
    """Put other bytes, or none, in the place of a table's or an index's first page; what was there."""
    offset = (root_of(directory, name) - 1) * PAGE
    path = directory / NAME
    whole = path.read_bytes()
    before = whole[offset : offset + PAGE]
    path.write_bytes(whole[:offset] + (bytes(PAGE) if data is None else data) + whole[offset + PAGE :])
    return before


def verified(directory: Path) -> str:
    """What `tenure log verify` says."""
    try:
        *_, (_, report) = verify_directory(directory)
    except StoreError as error:
        return str(error)
    return "; ".join(report.problems)


async def started(directory: Path) -> str:
    """What is said of a store when it is opened and read; empty: nothing."""
    try:
        async with opened(directory, fatal=[]) as store:
            await store.load_queues()
            await store.browse(JobFilter(), JobOrder(), None, 10, histories=True)
            await store.leased("", 10)
            await store.due(1 << 60, None, 10)
            await store.queue_depths()
            await store.candidates("default", None, 10, 1 << 60)
    except StoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", [*TABLES, *INDEXES])
async def test_a_page_of_zeros_is_found(log: Path, name: str) -> None:
    write_over(log, name)
    assert verified(log)


@pytest.mark.parametrize("one", TABLES)
@pytest.mark.parametrize("other", [*TABLES, *INDEXES])
async def test_pages_in_each_others_place_are_found_and_said(log: Path, one: str, other: str) -> None:
    if one == other:
        return
    write_over(log, one, write_over(log, other, None))
    assert verified(log)
    await started(log)


@pytest.mark.parametrize("name", [*INDEXES, "jobs", "origins", "queues"])
async def test_a_log_whose_rows_are_lost_can_be_taken_elsewhere(log: Path, tmp_path: Path, name: str) -> None:
    write_over(log, name)
    said = verified(log)
    assert "the database is damaged, whatever its rows say" in said or "cannot be read" in said
    lines = StringIO()
    before = export_events(log, lines, lambda *_: None)
    elsewhere = tmp_path / "elsewhere"
    lines.seek(0)
    after = import_log(lines, elsewhere, log_id="new", progress=lambda *_: None)
    assert (after.log_id, after.position) == (before.log_id, 6)
    assert verified(elsewhere) == ""


async def test_reading_a_damaged_page_says_what_to_do(log: Path) -> None:
    write_over(log, "jobs_ready")
    async with opened(log) as store:
        with pytest.raises(StoreDamaged, match="check it with `tenure log verify`"):
            await store.candidates("default", None, 10, 1 << 60)
        assert set(await store.load_jobs(["a", "b"])) == {"a", "b"}


async def test_whoever_does_not_wait_for_a_check_ends_it(log: Path) -> None:
    async with opened(log) as store:
        checking = store.verify()
        assert (await anext(checking)).events == 6
        await checking.aclose()  # type: ignore[attr-defined]
        await add_jobs(store, "c")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (apsw.FullError("database or disk is full"), "the disk is full. Free some space and start again"),
        (apsw.ReadOnlyError("attempt to write"), "the file system is read-only. Mount it for writing"),
        (apsw.IOError("disk I/O error"), "the disk answers with errors"),
        (apsw.BusyError("database is locked"), "held locked by another program"),
        (apsw.CantOpenError("unable to open database file"), "may this user read and write it, and the folder?"),
        (apsw.NoMemError("out of memory"), "there is too little memory"),
        (apsw.CorruptError("malformed"), "is damaged: malformed. The server does not start on it"),
        (TypeError("object of type 'NoneType'"), "there are rows in it that no server has written"),
    ],
)
async def test_a_start_says_what_is_wrong_with_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(sqlite_open, "_prepare", fail)
    with pytest.raises(BadDatabase, match=said):
        async with opened(tmp_path):
            pass


async def test_a_data_directory_on_a_full_or_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, said in ((28, "the disk is full"), (30, "the file system is read-only"), (13, "Permission denied")):

        def fail(directory: Path, number: int = number) -> None:
            raise OSError(number, {13: "Permission denied"}.get(number, "?"))

        monkeypatch.setattr(sqlite_open, "DirectoryLock", fail)
        with pytest.raises(BadDatabase, match=said):
            async with opened(tmp_path):
                pass


def test_words_never_show_what_is_stored() -> None:
    assert words(ValueError("secret")) == "there are rows in it that no server has written"
    assert words(UnicodeDecodeError("utf-8", b"secret", 0, 1, "secret")) == "there is text in it that is none"
    assert words(DecodeError("position 7: the stored bytes are no event")).startswith("position 7")
    with pytest.raises(StoreDamaged) as damaged:
        readable(lambda _: int("secret"), None)  # type: ignore[arg-type]
    assert "secret" not in str(damaged.value)


@pytest.mark.parametrize("name", [NAME, "anchor.json"])
async def test_a_file_that_cannot_be_opened_is_not_called_damaged(log: Path, name: str) -> None:
    (log / name).unlink()
    (log / name).mkdir()
    for said in (await started(log), verified(log)):
        assert "cannot be" in said
        assert "damaged" not in said
        assert "newest backup" not in said


async def test_a_rebuild_without_room_does_not_call_the_log_damaged(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(connection: apsw.Connection) -> Iterator[int]:
        yield 1
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(offline, "rebuild", full)
    with pytest.raises(BadDatabase, match="cannot be used: database or disk is full"):
        list(rebuild_directory(log))
    assert verified(log) == ""
