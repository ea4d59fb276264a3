"""The writer's side of a commit: a group of prepared units → the rows of one transaction.

Everything that can refuse a unit is decided before anything of it is written, against the database and what the units
before it in the same transaction have changed. So a unit needs no savepoint: it is in the group, all of it, or it is
not. Rows of jobs are written once, however many of their events are in the group.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import apsw

from tenure.domain import events as e
from tenure.domain.job import Origin
from tenure.projections.histories import mark
from tenure.projections.jobs import are_twins, twin_of
from tenure.store import chain
from tenure.store.sqlite_prepare import PreparedAppend, PreparedUnit
from tenure.store.sqlite_rows import (
    INSERT_JOB,
    INSERT_ORIGIN,
    REPLACE_QUEUE,
    UPDATE_JOB,
    Row,
    StreamRow,
    changes,
    find_request,
    find_twins,
    job_row,
    load_stream,
    origin_row,
)
from tenure.store.store import (
    AnsweredRequest,
    Committed,
    Conflict,
    DuplicateSpecification,
    RequestAnswered,
)

# Streams whose state the writer remembers; one is about a kilobyte.
REMEMBERED = 16_384

RequestKey = tuple[str, str, str]


# A stream as this transaction has it, and the append that changed it last.
Touched = tuple[StreamRow, PreparedAppend]

_NEW = StreamRow(0, 0)


class Staged(NamedTuple):
    """A group that is ready to be written: the result of each unit, and the end of the log after it."""

    results: list[Committed | Exception]
    position: int
    hash: bytes


class Applier:
    """Stages groups of units and writes their rows; used by the writer's thread alone."""

    def __init__(self, connection: apsw.Connection, position: int, head_hash: bytes) -> None:
        self._connection = connection
        self.position = position
        self.hash = head_hash
        # The oldest goes first; a plain dict would look for it behind everything that was taken out.
        self._known: OrderedDict[str, StreamRow] = OrderedDict()
        self._reset()

    def _reset(self) -> None:
        # What this group changes: streams, events, requests and live specifications.
        self._touched: dict[str, Touched] = {}
        self._before: dict[str, StreamRow] = {}
        self._links: list[tuple[int, int, int, int, int, bytes]] = []
        self._requests: dict[RequestKey, tuple[AnsweredRequest, int]] = {}
        self._twins: dict[int, list[Origin]] = {}
        self._careful = False

    def apply(self, units: Sequence[PreparedUnit], *, careful: bool = False) -> Staged:
        """Write a group inside the open transaction.

        Args:
            units: in the order in which they get their positions.
            careful: look first whether the streams that are said to be new are. Without it the database's uniqueness
                finds out, and the whole group fails.

        Raises:
            apsw.Error: nothing is known of the transaction; roll it back and call `forget`.
        """
        self._reset()
        self._careful = careful
        results: list[Committed | Exception] = []
        for unit in units:
            try:
                results.append(self._stage(unit))
            except apsw.Error:
                raise
            except Exception as error:  # the unit's own; its neighbours go on
                results.append(error)
        head = self.hash
        if self._links:
            head = chain.advance(head, ((p, s, v, t, data) for p, s, v, _, t, data in self._links))
        self._write(head)
        return Staged(results, self.position + len(self._links), head)

    def accept(self, staged: Staged) -> None:
        """The transaction is on disk."""
        self.position, self.hash = staged.position, staged.hash
        known = self._known
        for stream, (state, _) in self._touched.items():
            known.pop(stream, None)
            if state.columns is None or state.columns.live:
                known[stream] = state
        while len(known) > REMEMBERED:
            known.popitem(last=False)

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._known.clear()
        self._reset()

    def _stage(self, prepared: PreparedUnit) -> Committed:
        request = prepared.request
        key = None
        if request is not None:
            key = request.principal, request.rpc, request.request_id
            known = self._requests[key][0] if key in self._requests else find_request(self._connection, *key)
            if known is not None:
                raise RequestAnswered(known)
        first = self.position + len(self._links) + 1
        position = first
        links: list[tuple[int, int, int, int, int, bytes]] = []
        touched: dict[str, Touched] = {}
        fresh: dict[int, list[Origin]] = {}
        for index, append in enumerate(prepared.appends):
            stream = append.stream
            number, version, _, marks = self._state(stream, append.expected_version, touched)
            if version != append.expected_version:
                raise Conflict(stream, append.expected_version, version)
            if version == 0:
                number = position
                if append.job is not None:
                    origin = append.job.origin
                    if not origin.allow_duplicate:
                        self._refuse_duplicate(index, origin, append.twin, touched, fresh)
                    fresh.setdefault(append.twin, []).append(origin)
            for kind, type_number, time_us, data in append.events:
                version += 1
                links.append((position, number, version, type_number, time_us, data))
                marks = mark(marks, version, kind)
                position += 1
            touched[stream] = StreamRow(number, version, append.columns, marks), append
        self._merge(touched, fresh)
        self._links += links
        committed = Committed(first=first, last=position - 1)
        if request is not None and key is not None:
            answered = AnsweredRequest(digest=request.digest, answer=request.answer, position=committed.last)
            self._requests[key] = answered, request.at_us
        return committed

    def _merge(self, touched: dict[str, Touched], fresh: dict[int, list[Origin]]) -> None:
        for twin, origins in fresh.items():
            self._twins.setdefault(twin, []).extend(origins)
        for stream in touched:
            if stream not in self._touched:
                self._before[stream] = self._known.get(stream, _NEW)
        self._touched.update(touched)

    def _state(self, stream: str, expected_version: int, touched: dict[str, Touched]) -> StreamRow:
        changed = touched.get(stream) or self._touched.get(stream)
        if changed is not None:
            return changed[0]
        state = self._known.get(stream)
        if state is None:
            if expected_version == 0 and not self._careful:
                return _NEW
            state = load_stream(self._connection, stream)
            if state is None:
                return _NEW
            self._known[stream] = state
        return state

    def _refuse_duplicate(
        self,
        index: int,
        wanted: Origin,
        twin: int,
        touched: dict[str, Touched],
        fresh: dict[int, list[Origin]],
    ) -> None:
        def is_live(stream: str) -> bool:
            changed = touched.get(stream) or self._touched.get(stream)
            return changed is None or changed[0].columns is None or changed[0].columns.live

        for origin in (*find_twins(self._connection, twin), *self._twins.get(twin, ()), *fresh.get(twin, ())):
            if are_twins(origin, wanted) and is_live(e.job_stream(origin.id)):
                raise DuplicateSpecification(index, origin.id)

    def _write(self, head: bytes) -> None:
        executemany = self._connection.executemany
        if self._links:
            executemany(
                "INSERT INTO events (position, stream, version, type, time_us, data) VALUES (?, ?, ?, ?, ?, ?)",
                self._links,
            )
            self._connection.execute(
                "INSERT INTO commits (position, hash) VALUES (?, ?)", (self.position + len(self._links), head)
            )
            self._write_rows()
        if self._requests:
            executemany(
                "INSERT INTO requests (principal, rpc, request_id, digest, answer, position, at_us) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*key, a.digest, a.answer, a.position, at_us) for key, (a, at_us) in self._requests.items()],
            )

    def _write_rows(self) -> None:
        origins: list[Row] = []
        jobs: list[Row] = []
        updates: dict[int, list[Row]] = {}
        queues: list[Row] = []
        for stream, (state, append) in self._touched.items():
            if append.job is None:
                queues.append((stream.partition("/")[2], state.number, state.version, append.fold))
                continue
            assert state.columns is not None
            before = self._before[stream]
            if before.columns is None:
                origin = append.job.origin
                # Appended to in the group that created it: that append has no twin with it.
                twin = append.twin or twin_of(origin)
                origins.append(origin_row(state.number, origin))
                jobs.append(job_row(state.number, state.version, origin, state.columns, twin, append.fold, state.marks))
                continue
            mask, row = changes(before.columns, state.columns)
            fixed = (state.version, state.columns.state, state.columns.not_before_us, state.columns.expires_us)
            updates.setdefault(mask, []).append((*fixed, append.fold, state.marks.to_bytes(), *row, state.number))
        executemany = self._connection.executemany
        if origins:
            executemany(INSERT_ORIGIN, origins)
            executemany(INSERT_JOB, jobs)
        for mask, rows in updates.items():
            executemany(UPDATE_JOB[mask], rows)
        if queues:
            executemany(REPLACE_QUEUE, queues)
