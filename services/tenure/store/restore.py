"""A backup put into a data directory: checked first, and the beginning of a new epoch of the log.

What came after the backup is lost, and clients may have seen it. The epoch is part of every resume token, so that those
of before are answered LOG_REGRESSED instead of skipping what comes in place of what was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import apsw

from tenure.store.anchor import NAME as ANCHOR
from tenure.store.anchor import Anchor, AnchorMismatch, read_anchor, write_anchor
from tenure.store.damage import UNREADABLE, words
from tenure.store.new_file import sync
from tenure.store.sqlite_backup import copy_into, page_problem
from tenure.store.sqlite_open import lock_directory
from tenure.store.sqlite_schema import NAME, BadDatabase, check_schema, connect_reader, connect_writer, read_head
from tenure.store.store import BackupFailed, Head
from tenure.store.verify import verify

# Called with the position that was checked and the last one there is.
Progress = Callable[[int, int], None]

_DRAFT = ".tenure.db.restoring"
# A database, and what SQLite keeps beside it.
PARTS = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The log as it is now. `lost` acknowledged events came after it and are gone, as far as the anchor knew; `kept` is
    the folder with what was there before, None: nothing was."""

    head: Head
    lost: int
    kept: Path | None


def restore_directory(backup: Path, directory: Path, *, replace: bool, progress: Progress) -> Restored:
    """Put a backup into a data directory.

    Args:
        backup: the file; it is only read.
        directory: made where it is missing.
        replace: put what is there aside; otherwise a directory with a store is refused.
        progress: told how far the check is.

    Raises:
        StoreLocked: a server has the directory open.
        BadDatabase: the backup is none, or not whole, or there is a store already; nothing was changed.
        OSError: something cannot be written.
    """
    if not backup.is_file():
        raise BadDatabase(f"there is no file {backup}")
    lock = lock_directory(directory)
    draft = directory / _DRAFT
    try:
        before = _before(directory, replace=replace)
        clear(draft)
        head = _drafted(backup, draft, progress, before)
        kept = _put_aside(directory)
        draft.rename(directory / NAME)
        # Last: until it is there, the old anchor keeps a server from starting on a directory that is half done.
        write_anchor(directory, Anchor(log_id=head.log_id, epoch=head.epoch, position=head.position, hash=head.hash))
    finally:
        with suppress(OSError):
            clear(draft)
        lock.release()
    lost = 0
    if before.anchor is not None and before.anchor.log_id == head.log_id:
        lost = max(0, before.anchor.position - head.position)
    return Restored(head=head, lost=lost, kept=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What a directory held: its anchor and the latest epoch that is known of."""

    anchor: Anchor | None = None
    epoch: int = 0


def _before(directory: Path, *, replace: bool) -> _Before:
    path = directory / NAME
    anchor = None
    with suppress(AnchorMismatch):  # damaged: that is what a backup is for
        anchor = read_anchor(directory)
    if (path.exists() or (directory / ANCHOR).exists()) and not replace:
        events = f" of {anchor.position} events" if anchor is not None else ""
        raise BadDatabase(
            f"{directory} holds a log{events} already: --replace puts it aside and the backup in its place"
        )
    epoch = anchor.epoch if anchor is not None else 0
    if path.exists():
        with suppress(apsw.Error, *UNREADABLE):
            connection = connect_reader(path)
            try:
                epoch = max(epoch, read_head(connection).epoch)
            finally:
                connection.close()
    return _Before(anchor=anchor, epoch=epoch)


def _drafted(backup: Path, draft: Path, progress: Progress, before: _Before) -> Head:
    """The copy, whole and in its new epoch, on disk."""
    try:
        draft.touch(mode=0o600)
        copy_into(backup, draft)
        _check(backup, draft, progress)
        connection = connect_writer(draft)
        try:
            epoch = max(before.epoch, read_head(connection).epoch) + 1
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(epoch),))
            connection.execute("COMMIT")
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            head = read_head(connection)
        finally:
            connection.close()
        sync(draft)
    except BackupFailed as error:
        raise BadDatabase(str(error)) from error
    except apsw.FullError as error:
        raise BadDatabase(f"the disk of {draft.parent} is full. Nothing was changed") from error
    except (apsw.Error, *UNREADABLE) as error:
        raise BadDatabase(f"{backup} cannot be read as a backup: {words(error)}. Nothing was changed") from error
    return head


def _check(backup: Path, draft: Path, progress: Progress) -> None:
    connection = connect_reader(draft)
    try:
        if not check_schema(connection, backup):
            raise BadDatabase(f"{backup} is empty")
        problems = [problem] if (problem := page_problem(connection)) else []
        head = read_head(connection)
    finally:
        connection.close()
    for report in verify(draft, None, head):
        progress(report.position, head.position)
        if report.problems:
            problems += report.problems
            break
    if problems:
        raise BadDatabase(f"{backup} is not whole ({problems[0]}). Nothing was changed: take another backup")


def _put_aside(directory: Path) -> Path | None:
    """Move what there is of a database into a folder of its own; None: there is nothing.

    A write-ahead log without its database too: it would be played into the new one. The anchor stays, as it keeps a
    server from starting meanwhile.
    """
    parts = [path for part in PARTS if (path := directory / f"{NAME}{part}").exists()]
    if not parts:
        return None
    number = 1
    while (kept := directory / f"replaced-{number}").exists():
        number += 1
    kept.mkdir(mode=0o700)
    if (directory / ANCHOR).exists():
        (kept / ANCHOR).write_bytes((directory / ANCHOR).read_bytes())
        sync(kept / ANCHOR)
    for path in parts:
        path.rename(kept / path.name)
    sync(kept)
    sync(directory)
    return kept


def clear(draft: Path) -> None:
    """Remove a database that is no more than a draft."""
    for part in PARTS:
        draft.with_name(f"{draft.name}{part}").unlink(missing_ok=True)
