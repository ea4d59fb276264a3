"""What the writer does between commits: the anchor, and whatever may end it there."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from tenure.store import sqlite_writer
from tenure.store.anchor import Anchor, read_anchor, write_anchor
from tenure.store.store import CommitOutcomeUnknown
from tests.store.making import add_jobs
from tests.store.opening import opened, until


async def test_an_idle_store_has_written_its_anchor_and_writes_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a")

        def settled() -> bool:
            anchor = read_anchor(tmp_path)
            return anchor is not None and anchor.position == 1 and (tmp_path / "tenure.db-wal").stat().st_size == 0

        await until(settled)
        await until(lambda: store._writer._wal_pages == 0)
        await add_jobs(store, "b")


async def test_after_a_crash_the_anchor_catches_up_without_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "IDLE_SECONDS", 0.05)
    async with opened(tmp_path) as store:
        await add_jobs(store, "a", "b")
        head = store.head()
    old = Anchor(log_id=head.log_id, epoch=head.epoch, position=0, hash=b"")
    write_anchor(tmp_path, old)
    async with opened(tmp_path):

        def caught_up() -> bool:
            anchor = read_anchor(tmp_path)
            return anchor is not None and anchor.position == 2

        await until(caught_up)
    write_anchor(tmp_path, old)
    async with opened(tmp_path):
        pass
    anchor = read_anchor(tmp_path)
    assert anchor is not None
    assert (anchor.position, anchor.hash) == (2, head.hash)


@pytest.mark.parametrize("where", ["_little_room", "_checkpoint"])
async def test_whatever_ends_the_writer_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(sqlite_writer, "IDLE_SECONDS", 0.05)
    fatal: list[BaseException] = []
    async with opened(tmp_path, fatal=fatal) as store:

        def fail(**_: object) -> bool:
            raise ZeroDivisionError

        monkeypatch.setattr(store._writer, where, fail)
        await add_jobs(store, "a")
        await until(lambda: fatal)
        with pytest.raises(CommitOutcomeUnknown):
            await asyncio.wait_for(add_jobs(store, "b"), 10)
    assert [type(error) for error in fatal] == [ZeroDivisionError]


async def test_a_disk_that_does_not_say_how_full_it_is_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "EARLY_PAGES", 1)

    def fail(path: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "statvfs", fail)
    async with opened(tmp_path) as store:
        for name in ("a", "b", "c"):
            await asyncio.wait_for(add_jobs(store, name), 10)
