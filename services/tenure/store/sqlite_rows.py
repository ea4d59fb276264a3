"""The rows of the projections: how they are written, and what the writer reads of them before it decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import apsw

from tenure.domain import events as e
from tenure.domain.job import Origin, create
from tenure.projections.histories import NO_MARKS, Marks
from tenure.projections.jobs import JobColumns
from tenure.store import codec
from tenure.store.sqlite_schema import Value, rows
from tenure.store.store import AnsweredRequest

Row = tuple[Value, ...]

INSERT_ORIGIN = (
    "INSERT INTO origins (number, id, created_us, created_by, project, application, product_id, product_category, "
    "product_provider, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_JOB = (
    "INSERT INTO jobs (number, version, state, queue, place, not_before_us, leased, due_us, expires_us, twin, fold, "
    "marks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REPLACE_QUEUE = "INSERT OR REPLACE INTO queues (name, number, version, fold) VALUES (?, ?, ?, ?)"

# Columns with an index of their own: an UPDATE names only those that change, because naming one costs an index entry.
_INDEXED = ("place", "leased", "due_us", "twin")


def _update_sql(mask: int) -> str:
    changed = "".join(f", {name} = ?" for bit, name in enumerate(_INDEXED) if mask & (1 << bit))
    return (
        "UPDATE jobs SET version = ?, state = ?, not_before_us = ?, expires_us = ?, fold = ?, marks = ?"  # noqa: S608
        f"{changed} WHERE number = ?"
    )


UPDATE_JOB = [_update_sql(mask) for mask in range(1 << len(_INDEXED))]


def changes(before: JobColumns, after: JobColumns) -> tuple[int, list[int | None]]:
    """Which indexed columns change, as bits, and to what. A twin only ever ends."""
    mask, row = 0, []
    if before.place != after.place:
        mask |= 1
        row.append(after.place)
    if before.leased != after.leased:
        mask |= 2
        row.append(after.leased)
    if before.due_us != after.due_us:
        mask |= 4
        row.append(after.due_us)
    if before.live != after.live:
        mask |= 8
        row.append(None)
    return mask, row


def job_row(
    number: int, version: int, origin: Origin, columns: JobColumns, twin: int, fold: bytes, marks: Marks
) -> Row:
    """A whole row of `jobs`; `twin` is `twin_of(origin)`."""
    return (
        number,
        version,
        columns.state,
        origin.queue,
        columns.place,
        columns.not_before_us,
        columns.leased,
        columns.due_us,
        columns.expires_us,
        twin if columns.live else None,
        fold,
        marks.to_bytes(),
    )


def origin_row(number: int, origin: Origin) -> Row:
    """A whole row of `origins`."""
    facets = origin.facets
    return (
        number,
        origin.id,
        origin.created_us,
        origin.created_by,
        origin.project,
        facets.application_name,
        facets.product_id,
        facets.product_category,
        facets.product_provider,
        labels_text(facets.labels),
    )


def labels_text(labels: Sequence[tuple[str, str]]) -> str:
    """Labels as one text in which each can be looked for."""
    return "".join(label_text(label) for label in sorted(labels))


def label_text(label: tuple[str, str]) -> str:
    """A line of JSON between line feeds, which JSON never contains: so it is found whole or not at all."""
    return f"\n{json.dumps(label, ensure_ascii=False)}\n"


class StreamRow(NamedTuple):
    """Where a stream is and, for a job, what its row says."""

    number: int
    version: int
    columns: JobColumns | None = None
    marks: Marks = NO_MARKS


def load_stream(connection: apsw.Connection, stream: str) -> StreamRow | None:
    """The row of a job or a queue by the name of its stream; None: there is none."""
    kind, _, name = stream.partition("/")
    if kind == "queue":
        for number, version in connection.execute("SELECT number, version FROM queues WHERE name = ?", (name,)):
            return StreamRow(number, version)
        return None
    for number, version, state, place, not_before, leased, due, expires, live, marks in connection.execute(
        "SELECT j.number, j.version, j.state, j.place, j.not_before_us, j.leased, j.due_us, j.expires_us, "
        "j.twin IS NOT NULL, j.marks FROM origins o JOIN jobs j ON j.number = o.number WHERE o.id = ?",
        (name,),
    ):
        columns = JobColumns(state, bool(live), place, not_before, leased, due, expires)
        return StreamRow(number, version, columns, Marks.from_bytes(marks))
    return None


def find_request(connection: apsw.Connection, principal: str, rpc: str, request_id: str) -> AnsweredRequest | None:
    """The answer given to a request id before."""
    for digest, answer, position in connection.execute(
        "SELECT digest, answer, position FROM requests WHERE request_id = ? AND principal = ? AND rpc = ?",
        (request_id, principal, rpc),
    ):
        return AnsweredRequest(digest=digest, answer=answer, position=position)
    return None


def find_twins(connection: apsw.Connection, twin: int) -> list[Origin]:
    """The origins of the live jobs with this number."""
    return [
        origin_of(data, number, job_id, created_us)
        for number, job_id, created_us, data in rows(
            connection,
            "SELECT j.number, o.id, e.time_us, e.data FROM jobs j JOIN origins o ON o.number = j.number "
            "JOIN events e ON e.position = j.number WHERE j.twin = ?",
            (twin,),
        )
    ]


def origin_of(data: bytes, number: int, job_id: str, created_us: int) -> Origin:
    """What a job was created as, from the stored bytes of its first event.

    Raises:
        DecodeError: they are no JobCreated.
    """
    payload = codec.decode(data, position=number, stream="", version=1, time_us=created_us).payload
    if not isinstance(payload, e.JobCreated):
        raise codec.DecodeError(f"position {number}: the first event of a job is a {type(payload).__name__}")
    return create(job_id, payload, created_us).origin
