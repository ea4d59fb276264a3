"""From what the store gives to the messages of the API."""

from __future__ import annotations

from tenure.controlplane.times import set_duration, set_timestamp
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.states import State
from tenure.store.store import AttemptRow, JobView, StoredJob, UpdateRow
from tenure.v1 import job_pb2, job_service_pb2

STATES = {state: job_pb2.JobState.Value(f"JOB_STATE_{state.name}") for state in State}
OUTCOMES = {outcome: job_pb2.JobOutcome.Value(f"JOB_OUTCOME_{outcome.name}") for outcome in e.Outcome}
STAGES = {stage: job_pb2.AttemptStage.Value(f"ATTEMPT_STAGE_{stage.name}") for stage in e.Stage}

# What the store calls the end of an attempt, and what the API calls it.
_ENDS = {
    "": job_pb2.ATTEMPT_END_REASON_UNSPECIFIED,
    "AssignmentDeclined": job_pb2.ATTEMPT_END_REASON_DECLINED,
    "AttemptFailed": job_pb2.ATTEMPT_END_REASON_FAILED,
    "AttemptReleased": job_pb2.ATTEMPT_END_REASON_RELEASED,
    "LeaseExpired": job_pb2.ATTEMPT_END_REASON_LEASE_EXPIRED,
    "Completed": job_pb2.ATTEMPT_END_REASON_SUCCEEDED,
    "Cancelled": job_pb2.ATTEMPT_END_REASON_CANCELLED,
    "Expired": job_pb2.ATTEMPT_END_REASON_EXPIRED,
    "Stopped": job_pb2.ATTEMPT_END_REASON_CANCELLED,
    "Failed": job_pb2.ATTEMPT_END_REASON_FAILED,
    "Lost": job_pb2.ATTEMPT_END_REASON_LEASE_EXPIRED,
}


def job_message(view: JobView, flags: job_service_pb2.JobFlags, *, histories: bool = True) -> job_pb2.Job:
    """A job as the API shows it; with `histories` its updates and attempts."""
    stored = view.stored
    job = stored.job
    message = job_pb2.Job(id=job.id, provider_generated_id=job.id, version=job.version)
    message.owner.created_by = job.origin.created_by
    message.owner.project = job.origin.project
    message.specification.ParseFromString(stored.specification)
    set_timestamp(message.created_at, job.origin.created_us)
    fill_status(message.status, job)
    _fill_resolved(message, stored, flags)
    if histories:
        message.updates.extend(update_message(row) for row in view.updates)
        message.attempts.extend(attempt_message(row) for row in view.attempts)
        message.updates_left_out = view.updates_left_out
    for rule in message.specification.sync.after[:1]:
        message.output.output_folder = f"s3://{rule.bucket}/{rule.prefix}"
    return message


def fill_status(status: job_pb2.JobStatus, job: Job) -> None:
    """Write a job's status into its message."""
    status.state = STATES[job.state]
    if job.outcome is not None:
        status.outcome = OUTCOMES[job.outcome]
        status.reason = job.reason
    for field, at_us in (
        ("started_at", job.started_us),
        ("expires_at", job.expires_us),
        ("last_heartbeat_at", job.last_beat_us),
        ("not_before", job.not_before_us),
    ):
        if at_us is not None:
            set_timestamp(getattr(status, field), at_us)
    status.attempt = job.attempt
    status.machine_id = job.worker_id
    status.num_failures = job.num_failures
    status.num_interruptions = job.num_interruptions
    status.num_heartbeats = job.num_heartbeats
    if job.progress is not None:
        status.progress.fraction = job.progress.fraction
        status.progress.message = job.progress.message
    if job.granted_us:
        set_duration(status.granted_extension, job.granted_us)


def update_message(row: UpdateRow) -> job_pb2.JobUpdate:
    """One line of a job's history."""
    message = job_pb2.JobUpdate(
        state=STATES[row.state],
        status=row.text,
        attempt=row.attempt,
        machine_id=row.worker_id,
        position=row.position,
    )
    set_timestamp(message.timestamp, row.time_us)
    return message


def attempt_message(row: AttemptRow) -> job_pb2.Attempt:
    """One attempt."""
    message = job_pb2.Attempt(
        number=row.number,
        machine_id=row.worker_id,
        stage=STAGES[row.stage],
        end_reason=_ENDS[row.end],
        exit_code=row.exit_code,
        signal=row.signal,
        oom=row.oom,
        message=row.message,
        num_heartbeats=row.beats,
        bytes_downloaded=row.bytes_downloaded,
        bytes_uploaded=row.bytes_uploaded,
    )
    set_timestamp(message.assigned_at, row.assigned_us)
    if row.started_us is not None:
        set_timestamp(message.started_at, row.started_us)
    if row.ended_us is not None:
        set_timestamp(message.ended_at, row.ended_us)
    return message


def specification_of(stored: StoredJob) -> job_pb2.JobSpecification:
    """The specification of a stored job."""
    return job_pb2.JobSpecification.FromString(stored.specification)


def _fill_resolved(message: job_pb2.Job, stored: StoredJob, flags: job_service_pb2.JobFlags) -> None:
    origin = stored.job.origin
    facets = origin.facets
    if flags.include_application:
        resolved = message.status.resolved_application
        if facets.application_name:
            resolved.application.name = facets.application_name
            resolved.application.version = facets.application_version
        resolved.command = origin.command
        resolved.arguments.extend(origin.arguments)
    if flags.include_product:
        product = message.status.resolved_product
        if facets.product_id:
            product.product.id = facets.product_id
            product.product.category = facets.product_category
            product.product.provider = facets.product_provider
        product.queue = origin.queue
    if flags.include_support:
        features = origin.terms.features
        message.status.resolved_support.CopyFrom(
            job_pb2.JobSupport(
                time_extension=features.time_extension,
                suspension=features.suspension,
                logs=features.logs,
                sync=features.sync,
                compression=features.compression,
            )
        )
    if flags.include_others and origin.project:
        message.permissions.others.add(
            project=origin.project, permissions=[job_pb2.PERMISSION_READ, job_pb2.PERMISSION_EDIT]
        )
