"""Everything about a log that can be checked, in words with positions: nothing is believed, all of it is read.

It may run beside a server: it looks at the log up to where it was at the start, and a job that moves on meanwhile is
followed to where its row is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from tenure.store import chain, decoding
from tenure.store.anchor import AnchorMismatch, read_anchor
from tenure.store.damage import UNREADABLE, words
from tenure.store.replay import BrokenStream, EventRow, Replay, Stream, event_pages, follow
from tenure.store.scrub import advanced
from tenure.store.sqlite_rows import Row
from tenure.store.sqlite_schema import connect_reader, one, read_meta, rows
from tenure.store.store import Head, VerifyReport

MOST_PROBLEMS = 100
MOST_PAGE_PROBLEMS = 10
COMPARED_AT_ONCE = 500
# Steps of SQLite's machine between two looks at whether the check is still wanted: milliseconds.
STEPS = 20_000


def verify(
    path: Path, directory: Path | None, head: Head, stopped: Callable[[], bool] = lambda: False
) -> Iterator[VerifyReport]:
    """Check the log up to `head`, the rows it makes and the pages that all of it is on; yields the growing report, the
    last one being whole.

    The anchor is looked for in `directory`; None: it has none, being a copy. `stopped` says that nobody waits any more.
    """
    connection = connect_reader(path)
    try:
        connection.set_progress_handler(stopped, STEPS)
        yield from _Check(connection, head).run(directory)
    finally:
        connection.close()


class _Check:
    """One verification."""

    def __init__(self, connection: apsw.Connection, head: Head) -> None:
        self._connection = connection
        self._head = head
        self._report = VerifyReport()
        self._replay = Replay()
        self._hash = chain.START
        self._links: list[chain.Link] = []
        self._broken: set[int] = set()
        self._compared: list[Stream] = []

    def run(self, directory: Path | None) -> Iterator[VerifyReport]:
        for steps in (self._steps(directory), self._pages()):
            try:
                yield from steps
            except (apsw.Error, *UNREADABLE) as error:
                self._say(f"after position {self._report.position} the database cannot be read: {words(error)}")
                yield self._report

    def _steps(self, directory: Path | None) -> Iterator[VerifyReport]:
        report = self._report
        for page in event_pages(self._connection, self._head.position):
            commits = dict(
                rows(
                    self._connection,
                    "SELECT position, hash FROM commits WHERE position BETWEEN ? AND ?",
                    (page[0][0], page[-1][0]),
                )
            )
            for row in page:
                self._event(row, commits.get(row[0]))
            self._compare(force=False)
            yield report
        if report.position != self._head.position:
            self._say(f"the log ends at position {report.position}, it should reach {self._head.position}")
        if self._links:
            self._say(f"positions {self._links[0][0]} to {self._links[-1][0]} belong to no commit")
        self._compared += self._replay.open.values()
        self._compare(force=True)
        report.jobs = self._replay.jobs
        self._count_rows()
        if directory is not None:
            self._anchor(directory)
        yield report

    def _say(self, problem: str) -> None:
        if len(self._report.problems) < MOST_PROBLEMS:
            self._report.problems.append(problem)

    def _event(self, row: EventRow, committed: bytes | None) -> None:
        position, number, version, _, time_us, data = row
        report = self._report
        if position != report.position + 1:
            missing = f"position {report.position + 1}"
            if position > report.position + 2:
                missing = f"positions {report.position + 1} to {position - 1}"
            self._say(f"{missing} missing from the log")
        report.position, report.events = position, report.events + 1
        self._links.append((position, number, version, time_us, data))
        if committed is not None:
            self._commit(position, committed)
        if number in self._broken:
            return
        try:
            stream = self._replay.play(row)
        except (BrokenStream, *UNREADABLE) as error:
            self._say(str(error) if isinstance(error, BrokenStream) else f"position {position}: {words(error)}")
            # What follows in this stream would only say the same again.
            self._broken.add(number)
            self._replay.open.pop(number, None)
        else:
            if stream.ended:
                self._compared.append(stream)

    def _commit(self, position: int, committed: bytes) -> None:
        expected = advanced(self._hash, self._links)
        if expected != committed:
            first = self._links[0][0]
            self._say(f"positions {first} to {position} are not what was committed: the hash chain breaks there")
        self._report.commits += 1
        # Go on from what is stored, so that one break is one problem.
        self._hash = committed
        self._links.clear()

    def _compare(self, *, force: bool) -> None:
        while self._compared and (force or len(self._compared) >= COMPARED_AT_ONCE):
            part, self._compared = self._compared[:COMPARED_AT_ONCE], self._compared[COMPARED_AT_ONCE:]
            jobs = {stream.number: stream for stream in part if stream.job is not None}
            numbers = json.dumps(list(jobs))
            origins = self._rows("SELECT * FROM origins WHERE number IN (SELECT value FROM json_each(?))", numbers)
            jobs_now = self._rows("SELECT * FROM jobs WHERE number IN (SELECT value FROM json_each(?))", numbers)
            for number, stream in jobs.items():
                self._job(stream, origins.get(number), jobs_now.get(number))
            for stream in part:
                if stream.queue is not None:
                    self._queue(stream)

    def _rows(self, sql: str, numbers: str) -> dict[int, Row]:
        return {row[0]: row for row in rows(self._connection, sql, (numbers,))}

    def _job(self, stream: Stream, origin: Row | None, row: Row | None) -> None:
        if origin is None or row is None:
            self._say(f"{stream.name}: it has no row; `tenure log rebuild` makes it")
            return
        if isinstance(row[1], int):
            self._catch_up(stream, row[1])
        expected_origin, expected = stream.rows()
        if (origin, row) != (expected_origin, expected):
            self._say(f"{stream.name}: its row is not what its {stream.version} events make of it")

    def _queue(self, stream: Stream) -> None:
        name = stream.name.partition("/")[2]
        row = self._connection.execute(
            "SELECT name, number, version, fold FROM queues WHERE name = ?", (name,)
        ).fetchall()
        if row and isinstance(row[0][2], int):
            self._catch_up(stream, row[0][2])
        if row != [stream.rows()[0]]:
            self._say(f"{stream.name}: its row is not what its {stream.version} events make of it")

    def _catch_up(self, stream: Stream, version: int) -> None:
        """A stream that moved on since the check began: play it up to where its row is."""
        if version <= stream.version:
            return
        for position, reached, time_us, data in rows(
            self._connection,
            "SELECT position, version, time_us, data FROM events WHERE stream = ? AND version > ? AND version <= ? "
            "AND position > ? ORDER BY version",
            (stream.number, stream.version, version, self._head.position),
        ):
            try:
                payload = decoding.payload(decoding.parse(data, position), position)
                follow(stream, position, reached, time_us, payload)
            except (BrokenStream, decoding.DecodeError) as error:
                self._say(str(error))
                return

    def _count_rows(self) -> None:
        if self._broken:
            return
        jobs = self._report.jobs
        queues = sum(stream.queue is not None for stream in self._replay.open.values())
        for table, count in (("origins", jobs), ("jobs", jobs), ("queues", queues)):
            count_sql = f"SELECT count(*) FROM {table} NOT INDEXED WHERE number <= ?"  # noqa: S608
            found = one(self._connection, count_sql, (self._head.position,))
            if found != count:
                self._say(f"{table} has {found} rows, the log makes {count}")

    def _pages(self) -> Iterator[VerifyReport]:
        """Every page, and every index against its table: what is looked up must be found, and only that."""
        try:
            told = rows(self._connection, f"PRAGMA integrity_check({MOST_PAGE_PROBLEMS})")
        except apsw.CorruptError as error:
            # It gave up where the other one goes on and says more.
            told = [(str(error),), *rows(self._connection, f"PRAGMA quick_check({MOST_PAGE_PROBLEMS})")]
        for (found,) in told:
            if found != "ok":
                self._say(f"the database is damaged, whatever its rows say: {found}")
        yield self._report

    def _anchor(self, directory: Path) -> None:
        try:
            anchor = read_anchor(directory)
        except AnchorMismatch as error:
            self._say(str(error))
            return
        except OSError as error:
            self._say(f"anchor.json cannot be read: {error.strerror}")
            return
        if anchor is None:
            self._say("anchor.json is missing: whether the log's tail was cut off cannot be told")
            return
        problem = anchor_problem(self._connection, anchor.log_id, anchor.epoch, anchor.position, anchor.hash)
        if problem:
            self._say(problem)


def anchor_problem(connection: apsw.Connection, log_id: str, epoch: int, position: int, wanted: bytes) -> str:
    """What is wrong between the log and an anchor; empty: nothing."""
    meta = read_meta(connection)
    if meta.get("log_id") != log_id:
        return f"the log is {meta.get('log_id')}, the anchor speaks of {log_id}: they do not belong together"
    if meta.get("epoch") != str(epoch):
        return f"the log is in epoch {meta.get('epoch')}, the anchor in {epoch}: one of them is an older copy"
    if position == 0:
        return ""
    last = one(connection, "SELECT max(position) FROM commits") or 0
    if last < position:
        return (
            f"the log ends at position {last}, but position {position} was durable: "
            f"{position - last} acknowledged events are gone"
        )
    if one(connection, "SELECT hash FROM commits WHERE position = ?", (position,)) != wanted:
        return f"the log is another one than the anchor saw at position {position}"
    return ""
