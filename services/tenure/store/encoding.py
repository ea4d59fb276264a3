"""Events → stored bytes, for the types that are written all the time: the wire format of protobuf, by hand.

Every event of every commit passes here, and a message object costs three times as much as its bytes. What recurs —
actors, workers, terms, seconds — is made once. A property test holds these bytes against the messages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

from tenure.domain import events as e

# Varints that are lengths, attempts, counts.
_SMALL = tuple(bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(16_384))
_DOUBLE = struct.Struct("<d")
_NO_FACETS = e.Facets()
_NO_TRANSFER = e.Transfer()


def varint(value: int) -> bytes:
    """A whole number; a negative one as its two's complement of 64 bits, as int32 and int64 have it."""
    if 0 <= value < 16_384:
        return _SMALL[value]
    if 1 << 28 <= value < 1 << 35:
        # Seconds since the epoch, and most nanoseconds.
        rest = (value >> 7 & 127 | 128, value >> 14 & 127 | 128, value >> 21 & 127 | 128, value >> 28)
        return bytes((value & 127 | 128, *rest))
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_seconds = lru_cache(maxsize=4096)(varint)


def _field(tag: bytes, data: bytes) -> bytes:
    """A field of bytes, a text or a message, which is not left out."""
    return tag + varint(len(data)) + data


def _text(tag: bytes, text: str) -> bytes:
    return _field(tag, text.encode()) if text else b""


def _number(tag: bytes, value: int) -> bytes:
    return tag + varint(value) if value else b""


def _instant(us: int) -> bytes:
    """A Timestamp or a Duration: seconds, and nanoseconds of the same sign where it is a Duration."""
    seconds, rest = divmod(us, 1_000_000)
    whole = b"\x08" + _seconds(seconds) if seconds else b""
    return whole + b"\x10" + varint(rest * 1000) if rest else whole


@lru_cache(maxsize=4096)
def _span(us: int) -> bytes:
    if us >= 0:
        return _instant(us)
    seconds, rest = divmod(-us, 1_000_000)
    return _number(b"\x08", -seconds) + _number(b"\x10", -rest * 1000)


@lru_cache(maxsize=4096)
def actor(text: str) -> bytes:
    """The field `actor` of an event."""
    return _text(b"\x32", text)


@lru_cache(maxsize=64)
def request(request_id: str, digest: bytes) -> bytes:
    """The fields `request_id` and `request_digest` of an event."""
    if not request_id:
        return b""
    return _text(b"\x3a", request_id) + (_field(b"\x42", digest) if digest else b"")


@lru_cache(maxsize=4096)
def _assigned(attempt: int, worker_id: str, lease_us: int, subject: str) -> bytes:
    body = _number(b"\x08", attempt) + _text(b"\x12", worker_id) + _field(b"\x1a", _span(lease_us))
    return body + _text(b"\x22", subject)


@lru_cache(maxsize=4096)
def _attempt(attempt: int, worker_id: str) -> bytes:
    return _number(b"\x10", attempt) + _text(b"\x1a", worker_id)


@lru_cache(maxsize=1024)
def _terminated(outcome: int, reason: str, attempt: int) -> bytes:
    return _number(b"\x08", outcome) + _text(b"\x12", reason) + _number(b"\x18", attempt)


def _job_assigned(event: e.JobAssigned) -> bytes:
    return _assigned(event.attempt, event.worker_id, event.lease_us, event.subject)


def _job_started(event: e.JobStarted) -> bytes:
    body = _text(b"\x0a", event.lease_id) + _attempt(event.attempt, event.worker_id)
    if event.deadline_us is None:
        return body
    return body + _field(b"\x22", _instant(event.deadline_us))


def _job_terminated(event: e.JobTerminated) -> bytes:
    # As a plain number: hashing an enum is slow.
    return _terminated(int(event.outcome), event.reason, event.attempt)


def _job_heartbeat(event: e.JobHeartbeat) -> bytes:
    body = (
        _text(b"\x0a", event.lease_id)
        + _number(b"\x10", event.attempt)
        + _number(b"\x18", event.count)
        + _field(b"\x22", _instant(event.last_beat_us))
        + _number(b"\x28", event.stage)
    )
    if event.progress is not None:
        body += b"\x31" + _DOUBLE.pack(event.progress)
    body += _text(b"\x3a", event.progress_message)
    transfer = event.transfer
    if transfer is _NO_TRANSFER or transfer == _NO_TRANSFER:
        return body
    copied = (
        _number(b"\x08", transfer.files_downloaded)
        + _number(b"\x10", transfer.files_uploaded)
        + _number(b"\x18", transfer.bytes_downloaded)
        + _number(b"\x20", transfer.bytes_uploaded)
        + _number(b"\x28", transfer.files_pending)
    )
    return body + _field(b"\x42", copied)


@lru_cache(maxsize=4096)
def _owner(created_by: str, project: str, queue: str, priority: int) -> bytes:
    return _text(b"\x22", created_by) + _text(b"\x2a", project) + _text(b"\x32", queue) + _number(b"\x38", priority)


@lru_cache(maxsize=1024)
def _terms(terms: e.Terms) -> bytes:
    limits = (
        (b"\x0a", terms.time_allocation_us),
        (b"\x1a", terms.max_time_allocation_us),
        (b"\x2a", terms.heartbeat_interval_us),
        (b"\x3a", terms.retry_initial_us),
        (b"\x42", terms.retry_maximum_us),
        (b"\x4a", terms.termination_grace_period_us),
        (b"\x52", terms.ban_us),
        (b"\x62", terms.lost_lease_window_us),
    )
    fields = [(tag, _field(tag, _span(us))) for tag, us in limits if us is not None]
    fields += [
        (b"\x10", _number(b"\x10", terms.basis)),
        (b"\x22", _field(b"\x22", _features(terms.features))),
        (b"\x30", _number(b"\x30", terms.max_failures)),
        (b"\x58", _number(b"\x58", terms.max_lost_leases)),
    ]
    return _field(b"\x42", b"".join(data for _, data in sorted(fields)))


def _features(features: e.Features) -> bytes:
    return (
        _number(b"\x08", features.time_extension)
        + _number(b"\x10", features.suspension)
        + _number(b"\x18", features.logs)
        + _number(b"\x20", features.sync)
        + _number(b"\x28", features.compression)
    )


@lru_cache(maxsize=1024)
def _application(name: str, version: str, product_id: str, category: str, provider: str) -> bytes:
    return (
        _text(b"\x1a", name)
        + _text(b"\x22", version)
        + _text(b"\x2a", product_id)
        + _text(b"\x32", category)
        + _text(b"\x3a", provider)
    )


def _facets(facets: e.Facets) -> bytes:
    body = _text(b"\x0a", facets.name)
    for key, value in sorted(facets.labels):
        # The entries of a map have both fields, empty or not.
        body += _field(b"\x12", _field(b"\x0a", key.encode()) + _field(b"\x12", value.encode()))
    return body + _application(
        facets.application_name,
        facets.application_version,
        facets.product_id,
        facets.product_category,
        facets.product_provider,
    )


def _job_created(event: e.JobCreated) -> bytes:
    specification, digest, facets = event.specification, event.specification_digest, event.facets
    parts = [
        _field(b"\x0a", specification) if specification else b"",
        _field(b"\x12", digest) if digest else b"",
        b"\x18\x01" if event.allow_duplicate else b"",
        _owner(event.created_by, event.project, event.queue, event.priority),
        _terms(event.terms),
        _text(b"\x4a", event.command),
    ]
    parts += [_field(b"\x52", argument.encode()) for argument in event.arguments]
    parts += [_field(b"\x5a", path.encode()) for path in event.absolute_paths]
    if facets is not _NO_FACETS and facets != _NO_FACETS:
        parts.append(_field(b"\x62", _facets(facets)))
    return b"".join(parts)


def _job_extended(event: e.JobExtended) -> bytes:
    return _field(b"\x0a", _span(event.requested_us))


# Type → the tag of its field in an event, and what makes its body.
BODIES: dict[type[e.Payload], tuple[bytes, Callable[..., bytes]]] = {
    e.JobCreated: (varint(16 << 3 | 2), _job_created),
    e.JobAssigned: (varint(17 << 3 | 2), _job_assigned),
    e.JobStarted: (varint(19 << 3 | 2), _job_started),
    e.JobHeartbeat: (varint(20 << 3 | 2), _job_heartbeat),
    e.JobExtended: (varint(21 << 3 | 2), _job_extended),
    e.JobTerminated: (varint(27 << 3 | 2), _job_terminated),
}


def encode(event: e.NewEvent, stream: str, request_id: str, request_digest: bytes) -> bytes | None:
    """The bytes of an event as `codec.encode` promises them; None: its type is not one of these."""
    payload = event.payload
    known = BODIES.get(type(payload))
    if known is None:
        return None
    tag, body_of = known
    body = body_of(payload)
    event_id = event.event_id.encode()
    head = _text(b"\x12", stream) if stream else b""
    return b"".join(
        (
            head,
            b'"',
            varint(len(event_id)),
            event_id,
            actor(event.actor),
            request(request_id, request_digest),
            tag,
            varint(len(body)),
            body,
        )
    )
