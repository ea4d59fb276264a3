"""A backup is whole or is not there, and what goes on beside it goes on."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import apsw
import pytest

from tenure.store import sqlite_backup
from tenure.store.sqlite_backup import copy_database
from tenure.store.sqlite_schema import connect_reader, read_head, read_meta
from tenure.store.store import Backup, BackupFailed
from tests.store.making import add_jobs, change, life, put
from tests.store.opening import opened
from tests.store.test_verify import damage


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere" / "backup.db"


@pytest.fixture
def taken(target: Path) -> Path:
    """The target, of which there is a file."""
    target.write_text("mine")
    return target


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as store:
        a, _ = await add_jobs(store, "a", "b")
        await put(store, change(a, *life(a)))
    return tmp_path / "data"


def position_of(path: Path) -> int:
    connection = connect_reader(path)
    try:
        return read_head(connection).position
    finally:
        connection.close()


def written(target: Path) -> tuple[int, int]:
    """Size and mode of a file."""
    found = target.stat()
    return found.st_size, stat.S_IMODE(found.st_mode)


def mine(target: Path) -> bool:
    """The file that was there before is as it was."""
    return target.read_text() == "mine"


def left_in(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


async def test_a_copy_is_the_log_as_it_was_and_nobody_else_may_read_it(data: Path, target: Path) -> None:
    async with opened(data) as store:
        backup = await store.backup(target)
        head = store.head()
        await add_jobs(store, "later")
    assert backup.position == 5
    assert written(target) == (backup.bytes, 0o600)
    connection = connect_reader(target)
    assert read_head(connection) == head
    assert read_meta(connection)["log_id"] == head.log_id
    connection.close()
    assert left_in(target) == ["backup.db"]


async def test_commits_go_on_beside_it_and_the_copy_is_one_instant_of_them(data: Path, target: Path) -> None:
    async with opened(data) as store:
        await add_jobs(store, *(f"many{number}" for number in range(3000)))
        before = store.head().position
        copying = asyncio.ensure_future(store.backup(target))
        written = 0
        while not copying.done():
            await add_jobs(store, f"beside{written}")
            written += 1
        backup = await copying
        assert before <= backup.position <= store.head().position
        assert written > 0
    assert position_of(target) == backup.position


async def test_a_file_that_is_there_is_not_touched(data: Path, taken: Path) -> None:
    async with opened(data) as store:
        with pytest.raises(BackupFailed, match="is there already"):
            await store.backup(taken)
    assert mine(taken)


async def test_a_file_that_comes_meanwhile_is_not_touched(
    data: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = sqlite_backup._checked

    def slow(draft: Path, stopped: object) -> Backup:
        target.write_text("mine")
        return check(draft, lambda: False)

    monkeypatch.setattr(sqlite_backup, "_checked", slow)
    async with opened(data) as store:
        with pytest.raises(BackupFailed, match="is there already"):
            await store.backup(target)
    assert mine(target)
    assert left_in(target) == ["backup.db"]


async def test_a_folder_without_links_will_do(data: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    async with opened(data) as store:
        await store.backup(target)
        with pytest.raises(BackupFailed, match="is there already"):
            await store.backup(target)
    assert left_in(target) == ["backup.db"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("backup.db", "is no absolute path"),
        ("{tmp}/nowhere/backup.db", "there is no folder"),
        ("{tmp}/else\0where/backup.db", "NUL"),
        ("{tmp}/data/backup.db", "is in the data directory"),
        ("{tmp}/link/backup.db", "is in the data directory"),
        ("/proc/backup.db", "cannot be written|bytes free"),
    ],
)
async def test_where_no_backup_belongs(data: Path, tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(BackupFailed, match=words):
        copy_database(data / "tenure.db", data, Path(path.format(tmp=tmp_path)))


async def test_a_disk_that_would_be_full_stays_free(data: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backup, "SPARE_BYTES", 1 << 60)
    with pytest.raises(BackupFailed, match="bytes free"):
        copy_database(data / "tenure.db", data, target)
    assert left_in(target) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE events SET time_us = time_us + 1 WHERE position = 4", "positions 3 to 5 are not what was committed"),
        ("DELETE FROM events WHERE position = 2", "position 2 is missing"),
        ("DELETE FROM commits WHERE position = 5", "the log ends at"),
    ],
)
async def test_what_is_not_whole_is_no_backup(data: Path, target: Path, statement: str, words: str) -> None:
    damage(data, statement)
    if "commits" in statement:
        connection = apsw.Connection(str(data / "tenure.db"))
        connection.execute("INSERT INTO commits SELECT 6, hash FROM commits LIMIT 1")
        connection.close()
    with pytest.raises(BackupFailed, match=words):
        copy_database(data / "tenure.db", data, target)
    assert left_in(target) == []


async def test_what_a_killed_server_left_is_no_hindrance(data: Path, target: Path) -> None:
    target.with_name(".backup.db.part").write_bytes(b"half a copy")
    copy_database(data / "tenure.db", data, target)
    assert left_in(target) == ["backup.db"]


async def test_a_caller_who_goes_leaves_no_file(data: Path, target: Path) -> None:
    async with opened(data) as store:
        await add_jobs(store, *(f"many{number}" for number in range(3000)))
        copying = asyncio.ensure_future(store.backup(target))
        await asyncio.sleep(0)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    # The store closes after its copies have ended.
    assert left_in(target) == []


async def test_a_store_that_closes_gives_up_its_copies(data: Path, target: Path) -> None:
    async with opened(data) as store:
        await add_jobs(store, *(f"many{number}" for number in range(3000)))
        copying = asyncio.ensure_future(store.backup(target))
        await asyncio.sleep(0)
    with pytest.raises(BackupFailed, match="it was given up"):
        await copying
    assert left_in(target) == []
