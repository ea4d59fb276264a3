"""A data directory is opened: locked, checked against its anchor, and handed to an engine.

What is wrong is said in words, with what to do, and nothing is started: a log that lost its tail must not go on as if
it had not.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import apsw

from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store import chain
from tenure.store.anchor import Anchor, AnchorMismatch, read_anchor, write_anchor
from tenure.store.damage import UNREADABLE, words
from tenure.store.lock import DirectoryLock
from tenure.store.replay import PAGE
from tenure.store.sqlite import SqliteStore
from tenure.store.sqlite_schema import (
    NAME,
    BadDatabase,
    check_schema,
    connect_writer,
    create_schema,
    one,
    read_head,
    rows,
    upgrade_schema,
)
from tenure.store.store import Head
from tenure.store.verify import anchor_problem

log = get_logger("store")

# Events before the anchor that are checked as well.
LOOK_BACK = 1_000

_ADVICE = (
    "The server does not start on it. Put the newest backup in its place with `tenure log restore`; or, to go on with "
    "what is there, check it with `tenure log verify --write-anchor`: what is gone stays gone."
)

_FULL = "the disk is full. Free some space and start again; nothing that was acknowledged is lost"
_READ_ONLY = (
    "the file system is read-only. Mount it for writing and start again; to read what is there meanwhile, copy the "
    "whole directory to another disk and open the copy"
)


async def open_sqlite(
    directory: Path,
    *,
    clock: Clock,
    ids: Ids,
    on_fatal: Callable[[BaseException], None],
    create: bool = True,
) -> SqliteStore:
    """Open the store in a data directory.

    Args:
        directory: made with mode 0700 where it is missing.
        clock: when to write the anchor.
        ids: names a new log.
        on_fatal: see `open_store`.
        create: make what is missing.

    Raises:
        StoreLocked: another process has it open.
        AnchorMismatch: the log has lost its tail or is another one.
        BadDatabase: it is no database of ours, damaged, or cannot be made.
    """
    lock, connection, head = await asyncio.to_thread(_open, directory, ids.new(), create)
    return SqliteStore(
        connection, directory, directory / NAME, head, clock=clock, on_fatal=on_fatal, on_close=lock.release
    )


def _open(directory: Path, log_id: str, create: bool) -> tuple[DirectoryLock, apsw.Connection, Head]:
    path = directory / NAME
    if not create and not path.exists():
        raise BadDatabase(f"there is no store in {directory}: {NAME} is missing")
    lock = lock_directory(directory)
    try:
        connection, head = _connect(directory, path, log_id)
    except BaseException:
        lock.release()
        raise
    return lock, connection, head


def lock_directory(directory: Path) -> DirectoryLock:
    """Make a data directory where it is missing, and lock it.

    Raises:
        StoreLocked: another process has it open.
        BadDatabase: it cannot be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DirectoryLock(directory)
    except OSError as error:
        raise _not_writable(directory, error) from error


def _connect(directory: Path, path: Path, log_id: str) -> tuple[apsw.Connection, Head]:
    try:
        anchor = read_anchor(directory)
    except OSError as error:
        raise _not_writable(directory, error) from error
    if anchor is not None and not path.exists():
        raise AnchorMismatch(f"{path} is gone, but {anchor.position} events were in it. {_ADVICE}")
    try:
        _keep_to_its_owner(path)
        connection = connect_writer(path)
    except OSError as error:
        raise _not_writable(directory, error) from error
    except apsw.Error as error:
        raise _not_opened(path, error) from error
    try:
        return connection, _prepare(connection, directory, path, log_id, anchor)
    except (apsw.Error, *UNREADABLE) as error:
        connection.close()
        raise _not_opened(path, error) from error
    except OSError as error:
        connection.close()
        raise _not_writable(directory, error) from error
    except BaseException:
        connection.close()
        raise


def _keep_to_its_owner(path: Path) -> None:
    """Make the database for its owner alone; SQLite gives the files beside it the same rights."""
    if not path.exists():
        # Before SQLite opens it: closing a file gives the locks on it back, also those of another descriptor.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    elif path.stat().st_mode & 0o077 and path.parent.stat().st_mode & 0o077:
        log.warning("store_readable_by_others", path=str(path), remedy=f"chmod 700 {path.parent}")


def _not_opened(path: Path, error: Exception) -> BadDatabase:
    """What is wrong with the database, and what to do: a disk that does not do as it should is no damaged log."""
    match error:
        case apsw.FullError():
            return BadDatabase(f"{path} cannot be opened: {_FULL}")
        case apsw.ReadOnlyError():
            return BadDatabase(f"{path} cannot be opened: {_READ_ONLY}")
        case apsw.BusyError() | apsw.LockedError():
            return BadDatabase(f"{path} is held locked by another program: end it and start again")
        case apsw.CantOpenError():
            return BadDatabase(f"{path} cannot be opened: may this user read and write it, and the folder? ({error})")
        case apsw.NoMemError():
            return BadDatabase(f"{path} cannot be opened: there is too little memory")
        case apsw.IOError():
            return BadDatabase(
                f"{path} cannot be opened: the disk answers with errors ({error}). See what the machine's own log says "
                "of the disk, and start again when it is well. If it is lost: `tenure log restore` of the newest backup"
            )
        case _:
            return BadDatabase(f"{path} is damaged: {words(error)}. {_ADVICE}")


def _not_writable(directory: Path, error: OSError) -> BadDatabase:
    why = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EROFS: _READ_ONLY}.get(error.errno or 0, error.strerror)
    return BadDatabase(f"{directory} cannot be used as a data directory: {why}")


def _prepare(connection: apsw.Connection, directory: Path, path: Path, log_id: str, anchor: Anchor | None) -> Head:
    fresh = not check_schema(connection, path)
    if fresh and anchor is not None:
        raise AnchorMismatch(f"{path} is empty, but {anchor.position} events were in it. {_ADVICE}")
    connection.execute("BEGIN IMMEDIATE")
    if fresh:
        create_schema(connection, log_id)
    else:
        upgrade_schema(connection)
    # The first write makes the write-ahead log, whose identity the writer watches from here on.
    connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'boots'")
    connection.execute("COMMIT")
    head = read_head(connection)
    if anchor is None:
        if head.position > 0:
            raise AnchorMismatch(f"{directory} has no anchor.json, but {head.position} events. {_ADVICE}")
        anchor = Anchor(log_id=head.log_id, epoch=head.epoch, position=0, hash=chain.START)
        write_anchor(directory, anchor)
    problem = anchor_problem(connection, anchor.log_id, anchor.epoch, anchor.position, anchor.hash)
    problem = problem or tail_problem(connection, anchor.position, head)
    if problem:
        raise AnchorMismatch(f"{directory}: {problem}. {_ADVICE}")
    return head


def tail_problem(connection: apsw.Connection, anchored: int, head: Head) -> str:
    """What is wrong with the log's last part, a little before the anchor to its end; empty: nothing."""
    if (one(connection, "SELECT max(position) FROM events") or 0) != head.position:
        return f"the last commit ends at position {head.position}, the last event is another"
    reached, running = 0, chain.START
    for row in connection.execute(
        "SELECT position, hash FROM commits WHERE position <= ? ORDER BY position DESC LIMIT 1",
        (max(0, anchored - LOOK_BACK),),
    ):
        reached, running = row
    while reached < head.position:
        ends = rows(
            connection,
            "SELECT position, hash FROM commits WHERE position > ? ORDER BY position LIMIT ?",
            (reached, PAGE),
        )
        for end, expected in ends:
            links = rows(
                connection,
                "SELECT position, stream, version, time_us, data FROM events WHERE position > ? AND position <= ? "
                "ORDER BY position",
                (reached, end),
            )
            running = chain.advance(running, links)
            if len(links) != end - reached or running != expected:
                return f"positions {reached + 1} to {end} are not what was committed"
            reached = end
    return ""
