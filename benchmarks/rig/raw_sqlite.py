"""The yardstick of the log: rows of the size of stored events, inserted into SQLite and nothing else.

Through apsw, journal in WAL mode, synchronous=FULL, one connection, with the unique index over stream and version that
an event log needs. No projections, no chain, no threads.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import apsw

from benchmarks.rig.figures import Sample, percentile
from benchmarks.rig.machine import Mark


class RawLog:
    """A table of events."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE events (position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL, "
            "data BLOB NOT NULL)",
            "CREATE UNIQUE INDEX events_by_stream ON events (stream, version)",
        ):
            self._connection.execute(statement)
        self._positions = itertools.count(1)

    def insert(self, data: bytes, per_transaction: int, seconds: float) -> Sample:
        """Insert events for so long, so many in one transaction; times are those of one transaction."""
        times: list[float] = []
        connection = self._connection
        before = Mark.now([])
        start = time.perf_counter()
        while (began := time.perf_counter()) < start + seconds:
            rows = [(position, position, 1, data) for position in itertools.islice(self._positions, per_transaction)]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
            times.append(time.perf_counter() - began)
        after = Mark.now([])
        elapsed = after.at_s - before.at_s
        count = len(times) * per_transaction
        times.sort()
        return Sample(
            value=count / elapsed,
            count=count,
            seconds=elapsed,
            p50_ms=1e3 * percentile(times, 0.5),
            p99_ms=1e3 * percentile(times, 0.99),
            others=after.others_since(before),
        )

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
