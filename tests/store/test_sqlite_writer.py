"""What happens when the disk does not do as it should."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
from pathlib import Path

import apsw
import pytest

from tenure.store import sqlite_writer
from tenure.store.anchor import read_anchor
from tenure.store.sqlite import SqliteStore
from tenure.store.store import CommitOutcomeUnknown, StorageFull, StorageReadOnly
from tests.fakes import FakeClock
from tests.store.making import add_jobs, created_event, creation, load, put
from tests.store.opening import opened, until


async def pragma(store: SqliteStore, name: str, value: int) -> object:
    """Set a pragma of the writing connection, between two commits."""
    return await store._errand(lambda connection: connection.pragma(name, value))


def large(job_id: str, size: int) -> bytes:
    return job_id.encode() * (size // len(job_id))


async def test_a_full_disk_stops_writing_and_not_reading(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "before")
        pages = await store._errand(lambda connection: connection.pragma("page_count"))
        assert isinstance(pages, int)
        await pragma(store, "max_page_count", pages + 4)
        big = creation("big", created_event("big", specification=large("big", 100_000)))
        for _ in range(2):
            with pytest.raises(StorageFull):
                await put(store, big)
        assert (await load(store, "before")).job.id == "before"
        assert await store.load_jobs(["big"]) == {}
        assert store.head().position == 1
        assert store.read_only_reason == "the disk is full"
        await pragma(store, "max_page_count", pages + 1_000)
        await put(store, big)
        assert store.read_only_reason == ""
        assert store.head().position == 2
        assert [report async for report in store.verify()][-1].ok


async def test_neighbours_of_a_unit_that_does_not_fit_are_told_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        pages = await store._errand(lambda connection: connection.pragma("page_count"))
        assert isinstance(pages, int)
        await pragma(store, "max_page_count", pages + 4)
        big = creation("big", created_event("big", specification=large("big", 100_000)))
        results = await asyncio.gather(put(store, big), put(store, big), return_exceptions=True)
        assert [type(result) for result in results] == [StorageFull, StorageFull]
        await add_jobs(store, "small")


async def test_a_disk_that_can_only_be_read_stops_writing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "before")
        store._writer._connection.pragma("query_only", 1)
        with pytest.raises(StorageReadOnly):
            await add_jobs(store, "a")
        assert (await load(store, "before")).job.id == "before"
        store._writer._connection.pragma("query_only", 0)
        await add_jobs(store, "a")


async def test_a_replaced_write_ahead_log_is_fatal(tmp_path: Path) -> None:
    fatal: list[BaseException] = []
    async with opened(tmp_path, fatal=fatal) as store:
        await add_jobs(store, "before")
        wal = tmp_path / "tenure.db-wal"
        os.rename(wal, tmp_path / "moved")
        wal.touch()
        heard: list[int] = []
        store.listen(heard.append)
        with pytest.raises(CommitOutcomeUnknown):
            await add_jobs(store, "lost")
        assert len(fatal) == 1
        assert "was replaced" in str(fatal[0])
        with pytest.raises(CommitOutcomeUnknown):
            await add_jobs(store, "later")
        assert len(fatal) == 1
        assert heard == []
        assert store.head().position == 1


async def test_an_error_of_the_disk_is_fatal(tmp_path: Path) -> None:
    fatal: list[BaseException] = []
    async with opened(tmp_path, fatal=fatal) as store:
        await add_jobs(store, "before")

        def fail(connection: apsw.Connection) -> None:
            raise apsw.IOError("IOError: disk I/O error")

        with pytest.raises(CommitOutcomeUnknown):
            await store._errand(fail)
        assert [type(error) for error in fatal] == [apsw.IOError]
        with pytest.raises(CommitOutcomeUnknown):
            await add_jobs(store, "later")
        # Reading goes on until the process ends.
        assert (await load(store, "before")).job.id == "before"
    anchor = read_anchor(tmp_path)
    assert anchor is not None
    assert anchor.position <= 1


class _File(apsw.VFSFile):
    """A file whose flushes fail while `broken` is set, and whose writes fail while `refused` has an error number."""

    broken = False
    refused = 0
    # Where the disk ends for a write-ahead log; 0: nowhere.
    end = 0

    def __init__(self, vfs: str, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__(vfs, name, flags)
        self._is_wal = str(name if isinstance(name, str) else name.filename()).endswith("-wal")

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        if self._is_wal and _File.end and offset + len(data) > _File.end:
            raise apsw.exception_for(apsw.SQLITE_FULL)
        if _File.refused:
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if _File.broken:
            raise apsw.IOError("disk I/O error")
        super().xSync(flags)


class _Disk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("failing", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File("", name or "", flags)

    def xGetLastError(self) -> tuple[int, str]:  # noqa: N802
        return _File.refused, ""


async def test_a_flush_that_fails_is_never_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk()
    monkeypatch.setattr(apsw, "Connection", functools.partial(apsw.Connection, vfs="failing"))
    monkeypatch.setattr(_File, "broken", False)
    fatal: list[BaseException] = []
    try:
        async with opened(tmp_path, fatal=fatal) as store:
            await add_jobs(store, "before")
            monkeypatch.setattr(_File, "broken", True)
            calls = (add_jobs(store, f"j{number}") for number in range(10))
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {CommitOutcomeUnknown}
            assert [type(error) for error in fatal] == [apsw.IOError]
            assert store.head().position == 1
            monkeypatch.setattr(_File, "broken", False)
            # What may or may not be on disk is not tried again behind the callers' backs.
            with pytest.raises(CommitOutcomeUnknown):
                await add_jobs(store, "later")
        async with opened(tmp_path) as store:
            assert (await load(store, "before")).job.id == "before"
            assert [report async for report in store.verify()][-1].ok
    finally:
        disk.unregister()


@pytest.mark.parametrize(
    ("number", "refusal", "words"),
    [
        (errno.EROFS, StorageReadOnly, "the file system is read-only"),
        (errno.EDQUOT, StorageFull, "the disk's quota is used up"),
    ],
)
async def test_a_write_that_the_file_system_refuses_is_no_unknown_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refusal: type[Exception], words: str
) -> None:
    disk = _Disk()
    monkeypatch.setattr(apsw, "Connection", functools.partial(apsw.Connection, vfs="failing"))
    monkeypatch.setattr(_File, "refused", 0)
    monkeypatch.setattr(sqlite_writer, "IDLE_SECONDS", 0.1)
    try:
        async with opened(tmp_path) as store:
            await add_jobs(store, "before")
            monkeypatch.setattr(_File, "refused", number)
            with pytest.raises(refusal, match=words):
                await add_jobs(store, "a")
            assert store.read_only_reason == words
            assert (await load(store, "before")).job.id == "before"
            # Nor is it one when the write-ahead log cannot be copied back meanwhile.
            await until(lambda: store._writer._wal_pages == 1)
            monkeypatch.setattr(_File, "refused", 0)
            await add_jobs(store, "a")
            assert store.read_only_reason == ""
            await until(lambda: store._writer._wal_pages == 0)
        async with opened(tmp_path) as store:
            assert store.head().position == 2
            assert [report async for report in store.verify()][-1].ok
    finally:
        disk.unregister()


async def test_any_other_write_that_fails_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk()
    monkeypatch.setattr(apsw, "Connection", functools.partial(apsw.Connection, vfs="failing"))
    monkeypatch.setattr(_File, "refused", 0)
    fatal: list[BaseException] = []
    try:
        async with opened(tmp_path, fatal=fatal) as store:
            monkeypatch.setattr(_File, "refused", errno.EIO)
            with pytest.raises(CommitOutcomeUnknown):
                await add_jobs(store, "a")
            assert [type(error) for error in fatal] == [apsw.IOError]
            monkeypatch.setattr(_File, "refused", 0)
    finally:
        disk.unregister()


async def test_a_full_disk_has_room_where_the_write_ahead_log_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk()
    monkeypatch.setattr(apsw, "Connection", functools.partial(apsw.Connection, vfs="failing"))
    monkeypatch.setattr(_File, "end", 200_000)
    clock = FakeClock()
    try:
        async with opened(tmp_path, clock=clock) as store:
            refused = 0
            for number in range(100):
                try:
                    await add_jobs(store, f"j{number}")
                except StorageFull:
                    refused += 1
                    await clock.advance(1)
            # Its own room is used again and again, and nobody had to wait for an idle second.
            assert 0 < refused < 40
            assert store.head().position == 100 - refused
            assert (tmp_path / "tenure.db-wal").stat().st_size <= 200_000
            assert [report async for report in store.verify()][-1].ok
    finally:
        disk.unregister()


async def test_readers_do_not_hold_the_write_ahead_log(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, *(f"j{number}" for number in range(300)))
        await store.read(0, 10)
        await store.load_jobs(["j1"])
        await until(lambda: (tmp_path / "tenure.db-wal").stat().st_size == 0)


async def test_waiting_units_share_a_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await asyncio.gather(*(add_jobs(store, f"j{number}") for number in range(200)))
        commits = await store._errand(lambda connection: connection.execute("SELECT count(*) FROM commits").get)
        assert isinstance(commits, int)
        assert commits < 100


async def test_what_cannot_be_shown_ends_the_store(tmp_path: Path) -> None:
    fatal: list[BaseException] = []

    def broken(position: int) -> None:
        raise ZeroDivisionError(position)

    async with opened(tmp_path, fatal=fatal) as store:
        store.listen(broken)
        with pytest.raises(CommitOutcomeUnknown):
            await asyncio.wait_for(add_jobs(store, "one"), 10)
    assert [type(error) for error in fatal] == [ZeroDivisionError]
