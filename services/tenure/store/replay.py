"""The log played from its first event: what `verify` compares rows with and `rebuild` makes them of.

Only streams that can still change are kept in memory; a job that has ended is handed out and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apsw

from tenure.domain import events as e
from tenure.domain.errors import IllegalTransition
from tenure.domain.job import Job, create, evolve
from tenure.domain.queue import Queue, evolve_queue
from tenure.domain.states import Phase
from tenure.projections.histories import NO_MARKS, Marks, mark
from tenure.projections.jobs import columns_of, twin_of
from tenure.store import chain
from tenure.store.codec import TYPE_OF
from tenure.store.decoding import DecodeError, parse
from tenure.store.decoding import payload as read_payload
from tenure.store.folds import job_to_bytes, queue_to_bytes
from tenure.store.scrub import advanced
from tenure.store.sqlite_rows import Row, job_row, origin_row
from tenure.store.sqlite_schema import BadDatabase, rows

PAGE = 2_000

# position, stream, version, type, time_us, data
EventRow = tuple[int, int, int, int, int, bytes]


@dataclass(slots=True)
class Stream:
    """A stream as far as it was played."""

    number: int
    name: str
    version: int = 0
    last_us: int = 0
    job: Job | None = None
    queue: Queue | None = None
    marks: Marks = NO_MARKS

    @property
    def ended(self) -> bool:
        """Nothing can follow."""
        return self.job is not None and self.job.phase is Phase.FINAL

    def rows(self) -> tuple[Row, ...]:
        """Its rows: of `origins` and `jobs`, or of `queues`."""
        if self.job is not None:
            job = self.job
            fold = job_to_bytes(job)
            twin = twin_of(job.origin)
            return (
                origin_row(self.number, job.origin),
                job_row(self.number, self.version, job.origin, columns_of(job), twin, fold, self.marks),
            )
        assert self.queue is not None
        return ((self.queue.name, self.number, self.version, queue_to_bytes(self.queue)),)


class BrokenStream(Exception):
    """An event does not follow from those before it; the text says which and how."""


class Replay:
    """Plays events in the order of the log."""

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        self.jobs = 0

    def play(self, row: EventRow) -> Stream:
        """The stream of an event, after it.

        Raises:
            BrokenStream: it does not follow from those before it.
            DecodeError: it cannot be read.
        """
        position, number, version, kind, time_us, data = row
        message = parse(data, position)
        payload = read_payload(message, position)
        stream = self.open.get(number)
        if stream is None:
            if number != position or version != 1:
                raise BrokenStream(
                    f"position {position}: version {version} of stream {number}, which has ended or never began"
                )
            stream = self.open[number] = Stream(number, message.stream)
        if version != stream.version + 1:
            raise BrokenStream(f"position {position}: {stream.name} goes from version {stream.version} to {version}")
        if time_us < stream.last_us:
            raise BrokenStream(f"position {position}: {stream.name} goes back in time")
        if TYPE_OF[type(payload)] != kind:
            raise BrokenStream(f"position {position}: the row says type {kind}, its event is another")
        follow(stream, position, version, time_us, payload)
        job = stream.job
        if job is not None:
            if version == 1:
                self.jobs += 1
            elif job.phase is Phase.FINAL:
                del self.open[number]
        return stream


def follow(stream: Stream, position: int, version: int, time_us: int, payload: e.Payload) -> None:
    """Take a stream one event on.

    Raises:
        BrokenStream: the event is not possible there.
    """
    try:
        if isinstance(payload, e.QueueConfigured | e.QueuePaused | e.QueueResumed):
            stream.queue = evolve_queue(stream.queue, stream.name.partition("/")[2], payload, time_us)
        elif stream.job is not None:
            stream.job = evolve(stream.job, payload, time_us)
        elif isinstance(payload, e.JobCreated) and stream.name.startswith("job/"):
            stream.job = create(stream.name.partition("/")[2], payload, time_us)
        else:
            raise BrokenStream(f"position {position}: stream {stream.name!r} begins with {type(payload).__name__}")
    except IllegalTransition as error:
        raise BrokenStream(f"position {position}: {error}") from error
    stream.version, stream.last_us = version, time_us
    stream.marks = mark(stream.marks, version, type(payload))


def event_pages(connection: apsw.Connection, upto: int) -> Iterator[list[EventRow]]:
    """All events up to a position, in pages, in order.

    Raises:
        DecodeError: they come in another order, as from pages of a damaged database that were put in each other's
            place: going on from the last position of each would never end.
    """
    after = 0
    while True:
        page = rows(
            connection,
            "SELECT position, stream, version, type, time_us, data FROM events WHERE position > ? AND position <= ? "
            "ORDER BY position LIMIT ?",
            (after, upto, PAGE),
        )
        if not page:
            return
        for row in page:
            if row[0] <= after:
                raise DecodeError(f"after position {after} comes position {row[0]}")
            after = row[0]
        yield page


def committed_pages(connection: apsw.Connection, upto: int) -> Iterator[list[EventRow]]:
    """The same, in whole commits, and only what was committed: each is checked against its hash.

    Raises:
        DecodeError: as `event_pages`.
        BadDatabase: from here on the log is not what was committed; all before that was yielded.
    """
    running, commit, reached = chain.START, list[EventRow](), 0
    for page in event_pages(connection, upto):
        span = (page[0][0], page[-1][0])
        ends = dict(rows(connection, "SELECT position, hash FROM commits WHERE position BETWEEN ? AND ?", span))
        whole: list[EventRow] = []
        for row in page:
            commit.append(row)
            if (stored := ends.get(row[0])) is None:
                continue
            links = [(at, stream, version, time_us, data) for at, stream, version, _, time_us, data in commit]
            if advanced(running, links) != stored:
                if whole:
                    yield whole
                raise BadDatabase(f"positions {reached + 1} to {row[0]} are not what was committed")
            whole += commit
            running, reached = stored, row[0]
            commit.clear()
        if whole:
            yield whole
    if reached != upto:
        raise BadDatabase(f"positions {reached + 1} to {upto} are not what was committed")
