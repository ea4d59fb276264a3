"""What the loop's side of a commit does: units → rows as far as they can be made without the database.

Encoding happens here, while the writer's thread waits for the disk.
"""

from __future__ import annotations

from typing import NamedTuple

from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.queue import Queue
from tenure.projections.jobs import JobColumns, columns_of, twin_of
from tenure.store import codec
from tenure.store.folds import job_to_bytes, queue_to_bytes
from tenure.store.store import Append, Request, Unit

# An event as it is stored, but for its place: class of its payload, number of its type, time_us, bytes.
PreparedEvent = tuple[type[e.Payload], int, int, bytes]


class PreparedAppend(NamedTuple):
    """An append as it is stored. `columns` and `fold` are those of the job or queue after it, `twin` is what finds
    duplicates of a job that it creates."""

    stream: str
    expected_version: int
    events: list[PreparedEvent]
    job: Job | None
    columns: JobColumns | None
    queue: Queue | None
    fold: bytes
    twin: int = 0


class PreparedUnit(NamedTuple):
    """A unit as it is stored; `size` is its number of events, `bytes` what they take."""

    unit: Unit
    appends: list[PreparedAppend]
    request: Request | None
    size: int
    bytes: int


def prepare(unit: Unit) -> PreparedUnit:
    """Encode a unit.

    Raises:
        ValueError: see `Append.check`.
    """
    request = unit.request
    request_id, digest = (request.request_id, request.digest) if request is not None else ("", b"")
    appends = [_append(append, request_id, digest) for append in unit.appends]
    sizes = [len(data) for append in appends for _, _, _, data in append.events]
    return PreparedUnit(unit, appends, request, len(sizes), sum(sizes))


def _append(append: Append, request_id: str, digest: bytes) -> PreparedAppend:
    append.check()
    job, queue = append.job, append.queue
    events: list[PreparedEvent] = []
    name = append.stream if append.expected_version == 0 else ""
    for event in append.events:
        payload = event.payload
        kind = type(payload)
        data = codec.encode(event, stream=name, request_id=request_id, request_digest=digest)
        events.append((kind, codec.TYPE_OF[kind], event.time_us, data))
        name = ""
    if job is not None:
        twin = twin_of(job.origin) if append.expected_version == 0 else 0
        return PreparedAppend(
            append.stream, append.expected_version, events, job, columns_of(job), None, job_to_bytes(job), twin
        )
    assert queue is not None
    return PreparedAppend(append.stream, append.expected_version, events, None, None, queue, queue_to_bytes(queue))
