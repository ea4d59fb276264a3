"""A job's history, bounded: the first 10 and last 990 updates, the first 10 and last 90 attempts.

The log holds every word of it already. So what is kept with a job is only *where* in its stream those words are: the
versions of the events that are shown, and of the few that tell each attempt. That is 4 bytes an update and 16 an
attempt, the same however events were grouped into commits, and `tell` makes the rows from the events when somebody
asks for them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tenure.domain import events as e
from tenure.projections import attempts as a
from tenure.projections.rows import AttemptRow, UpdateRow
from tenure.projections.updates import SHOWN, spoken_of, update_of

FIRST_UPDATES, LAST_UPDATES = 10, 990
FIRST_ATTEMPTS, LAST_ATTEMPTS = 10, 90

_ONE = struct.Struct(">I")
# Versions of the events that assigned, started, last beat and ended an attempt; 0: there is none.
_ATTEMPT = struct.Struct(">IIII")
_HEADER = struct.Struct(">II")

_CUT_UPDATE = _ONE.size * FIRST_UPDATES
_MOST_UPDATES = _ONE.size * (FIRST_UPDATES + LAST_UPDATES)
_CUT_ATTEMPT = _ATTEMPT.size * FIRST_ATTEMPTS
_MOST_ATTEMPTS = _ATTEMPT.size * (FIRST_ATTEMPTS + LAST_ATTEMPTS)

_NOT_ENDED = bytes(_ONE.size)

# Where in the last attempt, counted from the end, an event leaves its version.
_START, _BEAT, _END = -3 * _ONE.size, -2 * _ONE.size, -_ONE.size
_PLACES: dict[type[e.Payload], int] = {
    e.JobStarted: _START,
    e.JobHeartbeat: _BEAT,
    e.AssignmentDeclined: _END,
    e.AttemptFailed: _END,
    e.AttemptReleased: _END,
    e.LeaseExpired: _END,
    e.JobTerminated: _END,
}


class Marks(NamedTuple):
    """Where in its stream a job's history is. `updates` and `attempts` are packed versions, `left_out` counts updates
    that are no longer among them."""

    updates: bytes = b""
    attempts: bytes = b""
    left_out: int = 0

    def to_bytes(self) -> bytes:
        """One value for a column."""
        return _HEADER.pack(self.left_out, len(self.updates)) + self.updates + self.attempts

    @staticmethod
    def from_bytes(data: bytes) -> Marks:
        """The inverse of `to_bytes`."""
        left_out, size = _HEADER.unpack_from(data)
        cut = _HEADER.size + size
        return Marks(updates=data[_HEADER.size : cut], attempts=data[cut:], left_out=left_out)

    def versions(self) -> list[int]:
        """The versions of all events that `tell` needs, in order."""
        found = {version for (version,) in _ONE.iter_unpack(self.updates)}
        found.update(version for (version,) in _ONE.iter_unpack(self.attempts))
        found.discard(0)
        return sorted(found)


NO_MARKS = Marks()


def mark(marks: Marks, version: int, kind: type[e.Payload]) -> Marks:
    """The marks after one more event of the stream; `kind` is the class of its payload."""
    updates, attempts, left_out = marks
    if kind in SHOWN:
        updates += _ONE.pack(version)
        if len(updates) > _MOST_UPDATES:
            updates = updates[:_CUT_UPDATE] + updates[_CUT_UPDATE + _ONE.size :]
            left_out += 1
    place = _PLACES.get(kind)
    if place is not None and attempts and attempts.endswith(_NOT_ENDED):
        # An attempt that has ended takes no more of its job's events.
        if place == _END:
            attempts = attempts[:_END] + _ONE.pack(version)
        else:
            attempts = attempts[:place] + _ONE.pack(version) + attempts[place + _ONE.size :]
    elif kind is e.JobAssigned:
        attempts += _ATTEMPT.pack(version, 0, 0, 0)
        if len(attempts) > _MOST_ATTEMPTS:
            attempts = attempts[:_CUT_ATTEMPT] + attempts[_CUT_ATTEMPT + _ATTEMPT.size :]
    return Marks(updates, attempts, left_out)


def tell(marks: Marks, events: Iterable[e.RecordedEvent]) -> tuple[tuple[UpdateRow, ...], tuple[AttemptRow, ...]]:
    """The kept updates and attempts of a job.

    Args:
        marks: the job's.
        events: of its stream, in order: at least those with the versions that the marks name.
    """
    shown = {version for (version,) in _ONE.iter_unpack(marks.updates)}
    kept = {version for (version, *_) in _ATTEMPT.iter_unpack(marks.attempts)}
    updates: list[UpdateRow] = []
    attempts: list[AttemptRow] = []
    row: AttemptRow | None = None
    row_kept = False
    for event in events:
        payload = event.payload
        if isinstance(payload, e.JobAssigned):
            row, row_kept = a.begin(payload, event.time_us), event.version in kept
            if row_kept:
                attempts.append(row)
        elif row is not None and not row.end and _concerns(row, payload):
            row = a.advance(row, payload, event.time_us)
            if row_kept:
                attempts[-1] = row
        if event.version in shown:
            latest = (row.number, row.worker_id) if row is not None else (0, "")
            line = update_of(event, *spoken_of(payload, *latest))
            if line is not None:
                updates.append(line)
    return tuple(updates), tuple(attempts)


def tell_all(events: Sequence[e.RecordedEvent]) -> tuple[tuple[UpdateRow, ...], tuple[AttemptRow, ...]]:
    """All updates and attempts of a job, nothing left out; `events` are all of its stream, in order."""
    updates = b"".join(_ONE.pack(event.version) for event in events)
    assigned = (event.version for event in events if isinstance(event.payload, e.JobAssigned))
    attempts = b"".join(_ATTEMPT.pack(version, 0, 0, 0) for version in assigned)
    return tell(Marks(updates, attempts), events)


def _concerns(row: AttemptRow, payload: e.Payload) -> bool:
    """Whether an event speaks of this attempt: what belonged to one that is left out must not fall on another."""
    match payload:
        case e.JobStarted() | e.JobHeartbeat() | e.AttemptFailed() | e.AttemptReleased():
            return payload.attempt == row.number
        case e.LeaseExpired() | e.AssignmentDeclined():
            return payload.attempt == row.number
        case e.JobTerminated():
            return True
        case _:
            return False
