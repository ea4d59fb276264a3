"""Connections to the database, set up and checked, and its tables.

The write-ahead log with `synchronous=FULL` is what makes a commit durable, so both are read back and not believed.
Nothing in this process may open the database's files except SQLite: closing such a file drops the process's locks on
it, after which another process could unlink the live write-ahead log.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import apsw

from tenure.store import chain
from tenure.store.store import Head, StoreError

NAME = "tenure.db"
SCHEMA_VERSION = 3
# "Tenu": what `file` and SQLite's own tools show as the owner of the file.
APPLICATION_ID = 0x54656E75
SCHEMA = ("log.sql", "projections.sql", "bookkeeping.sql", "outbox.sql", "outputs.sql")
# What each older version of the schema lacks to be the next one.
UPGRADES = {1: ("outbox.sql",), 2: ("outputs.sql",)}

# Earlier ones may lose commits when one connection resets the write-ahead log while another writes.
OLDEST = (3, 51, 3)

Value = str | bytes | int | None

BUSY_MS = 5000
_LONGEST_VALUE = 64 * 1024 * 1024


class BadDatabase(StoreError):
    """The database cannot be used; the text says why and what to do."""


def check_version(version: str) -> None:
    """Refuse a SQLite that may lose commits.

    Raises:
        BadDatabase: it is older than 3.51.3.
    """
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BadDatabase(f"SQLite {version} may lose commits in write-ahead mode: {oldest} or newer is needed (apsw)")


def connect_writer(path: Path) -> apsw.Connection:
    """The one connection that writes and checkpoints. Makes the file where it is missing.

    Raises:
        BadDatabase: a setting was not taken.
        apsw.Error: as SQLite says.
    """
    check_version(apsw.sqlite_lib_version())
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        _set_up(connection)
        _demand(connection, "journal_mode", "wal")
        _demand(connection, "synchronous", 2, "FULL")
        # The writer checkpoints between commits, when it has the time.
        connection.wal_autocheckpoint(0)
        connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        connection.pragma("cache_size", -64 * 1024)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> apsw.Connection:
    """A connection that can only read.

    Raises:
        apsw.Error: as SQLite says.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    _set_up(connection)
    connection.pragma("query_only", 1)
    connection.pragma("cache_size", -16 * 1024)
    return connection


def _set_up(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_MS)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
    connection.pragma("trusted_schema", 0)
    connection.pragma("cell_size_check", 1)
    connection.pragma("temp_store", 2)
    _demand(connection, "mmap_size", 0)


def _demand(connection: apsw.Connection, name: str, value: int | str, set_to: str | None = None) -> None:
    """Set a pragma and read it back."""
    connection.pragma(name, value if set_to is None else set_to)
    got = connection.pragma(name)
    if got is not None and got != value:
        raise BadDatabase(f"the database does not take {name}={value}: it stays at {got}")


def create_schema(connection: apsw.Connection, log_id: str) -> None:
    """Make the tables of a new log; inside a transaction of the caller's."""
    _run(connection, SCHEMA)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?)", [("log_id", log_id), ("epoch", "1"), ("boots", "0")]
    )


def upgrade_schema(connection: apsw.Connection) -> None:
    """Bring the tables of an older version up to ours; inside a transaction of the caller's."""
    for version in range(connection.pragma("user_version"), SCHEMA_VERSION):
        _run(connection, UPGRADES[version])
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _run(connection: apsw.Connection, names: Sequence[str]) -> None:
    folder = resources.files("tenure.store") / "schema"
    for name in names:
        connection.execute((folder / name).read_text(encoding="utf-8"))


def check_schema(connection: apsw.Connection, path: Path) -> bool:
    """Whether the database has our tables, perhaps those of an older version; False: it is empty.

    Raises:
        BadDatabase: it is not ours, or of a version that this one does not know.
    """
    version = connection.pragma("user_version")
    if connection.pragma("application_id") == APPLICATION_ID:
        if version != SCHEMA_VERSION and version not in UPGRADES:
            raise BadDatabase(f"{path} has schema {version}, this version knows {SCHEMA_VERSION}: use the newer one")
        return True
    if one(connection, "SELECT count(*) FROM sqlite_schema") != 0:
        raise BadDatabase(f"{path} is a database, but not a store of Tenure: choose another directory")
    return False


def read_meta(connection: apsw.Connection) -> dict[str, str]:
    """What the log says of itself."""
    return dict(rows(connection, "SELECT key, value FROM meta"))


def read_head(connection: apsw.Connection) -> Head:
    """The end of the log as the database has it."""
    meta = read_meta(connection)
    position, head_hash = 0, chain.START
    for row in rows(connection, "SELECT position, hash FROM commits ORDER BY position DESC LIMIT 1"):
        position, head_hash = row
    return Head(log_id=meta["log_id"], epoch=int(meta["epoch"]), position=position, hash=head_hash)


def rows(connection: apsw.Connection, sql: str, values: Sequence[Value] = ()) -> list[Any]:
    """All rows of a statement, as tuples. It is read to its end: an open cursor would hold the write-ahead log."""
    return connection.execute(sql, values).fetchall()


def one(connection: apsw.Connection, sql: str, values: Sequence[Value] = ()) -> Any:
    """The first column of a statement's only row; None: it has no row."""
    found = rows(connection, sql, values)
    return found[0][0] if found else None
