"""Work on the data directory of a stopped server: verify, rebuild, accept, copy. Each function takes the lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import apsw

from tenure.store.anchor import Anchor, AnchorMismatch, read_anchor, write_anchor
from tenure.store.codec import DecodeError
from tenure.store.damage import NO_DAMAGE, UNREADABLE, words
from tenure.store.rebuild import rebuild
from tenure.store.replay import BrokenStream
from tenure.store.sqlite_backup import copy_database
from tenure.store.sqlite_open import lock_directory
from tenure.store.sqlite_schema import NAME, BadDatabase, check_schema, connect_reader, connect_writer, read_head
from tenure.store.store import Backup, Head, VerifyReport
from tenure.store.verify import anchor_problem, verify


def verify_directory(directory: Path) -> Iterator[tuple[Head, VerifyReport]]:
    """Check everything; yields the log's end and the growing report, the last one being whole. Writes nothing.

    Raises:
        StoreLocked: a server has it open.
        BadDatabase: there is no store, or it is too damaged to be read.
    """
    with _opened(directory, write=False) as connection:
        head = read_head(connection)
        for report in verify(directory / NAME, directory, head):
            yield head, report


def head_of_directory(directory: Path) -> Head:
    """The end of the log.

    Raises:
        StoreLocked: a server has it open.
        BadDatabase: there is no store, or it is too damaged to be read.
    """
    with _opened(directory, write=False) as connection:
        return read_head(connection)


def backup_directory(directory: Path, target: Path) -> Backup:
    """Copy the store into a new file; see `Store.backup`.

    Raises:
        StoreLocked: a server has it open.
        BadDatabase: there is no store, or it is too damaged to be read.
        BackupFailed: there is no such file now.
    """
    with _opened(directory, write=False):
        return copy_database(directory / NAME, directory, target)


def rebuild_directory(directory: Path) -> Iterator[tuple[int, int]]:
    """Make all rows anew from the log; yields the position reached and the last one there is.

    Raises:
        StoreLocked: a server has it open.
        BadDatabase: there is no store, or its log is wrong; nothing was changed.
    """
    with _opened(directory, write=True) as connection:
        head = read_head(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for position in rebuild(connection):
                yield position, head.position
            connection.execute("COMMIT")
        except (BrokenStream, DecodeError) as error:
            raise BadDatabase(f"{error}; nothing was changed") from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def accept_directory(directory: Path) -> Iterator[tuple[Head, VerifyReport]]:
    """Check everything but the anchor and, where nothing is wrong, anchor the log as it is: in a new epoch, unless the
    anchor says that nothing is lost.

    For an operator who knows that what is missing at its end stays missing. Yields as `verify_directory` does, at last
    the head as it is anchored.

    Raises:
        StoreLocked: a server has it open.
        BadDatabase: there is no store, or it is too damaged to be read, or it cannot be written.
        OSError: the anchor cannot be read or written.
    """
    with _opened(directory, write=False) as connection:
        head = read_head(connection)
        report = VerifyReport()
        for report in verify(directory / NAME, None, head):
            yield head, report
        if not report.ok:
            return
        epoch = _epoch_to_go_on_in(connection, directory, head)
        if epoch != head.epoch:
            _set_epoch(directory / NAME, epoch)
            head = replace(head, epoch=epoch)
        # Last: until it is there, the old anchor, or that there is none, keeps a server from starting.
        write_anchor(directory, Anchor(log_id=head.log_id, epoch=head.epoch, position=head.position, hash=head.hash))
        yield head, report


def _epoch_to_go_on_in(connection: apsw.Connection, directory: Path, head: Head) -> int:
    """A new one, unless nothing is lost: positions are given anew to other events, and what was announced of the lost
    ones, and every resume token, must not be taken for theirs."""
    anchor = None
    with suppress(AnchorMismatch):  # damaged: nobody knows what is lost, as where it is missing
        anchor = read_anchor(directory)
    if anchor is None:
        return head.epoch + 1
    if not anchor_problem(connection, anchor.log_id, anchor.epoch, anchor.position, anchor.hash):
        return head.epoch
    return max(head.epoch, anchor.epoch) + 1


def _set_epoch(path: Path, epoch: int) -> None:
    connection = connect_writer(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(epoch),))
        connection.execute("COMMIT")
        # Whoever copies the one file has the epoch in it.
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()


def anchor_says(directory: Path) -> str:
    """What the anchor says against the log; empty: nothing, or it cannot be read.

    Raises:
        StoreLocked: a server has it open.
        BadDatabase: there is no store, or it is too damaged to be read.
    """
    with _opened(directory, write=False) as connection, suppress(AnchorMismatch):
        anchor = read_anchor(directory)
        if anchor is not None:
            return anchor_problem(connection, anchor.log_id, anchor.epoch, anchor.position, anchor.hash)
    return ""


@contextmanager
def _opened(directory: Path, *, write: bool) -> Iterator[apsw.Connection]:
    """The database of a stopped server, locked."""
    path = directory / NAME
    if not path.exists():
        raise BadDatabase(f"there is no store in {directory}: {NAME} is missing")
    lock = lock_directory(directory)
    try:
        connection = connect_writer(path) if write else connect_reader(path)
        try:
            if not check_schema(connection, path):
                raise BadDatabase(f"{path} is empty")
            yield connection
        finally:
            connection.close()
    except NO_DAMAGE as error:
        raise BadDatabase(f"{path} cannot be used: {error}") from error
    except apsw.IOError as error:
        raise BadDatabase(f"{path} cannot be read: {error}") from error
    except (apsw.Error, *UNREADABLE) as error:
        raise BadDatabase(f"{path} is damaged: {words(error)}") from error
    finally:
        lock.release()
