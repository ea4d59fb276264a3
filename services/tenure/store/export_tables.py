"""The log as plain tables in a SQLite file of their own: jobs, attempts, updates, events and queues, for ad hoc
questions with any tool.

Times are text in UTC that SQLite's date functions take, spans are seconds, what has parts is JSON. Nothing is left out
of a job's history here. The tables are no contract: they follow what there is to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
from google.protobuf.json_format import MessageToDict

from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.queue import Queue
from tenure.projections.histories import tell_all
from tenure.projections.rows import AttemptRow, UpdateRow
from tenure.store import codec
from tenure.store.export import Progress, source_of
from tenure.store.new_file import CannotWrite, new_file
from tenure.store.origins import Origins
from tenure.store.replay import committed_pages
from tenure.store.sqlite_reads import Reads
from tenure.store.sqlite_schema import read_head, rows
from tenure.store.store import Head, StoredJob

# Jobs that are read at once.
PAGE = 500

TABLES = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, name TEXT, state TEXT, outcome TEXT, reason TEXT, queue TEXT, created_by TEXT, project TEXT,
    application TEXT, product TEXT, priority INTEGER, command TEXT, arguments TEXT, labels TEXT,
    created_at TEXT, started_at TEXT, ended_at TEXT, expires_at TEXT, not_before TEXT,
    time_allocation REAL, granted_extension REAL, attempts INTEGER, worker TEXT, failures INTEGER,
    interruptions INTEGER, heartbeats INTEGER, last_heartbeat_at TEXT, progress REAL, progress_message TEXT,
    version INTEGER, specification TEXT
);
CREATE TABLE attempts (
    job_id TEXT REFERENCES jobs (id), number INTEGER, worker TEXT, assigned_at TEXT, started_at TEXT, ended_at TEXT,
    stage TEXT, end_reason TEXT, exit_code INTEGER, signal INTEGER, oom INTEGER, message TEXT, heartbeats INTEGER,
    bytes_downloaded INTEGER, bytes_uploaded INTEGER, PRIMARY KEY (job_id, number)
);
CREATE TABLE updates (
    job_id TEXT REFERENCES jobs (id), position INTEGER PRIMARY KEY, time TEXT, state TEXT, text TEXT, attempt INTEGER,
    worker TEXT
);
CREATE TABLE events (
    position INTEGER PRIMARY KEY, stream TEXT, version INTEGER, time TEXT, type TEXT, actor TEXT, event_id TEXT,
    request_id TEXT, payload TEXT
);
CREATE TABLE queues (
    name TEXT PRIMARY KEY, paused INTEGER, read_only INTEGER, max_time_allocation REAL, default_time_allocation REAL,
    products TEXT
);
"""
INDEXES = """
CREATE INDEX attempts_by_worker ON attempts (worker);
CREATE INDEX updates_by_job ON updates (job_id);
CREATE INDEX events_by_stream ON events (stream, version);
CREATE INDEX events_by_type ON events (type);
CREATE INDEX jobs_by_created ON jobs (created_at);
"""

Row = tuple[Any, ...]


def export_tables(path: Path, target: Path, describe: Callable[[bytes], str | None], progress: Progress) -> Head:
    """Write the tables of a data directory or a backup into a new file; returns the end of the log they are of.

    Args:
        path: the data directory of a stopped server, or a backup.
        target: the new file.
        describe: a job's specification as JSON, from its bytes; None: it is none.
        progress: told how far it is.

    Raises:
        StoreLocked, BadDatabase: as `source_of`; also where the log is not what was committed.
        CannotWrite: the file is there, or cannot be written.
    """
    with source_of(path) as (connection, file), new_file(target) as draft:
        head = read_head(connection)
        reads = Reads(file, Origins())
        out = apsw.Connection(str(draft))
        try:
            out.execute("BEGIN")
            out.execute(TABLES)
            for position in _events(connection, out, head):
                progress(position, head.position)
            for stored in _jobs(reads):
                _job(reads, out, stored, describe)
            _insert(out, "queues", [_queue_row(queue) for _, queue in sorted(reads.queues().items())])
            out.execute(INDEXES)
            out.execute("COMMIT")
        except apsw.FullError as error:
            raise CannotWrite(f"{target} cannot be written: the disk is full") from error
        finally:
            out.close()
            reads.close()
    return head


def _events(connection: apsw.Connection, out: apsw.Connection, head: Head) -> Iterator[int]:
    names: dict[int, str] = {}
    for page in committed_pages(connection, head.position):
        added: list[Row] = []
        for position, number, version, _, time_us, data in page:
            if version == 1:
                names[number] = codec.stream_named(data, position)
            event = codec.decode(
                data, position=position, stream=names.get(number, ""), version=version, time_us=time_us
            )
            added.append(_event(event))
        _insert(out, "events", added)
        yield page[-1][0]


def _event(event: e.RecordedEvent) -> Row:
    message = codec.to_message(event)
    payload = MessageToDict(getattr(message, message.WhichOneof("payload") or ""), preserving_proto_field_name=True)
    payload.pop("specification", None)  # stands with the job, as text
    return (
        event.position,
        event.stream,
        event.version,
        _at(event.time_us),
        type(event.payload).__name__,
        event.actor,
        event.event_id,
        event.request_id,
        _json(payload),
    )


def _jobs(reads: Reads) -> Iterator[StoredJob]:
    after = 0
    while True:
        ids = rows(
            reads.connection, "SELECT number, id FROM origins WHERE number > ? ORDER BY number LIMIT ?", (after, PAGE)
        )
        if not ids:
            return
        yield from reads.load_jobs([job_id for _, job_id in ids]).values()
        after = ids[-1][0]


def _job(reads: Reads, out: apsw.Connection, stored: StoredJob, describe: Callable[[bytes], str | None]) -> None:
    job = stored.job
    _insert(out, "jobs", [_job_row(job, describe(stored.specification))])
    updates, attempts = tell_all(reads.stream(e.job_stream(job.id), 0, job.version))
    _insert(out, "attempts", [_attempt_row(job.id, attempt) for attempt in attempts])
    _insert(out, "updates", [_update_row(job.id, update) for update in updates])


def _job_row(job: Job, specification: str | None) -> Row:
    origin = job.origin
    facets, terms = origin.facets, origin.terms
    product = "/".join((facets.product_provider, facets.product_category, facets.product_id))
    return (
        job.id,
        facets.name,
        job.state.value,
        job.outcome.name if job.outcome is not None else None,
        job.reason,
        origin.queue,
        origin.created_by,
        origin.project,
        f"{facets.application_name} {facets.application_version}".strip(),
        product if facets.product_id else "",
        origin.priority,
        origin.command,
        _json(origin.arguments),
        _json(dict(facets.labels)),
        _at(origin.created_us),
        _at(job.started_us),
        _at(job.ended_us),
        _at(job.expires_us),
        _at(job.not_before_us),
        _seconds(terms.time_allocation_us),
        _seconds(job.granted_us),
        job.attempt,
        job.worker_id,
        job.num_failures,
        job.num_interruptions,
        job.num_heartbeats,
        _at(job.last_beat_us),
        job.progress.fraction if job.progress is not None else None,
        job.progress.message if job.progress is not None else None,
        job.version,
        specification,
    )


def _attempt_row(job_id: str, attempt: AttemptRow) -> Row:
    return (
        job_id,
        attempt.number,
        attempt.worker_id,
        _at(attempt.assigned_us),
        _at(attempt.started_us),
        _at(attempt.ended_us),
        attempt.stage.name if attempt.stage else "",
        attempt.end,
        attempt.exit_code,
        attempt.signal,
        int(attempt.oom),
        attempt.message,
        attempt.beats,
        attempt.bytes_downloaded,
        attempt.bytes_uploaded,
    )


def _update_row(job_id: str, update: UpdateRow) -> Row:
    return (
        job_id,
        update.position,
        _at(update.time_us),
        update.state.value,
        update.text,
        update.attempt,
        update.worker_id,
    )


def _queue_row(queue: Queue) -> Row:
    configured = queue.configured
    return (
        queue.name,
        int(queue.paused),
        int(configured.read_only),
        _seconds(configured.max_time_allocation_us),
        _seconds(configured.default_time_allocation_us),
        _json([f"{one.provider}/{one.category}/{one.id}" for one in configured.products]),
    )


def _insert(out: apsw.Connection, table: str, added: list[Row]) -> None:
    if added:
        places = ", ".join("?" * len(added[0]))
        out.executemany(f"INSERT INTO {table} VALUES ({places})", added)  # noqa: S608 - our own names


def _at(instant_us: int | None) -> str | None:
    """`2021-10-04 06:42:56.235000`, UTC."""
    if instant_us is None:
        return None
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=instant_us)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _seconds(span_us: int | None) -> float | None:
    return None if span_us is None else span_us / 1_000_000


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
