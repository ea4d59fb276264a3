"""The log in a SQLite database read again, a piece at a time, with a connection and a thread of its own.

Each piece is two short reads within one snapshot that is let go at once, so that neither commits nor the write-ahead
log wait for it. Its cache is small and emptied before each: what is to be seen is what the disk has.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import apsw

from tenure.store import chain, decoding
from tenure.store.damage import NO_DAMAGE, UNREADABLE, words
from tenure.store.replay import BrokenStream, Stream, follow
from tenure.store.scrub import LONGEST_STREAM, Scrubbed, read_on, sample_of
from tenure.store.sqlite_schema import connect_reader, rows
from tenure.store.store import StoreError

CACHE_KIB = 256


class Scrubber:
    """Reads the log of one database again; `close` it when nothing is read any more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None
        # Without a thread until it is first asked.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tenure-scrub")

    async def scrub(self, after: Scrubbed, upto: int, limit: int) -> Scrubbed:
        """See `Store.scrub`; `upto` is the durable end."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._scrub, after, upto, limit)

    async def close(self) -> None:
        """Let go of the database."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        if self._connection is not None:
            self._connection.close()

    def _scrub(self, after: Scrubbed, upto: int, limit: int) -> Scrubbed:
        if after.position >= upto:
            return after
        try:
            if self._connection is None:
                self._connection = connect_reader(self._path)
                self._connection.pragma("cache_size", -CACHE_KIB)
            # What is kept from the last time says nothing about the disk.
            self._connection.pragma("shrink_memory")
            self._connection.execute("BEGIN")
            try:
                return _piece(self._connection, after, upto, limit)
            finally:
                self._connection.execute("COMMIT")
        except NO_DAMAGE as error:
            raise StoreError(f"the log cannot be read just now: {error}") from error
        except apsw.Error as error:
            return after.wrong(f"after position {after.position} the database cannot be read: {error}")
        except (decoding.DecodeError, BrokenStream) as error:
            return after.wrong(str(error))
        except UNREADABLE as error:
            return after.wrong(f"after position {after.position} the database is damaged: {words(error)}")


def _piece(connection: apsw.Connection, after: Scrubbed, upto: int, limit: int) -> Scrubbed:
    ends = rows(
        connection,
        "SELECT position, hash FROM commits WHERE position > ? AND position <= ? ORDER BY position LIMIT ?",
        (after.position, upto, limit),
    )
    if not ends:
        return after.wrong(f"positions {after.position + 1} to {upto} belong to no commit")
    ends = [end for end in ends if end[0] <= after.position + limit] or ends[:1]
    links: list[chain.Link] = rows(
        connection,
        "SELECT position, stream, version, time_us, data FROM events WHERE position > ? AND position <= ? "
        "ORDER BY position",
        (after.position, ends[-1][0]),
    )
    reached = read_on(after, ends, links)
    if reached.problem:
        return reached
    compared = 0
    for number, data in sample_of([(link[0], link[4]) for link in links if link[0] == link[1]], after.turn):
        name = decoding.parse(data, number).stream
        if name.startswith("job/"):
            compared += 1
            if problem := _row_problem(connection, number, name):
                return after.wrong(problem)
    return replace(reached, jobs=after.jobs + compared)


def _row_problem(connection: apsw.Connection, number: int, name: str) -> str:
    """What is wrong with the rows of a job; empty: they are what its events make of it."""
    events = rows(
        connection,
        "SELECT position, version, time_us, data FROM events WHERE stream = ? ORDER BY version LIMIT ?",
        (number, LONGEST_STREAM + 1),
    )
    if len(events) > LONGEST_STREAM:
        return ""
    if not events:
        return f"{name}: its events cannot be found"
    stream = Stream(number, name)
    for position, version, time_us, data in events:
        follow(stream, position, version, time_us, decoding.payload(decoding.parse(data, position), position))
    found = (
        *rows(connection, "SELECT * FROM origins WHERE number = ?", (number,)),
        *rows(connection, "SELECT * FROM jobs WHERE number = ?", (number,)),
    )
    if found != stream.rows():
        return f"{name}: its row is not what its {stream.version} events make of it"
    return ""
