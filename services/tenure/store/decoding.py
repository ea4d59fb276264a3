"""Stored bytes → domain events: the half of the codec that must read everything ever written."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError as ParseError
from google.protobuf.timestamp_pb2 import Timestamp

from tenure.domain import events as e
from tenure.events.v1 import event_pb2 as pb


class DecodeError(Exception):
    """A stored event cannot be read: it is damaged, or was written by a newer version. Never skipped."""


def parse(data: bytes, position: int) -> pb.Event:
    """The message in the bytes.

    Raises:
        DecodeError: there is none.
    """
    try:
        return pb.Event.FromString(data)
    except ParseError as error:
        raise DecodeError(f"position {position}: the stored bytes are damaged: they are no event") from error


def payload(message: pb.Event, position: int) -> e.Payload:
    """What happened.

    Raises:
        DecodeError: it is of a type, or has a value, that this version does not know.
    """
    which = message.WhichOneof("payload")
    if which is None:
        raise DecodeError(
            f"position {position}: an event of a type that this version does not know; "
            "run the version that wrote it, or a newer one"
        )
    try:
        return _READ[which](message)
    except ValueError as error:
        raise DecodeError(f"position {position}: {which}: {error}; run the version that wrote it") from error


def queue_configured(message: pb.QueueConfigured) -> e.QueueConfigured:
    """A queue's settings."""
    return e.QueueConfigured(
        features=_features(message.features),
        max_time_allocation_us=_span_or_none(message, "max_time_allocation"),
        default_time_allocation_us=_span_or_none(message, "default_time_allocation"),
        basis=e.Basis(message.basis),
        products=tuple(_product(product) for product in message.products),
        read_only=message.read_only,
    )


def _created(event: pb.Event) -> e.JobCreated:
    message = event.job_created
    return e.JobCreated(
        specification=message.specification,
        specification_digest=message.specification_digest,
        allow_duplicate=message.allow_duplicate,
        created_by=message.created_by,
        project=message.project,
        queue=message.queue,
        priority=message.priority,
        terms=_terms(message.terms.SerializeToString(deterministic=True)),
        command=message.command,
        arguments=tuple(message.arguments),
        absolute_paths=tuple(message.absolute_paths),
        facets=_facets(message.facets) if message.HasField("facets") else _NO_FACETS,
    )


def _assigned(event: pb.Event) -> e.JobAssigned:
    message = event.job_assigned
    return e.JobAssigned(
        lease_id=event.event_id,
        attempt=message.attempt,
        worker_id=message.worker_id,
        lease_us=_span(message.lease),
        subject=message.subject,
    )


def _declined(event: pb.Event) -> e.AssignmentDeclined:
    message = event.assignment_declined
    return e.AssignmentDeclined(
        lease_id=message.lease_id,
        attempt=message.attempt,
        worker_id=message.worker_id,
        reason=message.reason,
        passed_over_until_us=_time(message.passed_over_until),
    )


def _started(event: pb.Event) -> e.JobStarted:
    message = event.job_started
    return e.JobStarted(
        lease_id=message.lease_id,
        attempt=message.attempt,
        worker_id=message.worker_id,
        deadline_us=_time(message.deadline) if message.HasField("deadline") else None,
    )


def _heartbeat(event: pb.Event) -> e.JobHeartbeat:
    message = event.job_heartbeat
    transfer = _NO_TRANSFER
    if message.HasField("transfer"):
        copied = message.transfer
        transfer = e.Transfer(
            files_downloaded=copied.files_downloaded,
            files_uploaded=copied.files_uploaded,
            bytes_downloaded=copied.bytes_downloaded,
            bytes_uploaded=copied.bytes_uploaded,
            files_pending=copied.files_pending,
        )
    return e.JobHeartbeat(
        lease_id=message.lease_id,
        attempt=message.attempt,
        count=message.count,
        last_beat_us=_time(message.last_beat),
        stage=e.Stage(message.stage),
        progress=message.progress if message.HasField("progress") else None,
        progress_message=message.progress_message,
        transfer=transfer,
    )


def _extended(event: pb.Event) -> e.JobExtended:
    return e.JobExtended(requested_us=_span(event.job_extended.requested_time))


def _failed(event: pb.Event) -> e.AttemptFailed:
    message = event.attempt_failed
    return e.AttemptFailed(
        lease_id=message.lease_id,
        attempt=message.attempt,
        worker_id=message.worker_id,
        stage=e.Stage(message.stage),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal if message.HasField("signal") else None,
        oom=message.oom,
        message=message.message,
    )


def _released(event: pb.Event) -> e.AttemptReleased:
    message = event.attempt_released
    return e.AttemptReleased(
        lease_id=message.lease_id, attempt=message.attempt, worker_id=message.worker_id, reason=message.reason
    )


def _expired(event: pb.Event) -> e.LeaseExpired:
    message = event.lease_expired
    return e.LeaseExpired(
        lease_id=message.lease_id,
        attempt=message.attempt,
        worker_id=message.worker_id,
        silence_us=_span(message.silence),
        suspicious=message.suspicious,
    )


def _requeued(event: pb.Event) -> e.JobRequeued:
    message = event.job_requeued
    return e.JobRequeued(
        cause=e.RequeueCause(message.cause),
        attempt=message.attempt,
        worker_id=message.worker_id,
        reason=message.reason,
        not_before_us=_time(message.not_before) if message.HasField("not_before") else None,
        banned_until_us=_time(message.banned_until) if message.HasField("banned_until") else None,
    )


def _cancel_requested(event: pb.Event) -> e.CancelRequested:
    message = event.cancel_requested
    return e.CancelRequested(reason=message.reason, until_us=_time(message.until))


def _terminated(event: pb.Event) -> e.JobTerminated:
    message = event.job_terminated
    return e.JobTerminated(outcome=e.Outcome(message.outcome), reason=message.reason, attempt=message.attempt)


_READ: dict[str, Callable[[pb.Event], e.Payload]] = {
    "job_created": _created,
    "job_assigned": _assigned,
    "assignment_declined": _declined,
    "job_started": _started,
    "job_heartbeat": _heartbeat,
    "job_extended": _extended,
    "attempt_failed": _failed,
    "attempt_released": _released,
    "lease_expired": _expired,
    "job_requeued": _requeued,
    "cancel_requested": _cancel_requested,
    "job_terminated": _terminated,
    "queue_configured": lambda event: queue_configured(event.queue_configured),
    "queue_paused": lambda event: e.QueuePaused(reason=event.queue_paused.reason),
    "queue_resumed": lambda event: e.QueueResumed(),
}


@lru_cache(maxsize=1024)
def _terms(data: bytes) -> e.Terms:
    """Terms by their bytes: the jobs of one queue share one value."""
    message = pb.Terms.FromString(data)
    return e.Terms(
        time_allocation_us=_span_or_none(message, "time_allocation"),
        basis=e.Basis(message.basis),
        max_time_allocation_us=_span_or_none(message, "max_time_allocation"),
        features=_features(message.features),
        heartbeat_interval_us=_span(message.heartbeat_interval),
        max_failures=message.max_failures,
        retry_initial_us=_span(message.retry_initial),
        retry_maximum_us=_span(message.retry_maximum),
        termination_grace_period_us=_span(message.termination_grace_period),
        ban_us=_span(message.ban),
        max_lost_leases=message.max_lost_leases,
        lost_lease_window_us=_span(message.lost_lease_window),
    )


def _facets(message: pb.Facets) -> e.Facets:
    return e.Facets(
        name=message.name,
        labels=tuple(sorted(message.labels.items())),
        application_name=message.application_name,
        application_version=message.application_version,
        product_id=message.product_id,
        product_category=message.product_category,
        product_provider=message.product_provider,
    )


def _features(message: pb.Features) -> e.Features:
    return e.Features(
        time_extension=message.time_extension,
        suspension=message.suspension,
        logs=message.logs,
        sync=message.sync,
        compression=message.compression,
    )


def _product(message: pb.Product) -> e.Product:
    return e.Product(
        id=message.id,
        category=message.category,
        provider=message.provider,
        basis=e.Basis(message.basis),
        time_extension=message.time_extension if message.HasField("time_extension") else None,
    )


def _span(message: Duration) -> int:
    # Exact for both signs: nanos has the sign of seconds.
    return message.seconds * 1_000_000 + message.nanos // 1000


def _span_or_none(message: pb.Terms | pb.QueueConfigured, name: str) -> int | None:
    return _span(getattr(message, name)) if message.HasField(name) else None  # type: ignore[arg-type]


def _time(message: Timestamp) -> int:
    return message.seconds * 1_000_000 + message.nanos // 1000


_NO_FACETS = e.Facets()
_NO_TRANSFER = e.Transfer()
