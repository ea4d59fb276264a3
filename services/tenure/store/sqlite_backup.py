"""A database copied while it is used: a snapshot in a new file, checked, and only then given its name.

A file with the name that was asked for is therefore always a whole backup, whatever happened on the way. The copy is
made by a connection of its own that only reads, so that commits and reads go on.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from tenure.store import chain
from tenure.store.damage import UNREADABLE
from tenure.store.new_file import CannotWrite, new_file
from tenure.store.replay import event_pages
from tenure.store.sqlite_schema import check_schema, connect_reader, one, read_head, rows
from tenure.store.store import Backup, BackupFailed, Head

# What must be left free on the target's disk after the copy: it may be the live database's disk too.
SPARE_BYTES = 64 * 1024 * 1024
# Steps of SQLite's machine between two looks at whether the copy is still wanted: milliseconds.
STEPS = 20_000


class Copies:
    """The copies of one database that are being made, each in a thread."""

    def __init__(self, source: Path, directory: Path) -> None:
        self._source = source
        self._directory = directory
        self._running: dict[asyncio.Future[Backup], threading.Event] = {}

    async def make(self, target: Path) -> Backup:
        """See `Store.backup`; one at a time, as two of one target would be in each other's way."""
        while self._running:
            await asyncio.wait(list(self._running))
        stop = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(
            None, copy_database, self._source, self._directory, target, stop.is_set
        )
        self._running[work] = stop
        work.add_done_callback(self._ended)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            raise

    async def stop(self) -> None:
        """Give up what is being made; returns when its threads have ended."""
        for stop in self._running.values():
            stop.set()
        if self._running:
            await asyncio.wait(list(self._running))

    def _ended(self, work: asyncio.Future[Backup]) -> None:
        self._running.pop(work, None)
        if not work.cancelled():
            work.exception()  # whoever waited has it


def copy_database(source: Path, directory: Path, target: Path, stopped: Callable[[], bool] = lambda: False) -> Backup:
    """Copy a database that may be in use into a new file; see `Store.backup`.

    Args:
        source: the database.
        directory: its data directory; a copy in there would be lost with it.
        target: the new file.
        stopped: whether the copy is no longer wanted.

    Raises:
        BackupFailed: there is no such file now.
    """
    if "\0" in str(target):
        raise BackupFailed("the path has a NUL character")
    if not target.is_absolute():
        raise BackupFailed(f"{target} is no absolute path")
    if target.parent.resolve().is_relative_to(directory.resolve()):
        raise BackupFailed(
            f"{target.parent} is in the data directory: a backup belongs elsewhere, best on another disk"
        )
    try:
        with new_file(target) as draft:
            copy_into(source, draft, stopped)
            return _checked(draft, stopped)
    except CannotWrite as error:
        raise BackupFailed(str(error)) from error
    except apsw.InterruptError:
        raise BackupFailed("it was given up before the copy was whole") from None
    except apsw.FullError:
        raise BackupFailed(f"the disk of {target.parent} is full") from None
    except UNREADABLE:
        raise BackupFailed("the store is damaged: check it with `tenure log verify`") from None
    except apsw.Error as error:
        raise BackupFailed("the database could not be copied; look at the disk it is on") from error


def copy_into(source: Path, draft: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Copy a snapshot of a database into an empty file.

    Raises:
        BackupFailed: the disk has no room.
        apsw.Error: as SQLite says.
    """
    connection = connect_reader(source)
    try:
        pages = one(connection, "PRAGMA page_count") - one(connection, "PRAGMA freelist_count")
        size = pages * one(connection, "PRAGMA page_size")
        free = shutil.disk_usage(draft.parent).free
        if free < size + SPARE_BYTES:
            raise BackupFailed(
                f"the disk of {draft.parent} has {free} bytes free; the copy takes {size}, and {SPARE_BYTES} must stay"
            )
        connection.set_progress_handler(stopped, STEPS)
        # Forbidden while only queries are allowed; the connection stays read-only all the same.
        connection.pragma("query_only", 0)
        connection.execute("VACUUM INTO ?", (str(draft),))
    finally:
        connection.close()


def _checked(draft: Path, stopped: Callable[[], bool]) -> Backup:
    """The copy, once nothing is wrong with it."""
    connection = connect_reader(draft)
    try:
        connection.set_progress_handler(stopped, STEPS)
        if not check_schema(connection, draft):
            raise BackupFailed("the store is empty")
        head = read_head(connection)
        problem = page_problem(connection) or chain_problem(connection, head, stopped)
        if problem:
            raise BackupFailed(f"the copy is not whole, and so the store may not be ({problem}): `tenure log verify`")
    finally:
        connection.close()
    return Backup(position=head.position, bytes=draft.stat().st_size)


def page_problem(connection: apsw.Connection) -> str:
    """What is wrong with the pages of a database; empty: nothing."""
    found = [str(row[0]) for row in rows(connection, "PRAGMA quick_check(10)")]
    return "" if found == ["ok"] else found[0]


def chain_problem(connection: apsw.Connection, head: Head, stopped: Callable[[], bool] = lambda: False) -> str:
    """What is wrong with the log's positions and its hash chain; empty: nothing.

    Raises:
        apsw.InterruptError: it is no longer wanted.
    """
    reached, running = 0, chain.START
    links: list[chain.Link] = []
    for page in event_pages(connection, head.position):
        if stopped():
            raise apsw.InterruptError("no longer wanted")
        commits = dict(
            rows(
                connection,
                "SELECT position, hash FROM commits WHERE position BETWEEN ? AND ?",
                (page[0][0], page[-1][0]),
            )
        )
        for position, stream, version, _, time_us, data in page:
            if position != reached + 1:
                return f"position {reached + 1} is missing"
            reached = position
            links.append((position, stream, version, time_us, data))
            if position in commits:
                running = chain.advance(running, links)
                if running != commits[position]:
                    return f"positions {links[0][0]} to {position} are not what was committed"
                links.clear()
    return "" if reached == head.position and not links else f"the log ends at position {reached}"
