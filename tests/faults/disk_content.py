"""What a data directory holds, table by table: whether damage has changed anything is told by this, not by luck."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from tenure.store.sqlite_schema import NAME, connect_reader

LOG = ("events", "commits", "meta")
PROJECTIONS = ("origins", "jobs", "queues")
# Neither fact nor projection: nothing could tell what was there before.
BESIDE = ("requests", "tokens", "outbox", "webhooks", "webhook_jobs", "deliveries", "outputs")
READ_IN = {"meta": "key", "queues": "name", "tokens": "id", "outbox": "name", "webhook_jobs": "job_id"}
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Content:
    """A digest of each table, or that it cannot be read; one of each event; and whether all pages are in order."""

    tables: dict[str, str]
    log: list[str] = field(default_factory=list)
    in_order: bool = True

    def changed(self, other: Content, tables: tuple[str, ...]) -> bool:
        """Whether one of these tables is another one there."""
        return any(self.tables[name] != other.tables[name] for name in tables)


def content_of(directory: Path) -> Content:
    """Read everything, as any program would."""
    every = (*LOG, *PROJECTIONS, *BESIDE)
    if not (directory / NAME).exists():
        return Content(dict.fromkeys(every, UNREADABLE), in_order=False)
    try:
        connection = connect_reader(directory / NAME)
    except apsw.Error:
        return Content(dict.fromkeys(every, UNREADABLE), in_order=False)
    try:
        return Content({name: _digest(connection, name) for name in every}, _log(connection), _in_order(connection))
    finally:
        connection.close()


def _digest(connection: apsw.Connection, table: str) -> str:
    # How often the log was opened is nothing that anybody reads.
    where = "WHERE key <> 'boots' " if table == "meta" else ""
    seen = hashlib.sha256()
    try:
        for row in connection.execute(
            f"SELECT * FROM {table} NOT INDEXED {where}ORDER BY {READ_IN.get(table, 'rowid')}"
        ):
            seen.update(repr(row).encode())
    except (apsw.Error, UnicodeDecodeError):
        return UNREADABLE
    return seen.hexdigest()


def _log(connection: apsw.Connection) -> list[str]:
    """A digest of each event in order, as far as they can be read."""
    found: list[str] = []
    with suppress(apsw.Error):
        read = connection.execute("SELECT * FROM events NOT INDEXED ORDER BY position")
        found.extend(hashlib.sha256(repr(row).encode()).hexdigest() for row in read)
    return found


def _in_order(connection: apsw.Connection) -> bool:
    try:
        return connection.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
    except (apsw.Error, UnicodeDecodeError):
        return False
