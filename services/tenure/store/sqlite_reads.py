"""What is read of the database, one connection at a time: every method is one or a few short statements, each read to
its end, so that no reader keeps the write-ahead log from being copied back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import apsw

from tenure.domain import events as e
from tenure.domain.job import Job, create
from tenure.domain.queue import Queue
from tenure.projections.histories import Marks, tell
from tenure.store import chain, codec
from tenure.store.damage import UNREADABLE, words
from tenure.store.decoding import DecodeError
from tenure.store.folds import job_from_bytes, queue_from_bytes
from tenure.store.origins import Created, Origins
from tenure.store.sqlite_rows import find_request
from tenure.store.sqlite_schema import Value, connect_reader, one, rows
from tenure.store.store import (
    AnsweredRequest,
    Candidate,
    EventFilter,
    JobView,
    QueueDepth,
    StoreDamaged,
    StoredJob,
    TokenRow,
)

# Rows that a filtered read looks at before it reports how far it came.
LOOKED_AT = 5_000

# The columns that `Reads.stored` makes a job of.
JOB_COLUMNS = "o.id, j.number, j.fold, j.marks"


T = TypeVar("T")


class JobRow(NamedTuple):
    """A job as it is stored, in the order of JOB_COLUMNS."""

    id: str
    number: int
    fold: bytes
    marks: bytes


class Reads:
    """A read-only connection and what is read through it; one thread at a time."""

    def __init__(self, path: Path, origins: Origins) -> None:
        self.connection = connect_reader(path)
        self._origins = origins
        self._names: dict[int, str] = {}

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def chain_at(self, position: int) -> tuple[int, bytes]:
        """The last commit that ends at or before the position."""
        found = rows(
            self.connection,
            "SELECT position, hash FROM commits WHERE position <= ? ORDER BY position DESC LIMIT 1",
            (position,),
        )
        return (found[0][0], found[0][1]) if found else (0, chain.START)

    def events(self, after: int, head: int, limit: int, only: EventFilter | None) -> tuple[list[e.RecordedEvent], int]:
        """Events above `after`, up to the durable end, and how far the log was looked at."""
        types = [codec.TYPE_NAMED[name] for name in only.types if name in codec.TYPE_NAMED] if only else []
        if only and only.types and not types:
            return [], head
        index, where = "", ""
        arguments: list[Value] = [after]
        if only and only.streams:
            index = " INDEXED BY events_by_stream"
            numbers = [number for name in only.streams if (number := self._number(name))]
            where, upto = " AND stream IN (SELECT value FROM json_each(?))", head
            arguments += [head, json.dumps(numbers)]
        else:
            upto = min(head, after + (max(LOOKED_AT, limit) if types else limit))
            arguments.append(upto)
        if types:
            where += " AND type IN (SELECT value FROM json_each(?))"
            arguments.append(json.dumps(types))
        found = rows(
            self.connection,
            f"SELECT position, stream, version, time_us, data FROM events{index} "  # noqa: S608
            f"WHERE position > ? AND position <= ?{where} ORDER BY position LIMIT ?",
            (*arguments, limit),
        )
        if found and found[-1][0] <= after:
            # Pages in each other's place: whoever goes on from here would get the same for ever.
            raise DecodeError(f"after position {after} comes position {found[-1][0]}")
        events = [self._event(row) for row in found]
        return events, max(after, events[-1].position if len(events) == limit else upto)

    def stream(self, name: str, after_version: int, limit: int) -> list[e.RecordedEvent]:
        """Events of a stream above a version."""
        number = self._number(name)
        found = rows(
            self.connection,
            "SELECT position, version, time_us, data FROM events WHERE stream = ? AND version > ? "
            "ORDER BY version LIMIT ?",
            (number, after_version, limit),
        )
        return [codec.decode(d, position=p, stream=name, version=v, time_us=t) for p, v, t, d in found]

    def _event(self, row: tuple[int, int, int, int, bytes]) -> e.RecordedEvent:
        position, stream, version, time_us, data = row
        return codec.decode(data, position=position, stream=self._name(stream), version=version, time_us=time_us)

    def _name(self, number: int) -> str:
        """The name of a stream by the position of its first event, which holds it."""
        name = self._names.get(number)
        if name is None:
            data = one(self.connection, "SELECT data FROM events WHERE position = ?", (number,))
            name = codec.stream_named(data or b"", number)
            if len(self._names) >= 10_000:
                self._names.clear()
            self._names[number] = name
        return name

    def _number(self, name: str) -> int:
        kind, _, rest = name.partition("/")
        table, column = ("queues", "name") if kind == "queue" else ("origins", "id")
        number = one(self.connection, f"SELECT number FROM {table} WHERE {column} = ?", (rest,))  # noqa: S608
        return number if isinstance(number, int) else 0

    def job_rows(self, ids: Sequence[str]) -> list[JobRow]:
        """The rows of jobs by id."""
        if len(ids) == 1:
            where, argument = "o.id = ?", ids[0]
        else:
            where, argument = "o.id IN (SELECT value FROM json_each(?))", json.dumps(list(ids))
        return [
            JobRow(*row)
            for row in rows(
                self.connection,
                f"SELECT {JOB_COLUMNS} FROM origins o JOIN jobs j ON j.number = o.number WHERE {where}",  # noqa: S608
                (argument,),
            )
        ]

    def stored(self, row: JobRow) -> StoredJob:
        """The job of a row."""
        created = self._created(row.number, row.id)
        return StoredJob(
            job=job_from_bytes(row.fold, created.origin),
            specification=created.specification,
            created_position=row.number,
        )

    def _created(self, number: int, job_id: str) -> Created:
        created = self._origins.get(number)
        if created is None:
            found = rows(self.connection, "SELECT time_us, data FROM events WHERE position = ?", (number,))
            if not found:
                raise codec.DecodeError(f"job {job_id}: its first event, at position {number}, is missing")
            ((time_us, data),) = found
            payload = codec.decode(data, position=number, stream="", version=1, time_us=time_us).payload
            if not isinstance(payload, e.JobCreated):
                raise codec.DecodeError(f"position {number}: the first event of job {job_id} is not its creation")
            created = Created(create(job_id, payload, time_us).origin, payload.specification)
            self._origins.put([(number, created)])
        return created

    def load_jobs(self, ids: Sequence[str]) -> dict[str, StoredJob]:
        """See `Store.load_jobs`."""
        return {row.id: self.stored(row) for row in self.job_rows(ids)}

    def views(self, rows: Iterable[JobRow], *, histories: bool = True) -> tuple[JobView, ...]:
        """The jobs of rows, with their histories on request."""
        return tuple(self.view(row, histories=histories) for row in rows)

    def view(self, row: JobRow, *, histories: bool = True) -> JobView:
        """The job of a row, with its history on request."""
        if not histories:
            return JobView(stored=self.stored(row))
        stored, marks = self.stored(row), Marks.from_bytes(row.marks)
        updates, attempts = tell(marks, self._marked(e.job_stream(row.id), row.number, stored.job, marks))
        return JobView(stored=stored, updates=updates, attempts=attempts, updates_left_out=marks.left_out)

    def _marked(self, name: str, number: int, job: Job, marks: Marks) -> Iterator[e.RecordedEvent]:
        """The events of a stream that its history is told from."""
        wanted = marks.versions()
        where = ""
        arguments: list[Value] = [number, job.version]
        if len(wanted) < job.version:
            where = " AND version IN (SELECT value FROM json_each(?))"
            arguments.append(json.dumps(wanted))
        found = rows(
            self.connection,
            "SELECT position, version, time_us, data FROM events "  # noqa: S608
            f"WHERE stream = ? AND version <= ?{where} ORDER BY version",
            arguments,
        )
        return (codec.decode(d, position=p, stream=name, version=v, time_us=t) for p, v, t, d in found)

    def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        """See `Store.candidates`."""
        where = ""
        arguments: list[Value] = [queue]
        if after is not None:
            where = " AND (j.place, j.number) > (?, ?)"
            arguments += after
        found = rows(
            self.connection,
            f"SELECT {JOB_COLUMNS}, j.place FROM jobs j INDEXED BY jobs_ready CROSS JOIN origins o "  # noqa: S608
            f"ON o.number = j.number WHERE j.queue = ? AND j.place IS NOT NULL{where} "
            "AND (j.not_before_us IS NULL OR j.not_before_us <= ?) ORDER BY j.place, j.number LIMIT ?",
            (*arguments, now_us, limit),
        )
        return [Candidate(job=self.stored(JobRow(*row)).job, place=(place, row[1])) for *row, place in found]

    def count_ahead(self, queue: str, place: tuple[int, int], limit: int) -> int:
        """See `Store.count_ahead`."""
        found = one(
            self.connection,
            "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE queue = ? AND place IS NOT NULL "
            "AND (place, number) < (?, ?) LIMIT ?)",
            (queue, *place, limit),
        )
        return int(found)

    def leased(self, after_id: str, limit: int) -> list[Job]:
        """See `Store.leased`."""
        start = self._number(e.job_stream(after_id)) if after_id else 0
        found = rows(
            self.connection,
            f"SELECT {JOB_COLUMNS} FROM jobs j INDEXED BY jobs_leased CROSS JOIN origins o "  # noqa: S608
            "ON o.number = j.number WHERE j.leased IS NOT NULL AND j.number > ? ORDER BY j.number LIMIT ?",
            (start, limit),
        )
        return [self.stored(JobRow(*row)).job for row in found]

    def due(self, until_us: int, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
        """See `Store.due`."""
        at_us, job_id = after if after is not None else (-1, "")
        return rows(
            self.connection,
            "SELECT j.due_us, o.id FROM jobs j INDEXED BY jobs_due CROSS JOIN origins o ON o.number = j.number "
            "WHERE j.due_us IS NOT NULL AND j.due_us BETWEEN ? AND ? AND (j.due_us, o.id) > (?, ?) "
            "ORDER BY j.due_us, o.id LIMIT ?",
            (at_us, until_us, at_us, job_id, limit),
        )

    def find_request(self, principal: str, rpc: str, request_id: str) -> AnsweredRequest | None:
        """See `Store.find_request`."""
        return find_request(self.connection, principal, rpc, request_id)

    def queues(self) -> dict[str, Queue]:
        """See `Store.load_queues`."""
        return {
            name: queue_from_bytes(fold, name, version)
            for name, version, fold in rows(self.connection, "SELECT name, version, fold FROM queues")
        }

    def depths(self) -> dict[str, QueueDepth]:
        """See `Store.queue_depths`."""
        depths: dict[str, QueueDepth] = {}
        for queue, waiting, oldest in rows(
            self.connection,
            "SELECT queue, count(*), min(number) FROM jobs INDEXED BY jobs_ready "
            "WHERE place IS NOT NULL GROUP BY queue",
        ):
            oldest_us = one(self.connection, "SELECT created_us FROM origins WHERE number = ?", (oldest,))
            depths[queue] = QueueDepth(waiting=waiting, oldest_us=oldest_us)
        for queue, active in rows(
            self.connection,
            "SELECT queue, count(*) FROM jobs INDEXED BY jobs_leased WHERE leased IS NOT NULL GROUP BY queue",
        ):
            ready = depths.get(queue, QueueDepth())
            depths[queue] = QueueDepth(waiting=ready.waiting, active=active, oldest_us=ready.oldest_us)
        return depths

    def tokens(self, digest: bytes | None = None) -> list[TokenRow]:
        """All tokens, the oldest first, or the one with this digest."""
        where, values = ("", ()) if digest is None else (" WHERE digest = ?", (digest,))
        found = rows(
            self.connection,
            "SELECT id, digest, role, subject, project, queues, created_us, revoked_us FROM tokens"  # noqa: S608
            f"{where} ORDER BY created_us, id",
            values,
        )
        return [
            TokenRow(
                id=token_id,
                digest=kept,
                role=role,
                subject=subject,
                project=project,
                queues=tuple(json.loads(queues)),
                created_us=created_us,
                revoked_us=revoked_us,
            )
            for token_id, kept, role, subject, project, queues, created_us, revoked_us in found
        ]


def readable(read: Callable[[Reads], T], reads: Reads) -> T:
    """What is read.

    Raises:
        StoreDamaged: it cannot be what was written.
    """
    try:
        return read(reads)
    except (apsw.IOError, *UNREADABLE) as error:
        raise StoreDamaged(f"the database is damaged ({words(error)}): check it with `tenure log verify`") from error
