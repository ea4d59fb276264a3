from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenure.agent.sync.watcher import FolderWatcher, NoWatcher, Watcher
from tests.agent.conftest import Eventually


@pytest.fixture
async def watcher(tmp_path: Path) -> AsyncIterator[Watcher]:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(outside)
    watcher = await FolderWatcher.watch([tmp_path / "in", tmp_path / "missing"])
    yield watcher
    await watcher.close()


async def seen(watcher: Watcher, wanted: Path) -> set[Path]:
    """Everything that is told up to this path."""
    paths: set[Path] = set()
    async with asyncio.timeout(20):
        while wanted not in paths:
            paths.update(await watcher.changes())
    return paths


async def test_what_is_written_is_told(watcher: Watcher, tmp_path: Path) -> None:
    file = tmp_path / "in" / "file"
    file.write_text("1")
    await seen(watcher, file)
    with file.open("a") as opened:
        opened.write("2")
    await seen(watcher, file)
    file.rename(tmp_path / "in" / "other")
    await seen(watcher, tmp_path / "in" / "other")
    (tmp_path / "in" / "other").unlink()
    await seen(watcher, tmp_path / "in" / "other")


async def test_symlinks_are_not_followed(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "outside" / "secret").write_text("x")
    (tmp_path / "in" / "last").write_text("x")
    assert not any(path.name == "secret" for path in await seen(watcher, tmp_path / "in" / "last"))


async def test_a_name_that_is_no_text_ends_the_notifications_and_nothing_else(watcher: Watcher, tmp_path: Path) -> None:
    os.close(os.open(bytes(tmp_path / "in") + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    async with asyncio.timeout(20):
        while await watcher.changes():
            pass


async def test_a_folder_whose_name_is_no_text_is_left_out(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\xfe")
    (tmp_path / "in").mkdir()
    odd.mkdir()
    watcher = await FolderWatcher.watch([odd, tmp_path / "in"])
    try:
        (odd / "file").touch()
        (tmp_path / "in" / "file").touch()
        assert await seen(watcher, tmp_path / "in" / "file") == {tmp_path / "in" / "file"}
    finally:
        await watcher.close()


async def test_the_removal_of_the_folder_is_told(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "in" / "link").unlink()
    (tmp_path / "in").rmdir()
    await seen(watcher, tmp_path / "in")


async def test_closing_ends_the_wait_and_the_thread(watcher: Watcher, eventually: Eventually) -> None:
    waiting = asyncio.create_task(watcher.changes())
    await asyncio.sleep(0)
    await watcher.close()
    assert await waiting == []
    assert await watcher.changes() == []
    await watcher.close()
    await eventually(lambda: not [each for each in threading.enumerate() if each.name.startswith("tenure-watch")])


async def test_a_watcher_of_nothing_tells_nothing(tmp_path: Path) -> None:
    watcher = await NoWatcher.watch([tmp_path])
    waiting = asyncio.create_task(watcher.changes())
    (tmp_path / "file").write_text("x")
    await asyncio.sleep(0)
    assert not waiting.done()
    await watcher.close()
    assert await waiting == []
