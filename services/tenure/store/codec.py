"""Domain events ⇄ stored bytes ⇄ the public message.

What is stored of an event is a `tenure.events.v1.Event` less what has a column of its own: position, stream version
and time; the stream's name is in the first event of each stream only. Bytes once written are never written again, so
the chain over the log is a chain over exactly these bytes.

Types that are written all the time are encoded by hand (`encoding.py`), the others by their message.
"""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tenure.domain import events as e
from tenure.events.v1 import event_pb2 as pb
from tenure.store import decoding, encoding

# Numbers that stand for types in rows: those of the payload's field. They are stored: never renumbered.
TYPE_OF: dict[type[e.Payload], int] = {
    e.JobCreated: pb.Event.JOB_CREATED_FIELD_NUMBER,
    e.JobAssigned: pb.Event.JOB_ASSIGNED_FIELD_NUMBER,
    e.AssignmentDeclined: pb.Event.ASSIGNMENT_DECLINED_FIELD_NUMBER,
    e.JobStarted: pb.Event.JOB_STARTED_FIELD_NUMBER,
    e.JobHeartbeat: pb.Event.JOB_HEARTBEAT_FIELD_NUMBER,
    e.JobExtended: pb.Event.JOB_EXTENDED_FIELD_NUMBER,
    e.AttemptFailed: pb.Event.ATTEMPT_FAILED_FIELD_NUMBER,
    e.AttemptReleased: pb.Event.ATTEMPT_RELEASED_FIELD_NUMBER,
    e.LeaseExpired: pb.Event.LEASE_EXPIRED_FIELD_NUMBER,
    e.JobRequeued: pb.Event.JOB_REQUEUED_FIELD_NUMBER,
    e.CancelRequested: pb.Event.CANCEL_REQUESTED_FIELD_NUMBER,
    e.JobTerminated: pb.Event.JOB_TERMINATED_FIELD_NUMBER,
    e.QueueConfigured: pb.Event.QUEUE_CONFIGURED_FIELD_NUMBER,
    e.QueuePaused: pb.Event.QUEUE_PAUSED_FIELD_NUMBER,
    e.QueueResumed: pb.Event.QUEUE_RESUMED_FIELD_NUMBER,
}
# (The numbers of the domain's enums are those of the messages; the stubs want a type of their own for them.)
CLASS_OF: dict[int, type[e.Payload]] = {number: kind for kind, number in TYPE_OF.items()}
TYPE_NAMED: dict[str, int] = {kind.__name__: number for kind, number in TYPE_OF.items()}

DecodeError = decoding.DecodeError


def encode(event: e.NewEvent, *, stream: str = "", request_id: str = "", request_digest: bytes = b"") -> bytes:
    """The bytes to store. `stream` is the stream's name where the event is its first, else empty."""
    data = encoding.encode(event, stream, request_id, request_digest)
    if data is not None:
        return data
    message = pb.Event(event_id=event.event_id, actor=event.actor, stream=stream)
    if request_id:
        message.request_id = request_id
        message.request_digest = request_digest
    _fill(message, event.payload)
    return message.SerializeToString()


def decode(data: bytes, *, position: int, stream: str, version: int, time_us: int) -> e.RecordedEvent:
    """The event of a row; the rest of the row comes as arguments.

    Raises:
        DecodeError: the bytes are no event, or one of a type that this version does not know.
    """
    message = decoding.parse(data, position)
    return e.RecordedEvent(
        position=position,
        stream=stream,
        version=version,
        event_id=message.event_id,
        time_us=time_us,
        actor=message.actor,
        request_id=message.request_id,
        request_digest=message.request_digest,
        payload=decoding.payload(message, position),
    )


def stream_named(data: bytes, position: int) -> str:
    """The name of the stream that begins with this event.

    Raises:
        DecodeError: the bytes are no event, or not the first of a stream.
    """
    name = decoding.parse(data, position).stream
    if not name:
        raise DecodeError(f"position {position}: the first event of a stream does not say the stream's name")
    return name


def to_message(event: e.RecordedEvent) -> pb.Event:
    """The event as it is shown to the outside, with everything that it carries."""
    message = pb.Event(
        position=event.position,
        stream=event.stream,
        stream_version=event.version,
        event_id=event.event_id,
        actor=event.actor,
        request_id=event.request_id,
        request_digest=event.request_digest,
    )
    _set_time(message.time, event.time_us)
    _fill(message, event.payload)
    return message


def queue_to_message(configured: e.QueueConfigured) -> pb.QueueConfigured:
    """A queue's settings as a message."""
    message = pb.QueueConfigured()
    _fill_queue(message, configured)
    return message


def _fill(message: pb.Event, payload: e.Payload) -> None:
    match payload:
        case e.JobAssigned():
            assigned = message.job_assigned
            assigned.attempt = payload.attempt
            assigned.worker_id = payload.worker_id
            _set_span(assigned.lease, payload.lease_us)
            if payload.subject:
                assigned.subject = payload.subject
        case e.JobStarted():
            started = message.job_started
            started.lease_id = payload.lease_id
            started.attempt = payload.attempt
            started.worker_id = payload.worker_id
            if payload.deadline_us is not None:
                _set_time(started.deadline, payload.deadline_us)
        case e.JobTerminated():
            terminated = message.job_terminated
            terminated.outcome = payload.outcome.value  # type: ignore[assignment]
            terminated.reason = payload.reason
            terminated.attempt = payload.attempt
        case e.JobCreated():
            _fill_created(message.job_created, payload)
        case e.JobHeartbeat():
            _fill_heartbeat(message.job_heartbeat, payload)
        case e.JobExtended():
            _set_span(message.job_extended.requested_time, payload.requested_us)
        case e.QueueConfigured():
            message.queue_configured.SetInParent()
            _fill_queue(message.queue_configured, payload)
        case e.QueuePaused():
            message.queue_paused.SetInParent()
            message.queue_paused.reason = payload.reason
        case e.QueueResumed():
            message.queue_resumed.SetInParent()
        case _:
            _fill_rarer(message, payload)


def _fill_rarer(
    message: pb.Event,
    payload: e.AssignmentDeclined
    | e.AttemptFailed
    | e.AttemptReleased
    | e.LeaseExpired
    | e.JobRequeued
    | e.CancelRequested,
) -> None:
    match payload:
        case e.AssignmentDeclined():
            declined = message.assignment_declined
            declined.lease_id, declined.attempt = payload.lease_id, payload.attempt
            declined.worker_id, declined.reason = payload.worker_id, payload.reason
            _set_time(declined.passed_over_until, payload.passed_over_until_us)
        case e.AttemptFailed():
            failed = message.attempt_failed
            failed.lease_id, failed.attempt, failed.worker_id = payload.lease_id, payload.attempt, payload.worker_id
            failed.stage = payload.stage.value  # type: ignore[assignment]
            if payload.exit_code is not None:
                failed.exit_code = payload.exit_code
            if payload.signal is not None:
                failed.signal = payload.signal
            failed.oom, failed.message = payload.oom, payload.message
        case e.AttemptReleased():
            released = message.attempt_released
            released.lease_id, released.attempt = payload.lease_id, payload.attempt
            released.worker_id, released.reason = payload.worker_id, payload.reason
        case e.LeaseExpired():
            expired = message.lease_expired
            expired.lease_id, expired.attempt, expired.worker_id = payload.lease_id, payload.attempt, payload.worker_id
            _set_span(expired.silence, payload.silence_us)
            expired.suspicious = payload.suspicious
        case e.JobRequeued():
            requeued = message.job_requeued
            requeued.cause = payload.cause.value  # type: ignore[assignment]
            requeued.attempt, requeued.worker_id = payload.attempt, payload.worker_id
            requeued.reason = payload.reason
            if payload.not_before_us is not None:
                _set_time(requeued.not_before, payload.not_before_us)
            if payload.banned_until_us is not None:
                _set_time(requeued.banned_until, payload.banned_until_us)
        case e.CancelRequested():
            message.cancel_requested.reason = payload.reason
            _set_time(message.cancel_requested.until, payload.until_us)


def _fill_created(message: pb.JobCreated, payload: e.JobCreated) -> None:
    message.specification = payload.specification
    message.specification_digest = payload.specification_digest
    message.allow_duplicate = payload.allow_duplicate
    message.created_by = payload.created_by
    message.project = payload.project
    message.queue = payload.queue
    message.priority = payload.priority
    message.terms.CopyFrom(_terms(payload.terms))
    message.command = payload.command
    if payload.arguments:
        message.arguments.extend(payload.arguments)
    if payload.absolute_paths:
        message.absolute_paths.extend(payload.absolute_paths)
    facets = payload.facets
    if facets is _NO_FACETS or facets == _NO_FACETS:
        return
    shown = message.facets
    shown.name = facets.name
    shown.application_name, shown.application_version = facets.application_name, facets.application_version
    shown.product_id, shown.product_category = facets.product_id, facets.product_category
    shown.product_provider = facets.product_provider
    for key, value in facets.labels:
        shown.labels[key] = value


def _fill_heartbeat(message: pb.JobHeartbeat, payload: e.JobHeartbeat) -> None:
    message.lease_id = payload.lease_id
    message.attempt = payload.attempt
    message.count = payload.count
    _set_time(message.last_beat, payload.last_beat_us)
    message.stage = payload.stage.value  # type: ignore[assignment]
    if payload.progress is not None:
        message.progress = payload.progress
    message.progress_message = payload.progress_message
    transfer = payload.transfer
    if transfer != _NO_TRANSFER:
        copied = message.transfer
        copied.files_downloaded, copied.files_uploaded = transfer.files_downloaded, transfer.files_uploaded
        copied.bytes_downloaded, copied.bytes_uploaded = transfer.bytes_downloaded, transfer.bytes_uploaded
        if transfer.files_pending:
            copied.files_pending = transfer.files_pending


def _fill_queue(message: pb.QueueConfigured, payload: e.QueueConfigured) -> None:
    _fill_features(message.features, payload.features)
    if payload.max_time_allocation_us is not None:
        _set_span(message.max_time_allocation, payload.max_time_allocation_us)
    if payload.default_time_allocation_us is not None:
        _set_span(message.default_time_allocation, payload.default_time_allocation_us)
    message.basis = payload.basis.value  # type: ignore[assignment]
    message.read_only = payload.read_only
    for product in payload.products:
        served = message.products.add(id=product.id, category=product.category, provider=product.provider)
        served.basis = product.basis.value  # type: ignore[assignment]
        if product.time_extension is not None:
            served.time_extension = product.time_extension


@lru_cache(maxsize=1024)
def _terms(terms: e.Terms) -> pb.Terms:
    message = pb.Terms(max_failures=terms.max_failures, max_lost_leases=terms.max_lost_leases)
    message.basis = terms.basis.value  # type: ignore[assignment]
    if terms.time_allocation_us is not None:
        _set_span(message.time_allocation, terms.time_allocation_us)
    if terms.max_time_allocation_us is not None:
        _set_span(message.max_time_allocation, terms.max_time_allocation_us)
    _fill_features(message.features, terms.features)
    _set_span(message.heartbeat_interval, terms.heartbeat_interval_us)
    _set_span(message.retry_initial, terms.retry_initial_us)
    _set_span(message.retry_maximum, terms.retry_maximum_us)
    _set_span(message.termination_grace_period, terms.termination_grace_period_us)
    _set_span(message.ban, terms.ban_us)
    _set_span(message.lost_lease_window, terms.lost_lease_window_us)
    return message


def _fill_features(message: pb.Features, features: e.Features) -> None:
    message.SetInParent()
    message.time_extension = features.time_extension
    message.suspension = features.suspension
    message.logs = features.logs
    message.sync = features.sync
    message.compression = features.compression


def _set_span(message: Duration, us: int) -> None:
    # Truncated towards zero, so that seconds and nanos have the same sign, as a Duration wants it.
    seconds, rest = divmod(abs(us), 1_000_000)
    if us < 0:
        seconds, rest = -seconds, -rest
    message.SetInParent()
    message.seconds = seconds
    message.nanos = rest * 1000


def _set_time(message: Timestamp, us: int) -> None:
    seconds, rest = divmod(us, 1_000_000)
    message.SetInParent()
    message.seconds = seconds
    message.nanos = rest * 1000


_NO_FACETS = e.Facets()
_NO_TRANSFER = e.Transfer()
