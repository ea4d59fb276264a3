"""All rows anew from the log, in one transaction: either the old rows are there or the new ones, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import apsw

from tenure.store.replay import Replay, Stream, event_pages
from tenure.store.sqlite_rows import INSERT_JOB, INSERT_ORIGIN, REPLACE_QUEUE, Row

TABLES = ("origins", "jobs", "queues")


def rebuild(connection: apsw.Connection) -> Iterator[int]:
    """Replace the projections by what the log makes; inside a transaction of the caller's. Yields the position reached.

    Raises:
        BrokenStream, DecodeError: the log itself is wrong; roll back.
    """
    for table in TABLES:
        connection.execute(f"DROP TABLE {table}")
    connection.execute((resources.files("tenure.store") / "schema" / "projections.sql").read_text(encoding="utf-8"))
    replay = Replay()
    ended: list[Stream] = []
    for page in event_pages(connection, 1 << 62):
        for row in page:
            stream = replay.play(row)
            if stream.ended:
                ended.append(stream)
        _write(connection, ended)
        ended.clear()
        yield page[-1][0]
    _write(connection, list(replay.open.values()))


def _write(connection: apsw.Connection, streams: list[Stream]) -> None:
    origins: list[Row] = []
    jobs: list[Row] = []
    queues: list[Row] = []
    for stream in streams:
        if stream.job is not None:
            origin, job = stream.rows()
            origins.append(origin)
            jobs.append(job)
        else:
            queues += stream.rows()
    connection.executemany(INSERT_ORIGIN, origins)
    connection.executemany(INSERT_JOB, jobs)
    connection.executemany(REPLACE_QUEUE, queues)
