"""`tenure …` with one thing changed, for proofs: `python unsafe_server.py CHANGE serve …`.

Some changes only bring on in seconds what else takes hours; the others break a promise on purpose, so that a proof can
show that it would notice. None of them can be reached from the product.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from tenure.cli.main import main
from tenure.store import sqlite_open, sqlite_writer
from tenure.store.sqlite_schema import connect_writer
from tenure.store.sqlite_writer import Result, Writer
from tenure.store.store import StoreError

SMALL_PAGES = 40


def small_checkpoints() -> None:
    """Copy the write-ahead log back every few commits, so that faults meet a checkpoint."""
    sqlite_writer.CHECKPOINT_PAGES = SMALL_PAGES
    sqlite_writer.TRUNCATE_PAGES = 4 * SMALL_PAGES


def synchronous_normal() -> None:
    """BROKEN: a commit is acknowledged before it is on disk."""

    def connect(path: Path) -> apsw.Connection:
        connection = connect_writer(path)
        connection.pragma("synchronous", 1)
        return connection

    sqlite_open.connect_writer = connect  # type: ignore[attr-defined]


def go_on_after_failed_sync() -> None:
    """BROKEN: a commit whose outcome is unknown is answered as if it had failed, and the server goes on."""

    def lost(self: Writer, error: Exception, count: int) -> list[Result]:
        return [StoreError("it failed") for _ in range(count)]

    Writer._lost = lost  # type: ignore[method-assign]
    Writer._break = lambda self, error: None  # type: ignore[method-assign]


def full_disk_is_fatal() -> None:
    """BROKEN: a full disk ends the server."""
    failed = Writer._failed

    def fail(self: Writer, error: Exception, count: int) -> list[Result] | None:
        if isinstance(error, apsw.FullError):
            return self._lost(error, count)
        return failed(self, error, count)

    Writer._failed = fail  # type: ignore[method-assign]


def read_only_is_fatal() -> None:
    """BROKEN: a write that the file system refuses ends the server."""
    failed = Writer._failed

    def fail(self: Writer, error: Exception, count: int) -> list[Result] | None:
        if isinstance(error, apsw.IOError):
            return self._lost(error, count)
        return failed(self, error, count)

    Writer._failed = fail  # type: ignore[method-assign]


CHANGES: dict[str, Callable[[], None]] = {
    "small-checkpoints": small_checkpoints,
    "synchronous-normal": synchronous_normal,
    "go-on-after-failed-sync": go_on_after_failed_sync,
    "full-disk-is-fatal": full_disk_is_fatal,
    "read-only-is-fatal": read_only_is_fatal,
}


def run(arguments: Sequence[str]) -> None:
    """Change what is to be changed, then be `tenure`."""
    change, *rest = arguments
    CHANGES[change]()
    sys.argv = ["tenure", *rest]
    main()


if __name__ == "__main__":
    run(sys.argv[1:])
