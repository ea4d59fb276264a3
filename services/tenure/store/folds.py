"""The value of a job or a queue ⇄ the bytes of its row.

A job's bytes hold what changes; what it was created as is in its first event. Equal values give equal bytes and the
other way round, because `verify` and `rebuild` compare bytes.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from google.protobuf.message import DecodeError as ParseError

from tenure.domain import events as e
from tenure.domain.job import Avoided, Job, Lease, Origin, Progress, Settled
from tenure.domain.queue import Queue
from tenure.domain.states import Phase
from tenure.events.v1 import event_pb2 as pb
from tenure.store import codec, decoding

FORMAT = 1

# Which optional parts follow the fixed one.
_LEASE, _PROGRESS, _SETTLED, _AVOIDED, _LOST, _SUBJECT = 1, 2, 4, 8, 16, 32

# format, phase, outcome, parts; version, attempt, failures, interruptions; then times and counts, -1 for None:
# last, expires, granted, started, beats before, last beat, not before, stop until, ended.
_FIXED = struct.Struct(">BBBBIIII9q")
# length, assigned, started, beats, stage
_OF_LEASE = struct.Struct(">qqqqB")
_LENGTH = struct.Struct(">I")
_FRACTION = struct.Struct(">d")
_OF_AVOIDED = struct.Struct(">qI")


def job_to_bytes(job: Job) -> bytes:
    """The part of a job that changes."""
    lease, progress, settled = job.lease, job.progress, job.settled
    expires_us, started_us, last_beat_us = job.expires_us, job.started_us, job.last_beat_us
    not_before_us, stop_until_us, ended_us = job.not_before_us, job.stop_until_us, job.ended_us
    data = (
        _FIXED.pack(
            FORMAT,
            job.phase,
            job.outcome or 0,
            (0 if lease is None else _LEASE)
            | (0 if progress is None else _PROGRESS)
            | (0 if settled is None else _SETTLED)
            | (_AVOIDED if job.avoided else 0)
            | (_LOST if job.lost_in_a_row else 0)
            | (_SUBJECT if lease is not None and lease.subject else 0),
            job.version,
            job.attempt,
            job.num_failures,
            job.num_interruptions,
            job.last_us,
            -1 if expires_us is None else expires_us,
            job.granted_us,
            -1 if started_us is None else started_us,
            job.beats_before,
            -1 if last_beat_us is None else last_beat_us,
            -1 if not_before_us is None else not_before_us,
            -1 if stop_until_us is None else stop_until_us,
            -1 if ended_us is None else ended_us,
        )
        + _recurring(job.worker_id)
        + _recurring(job.reason)
    )
    if lease is not None:
        began_us = -1 if lease.started_us is None else lease.started_us
        data += _OF_LEASE.pack(lease.length_us, lease.assigned_us, began_us, lease.beats, lease.stage)
        data += _text(lease.lease_id)
        if lease.subject:
            data += _recurring(lease.subject)
    if progress is not None:
        data += _FRACTION.pack(progress.fraction) + _text(progress.message)
    if settled is not None:
        data += _text(settled.lease_id) + _recurring(settled.by)
    if job.avoided:
        avoided = [_OF_AVOIDED.pack(one.until_us, one.declines) + _text(one.worker_id) for one in job.avoided]
        data += _LENGTH.pack(len(avoided)) + b"".join(avoided)
    if job.lost_in_a_row:
        data += _LENGTH.pack(len(job.lost_in_a_row)) + b"".join(map(_text, job.lost_in_a_row))
    return data


def job_from_bytes(data: bytes, origin: Origin) -> Job:
    """The inverse of `job_to_bytes`.

    Raises:
        DecodeError: the bytes are not a job's.
    """
    try:
        return _Reader(data).job(origin)
    except (struct.error, ValueError) as error:
        raise decoding.DecodeError(f"job {origin.id}: its row is damaged; `tenure log rebuild` mends it") from error


def queue_to_bytes(queue: Queue) -> bytes:
    """A queue less its name and version."""
    message = codec.queue_to_message(queue.configured).SerializeToString(deterministic=True)
    return struct.pack(">BBq", FORMAT, queue.paused, queue.last_us) + message


def queue_from_bytes(data: bytes, name: str, version: int) -> Queue:
    """The inverse of `queue_to_bytes`.

    Raises:
        DecodeError: the bytes are not a queue's.
    """
    try:
        _, paused, last_us = struct.unpack_from(">BBq", data)
        configured = decoding.queue_configured(pb.QueueConfigured.FromString(data[10:]))
    except (struct.error, ValueError, ParseError) as error:
        raise decoding.DecodeError(f"queue {name}: its row is damaged; `tenure log rebuild` mends it") from error
    return Queue(name=name, version=version, configured=configured, paused=bool(paused), last_us=last_us)


def _text(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


# Workers, reasons and names of events come again and again.
_recurring = lru_cache(maxsize=4096)(_text)


class _Reader:
    """Reads the parts of a job's bytes one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, of: struct.Struct) -> tuple[int, ...]:
        values = of.unpack_from(self._data, self._at)
        self._at += of.size
        return values

    def _text(self) -> str:
        (size,) = self._take(_LENGTH)
        start, self._at = self._at, self._at + size
        return self._data[start : self._at].decode()

    def job(self, origin: Origin) -> Job:
        fixed = self._take(_FIXED)
        _, phase, outcome, parts, version, attempt, failures, interruptions = fixed[:8]
        last, expires, granted, started, beats_before, last_beat, not_before, stop_until, ended = fixed[8:]
        worker_id, reason = self._text(), self._text()
        return Job(
            origin=origin,
            version=version,
            phase=Phase(phase),
            last_us=last,
            expires_us=None if expires < 0 else expires,
            granted_us=granted,
            attempt=attempt,
            worker_id=worker_id,
            lease=self._lease(attempt, worker_id, parts) if parts & _LEASE else None,
            started_us=None if started < 0 else started,
            num_failures=failures,
            num_interruptions=interruptions,
            beats_before=beats_before,
            last_beat_us=None if last_beat < 0 else last_beat,
            progress=self._progress() if parts & _PROGRESS else None,
            not_before_us=None if not_before < 0 else not_before,
            stop_until_us=None if stop_until < 0 else stop_until,
            settled=Settled(lease_id=self._text(), by=self._text()) if parts & _SETTLED else None,
            avoided=tuple(self._avoided() for _ in range(*self._take(_LENGTH))) if parts & _AVOIDED else (),
            lost_in_a_row=tuple(self._text() for _ in range(*self._take(_LENGTH))) if parts & _LOST else (),
            outcome=e.Outcome(outcome) if outcome else None,
            reason=reason,
            ended_us=None if ended < 0 else ended,
        )

    def _lease(self, attempt: int, worker_id: str, parts: int) -> Lease:
        length, assigned, started, beats, stage = self._take(_OF_LEASE)
        return Lease(
            lease_id=self._text(),
            attempt=attempt,
            worker_id=worker_id,
            length_us=length,
            assigned_us=assigned,
            started_us=None if started < 0 else started,
            beats=beats,
            stage=e.Stage(stage),
            subject=self._text() if parts & _SUBJECT else "",
        )

    def _progress(self) -> Progress:
        (fraction,) = self._take(_FRACTION)
        return Progress(fraction=fraction, message=self._text())

    def _avoided(self) -> Avoided:
        until, declines = self._take(_OF_AVOIDED)
        return Avoided(worker_id=self._text(), until_us=until, declines=declines)
