"""`decide(job, command, now) -> events`: what a command makes of a job, or why it is refused.

Whatever time has brought about by then comes first: a command that finds the deadline passed meets a job that has
expired. Repeats of what was accepted before decide nothing and are no error.
"""

from __future__ import annotations

from typing import assert_never

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused, seconds
from tenure.domain.failures import NO_REASON, failure_text
from tenure.domain.job import Job, Lease, evolve
from tenure.domain.retry import backoff_us, passed_over_us
from tenure.domain.states import Phase

# 9999-12-31T23:59:59Z, the last instant that a protobuf Timestamp can hold.
MAX_TIME_US = 253_402_300_799_000_000

# An event and when it happened.
Dated = tuple[int, e.JobEvent]


def decide(job: Job, command: c.Command, now_us: int, beat: c.Beat | None = None) -> list[Dated]:
    """The events that the command adds to the job's stream, in order, each with its time.

    `beat` is what was last heard of the live attempt and perhaps not written down: where the attempt ends, it is
    written down first, so that no count is lost.

    Raises:
        Refused: with the reason; nothing happens. What time brought about stays true and is for `overdue` to find.
    """
    now_us = max(now_us, job.last_us)
    dated = overdue(job, now_us, beat)
    for time_us, event in dated:
        job = evolve(job, event, time_us)
    events = _decide(job, command, now_us)
    if job.lease is not None and beat is not None and _ends_attempt(events):
        events = [*_last_beat(job.lease, beat), *events]
    return dated + [(now_us, event) for event in events]


def overdue(job: Job, now_us: int, beat: c.Beat | None = None) -> list[Dated]:
    """What time alone has done to the job by now. An expiry's time is the deadline, however late it is noticed."""
    due = job.due_us
    if due is None or now_us < due:
        return []
    at_us = max(due, job.last_us)
    events: list[e.JobEvent] = list(_last_beat(job.lease, beat)) if job.lease is not None and beat else []
    events.append(
        _terminated(job, e.Outcome.CANCELLED, job.reason or "its grace period is over")
        if job.phase is Phase.STOPPING
        else _terminated(job, e.Outcome.EXPIRED, "its time allocation is used up")
    )
    return [(at_us, event) for event in events]


def _decide(job: Job, command: c.Command, now_us: int) -> list[e.JobEvent]:
    match command:
        case c.Tick():
            return []
        case c.Extend():
            return _extend(job, command, now_us)
        case c.Terminate():
            return _terminate(job, command, now_us)
        case c.Halt():
            if job.phase is Phase.FINAL:
                return []
            return [_terminated(job, e.Outcome.SYSTEM, command.reason or NO_REASON)]
        case c.Assign():
            return _assign(job, command, now_us)
        case _:
            return _worker(job, command, now_us)


def _extend(job: Job, command: c.Extend, now_us: int) -> list[e.JobEvent]:
    terms = job.origin.terms
    if not 0 < command.requested_us <= MAX_TIME_US:
        text = "the requested time must be above 0, and end before the year 10000"
        raise Refused(Reason.INVALID_FIELD, text, field="requested_time")
    if job.phase is Phase.FINAL:
        raise Refused(Reason.JOB_FINAL, f"the job has ended ({job.state}); only a live job can be extended")
    if job.phase is Phase.STOPPING:
        raise Refused(Reason.JOB_STOPPING, "the job is being cancelled; it can no longer be extended")
    if not terms.features.time_extension:
        raise Refused(Reason.EXTENSION_UNSUPPORTED, "the job's product does not support extending time allocations")
    if terms.time_allocation_us is None:
        raise Refused(Reason.NO_TIME_ALLOCATION, "the job has no time allocation; it never expires")
    total_us = terms.time_allocation_us + job.granted_us
    if terms.max_time_allocation_us is not None and total_us + command.requested_us > terms.max_time_allocation_us:
        left = seconds(max(0, terms.max_time_allocation_us - total_us))
        raise Refused(
            Reason.EXTENSION_CAP,
            f"at most {left} s can still be added to the job's time",
            metadata={"remaining_seconds": left},
        )
    if max(job.expires_us or 0, now_us) + total_us + command.requested_us > MAX_TIME_US:
        raise Refused(Reason.INVALID_FIELD, "the job's time would end after the year 9999", field="requested_time")
    return [e.JobExtended(requested_us=command.requested_us)]


def _terminate(job: Job, command: c.Terminate, now_us: int) -> list[e.JobEvent]:
    if job.phase is Phase.FINAL:
        return []
    if job.phase is Phase.RUNNING and command.grace_us > 0:
        until_us = now_us + command.grace_us
        if job.expires_us is not None:
            until_us = min(until_us, job.expires_us)
        return [e.CancelRequested(reason=command.reason, until_us=until_us)]
    return [_terminated(job, e.Outcome.CANCELLED, command.reason or job.reason)]


def _assign(job: Job, command: c.Assign, now_us: int) -> list[e.JobEvent]:
    if job.phase is Phase.FINAL:
        raise Refused(Reason.JOB_FINAL, "the job has ended")
    if job.phase is not Phase.QUEUED:
        raise Refused(Reason.VERSION_CONFLICT, "the job has a worker")
    # Whoever gives jobs out looks for these two as well, but perhaps at an older version of the job.
    if job.not_before_us is not None and now_us < job.not_before_us:
        raise Refused(Reason.VERSION_CONFLICT, "the job waits before its next attempt")
    if job.avoids(command.worker_id, now_us):
        raise Refused(Reason.VERSION_CONFLICT, "the job is kept from this worker for a while")
    return [
        e.JobAssigned(
            lease_id=command.lease_id,
            attempt=job.attempt + 1,
            worker_id=command.worker_id,
            lease_us=2 * job.origin.terms.heartbeat_interval_us,
            subject=command.subject,
        )
    ]


def _worker(job: Job, command: c.WorkerCommand, now_us: int) -> list[e.JobEvent]:
    lease = job.lease
    if lease is None or lease.lease_id != command.lease_id:
        return _repeated(job, command)
    match command:
        case c.Decline():
            return _decline(job, lease, command, now_us)
        case c.Start():
            return _start(job, lease, now_us)
        case c.Record():
            return [*_unrecorded(lease, command.beat)]
        case c.Succeed():
            return _succeed(job, lease)
        case c.Fail():
            return _fail(job, lease, command, now_us)
        case c.Release():
            return _release(job, lease, command)
        case c.ExpireLease():
            return _expire_lease(job, lease, command, now_us)
        case _:
            assert_never(command)


# Which event settles which report; used to tell a repeat from a contradiction.
_SETTLES: dict[type[c.WorkerCommand], str] = {
    c.Succeed: e.JobTerminated.__name__,
    c.Fail: e.AttemptFailed.__name__,
    c.Release: e.AttemptReleased.__name__,
}


def check_repeat(command: c.WorkerCommand, by: str) -> None:
    """Compare what is reported of an attempt that is over with the event, by its name, that ended it.

    Raises:
        Refused: OUTCOME_CONFLICT, another end was accepted; LEASE_LOST, it ended otherwise, or no end is reported.
    """
    expected = _SETTLES.get(type(command))
    if expected is None or by not in _SETTLES.values():
        raise Refused(Reason.LEASE_LOST, "the lease of this attempt is over")
    if by != expected:
        raise Refused(Reason.OUTCOME_CONFLICT, "another outcome of this attempt was accepted before")


def _repeated(job: Job, command: c.WorkerCommand) -> list[e.JobEvent]:
    settled, by = job.settled, ""
    if settled is not None and settled.lease_id == command.lease_id:
        # Of a job that was cancelled while it was stopping it is not known whether a success or a second cancellation
        # ended it: a success changes nothing either way, anything else comes too late.
        cancelled = settled.by == _SETTLES[c.Succeed] and job.outcome is e.Outcome.CANCELLED
        by = "" if cancelled and not isinstance(command, c.Succeed) else settled.by
    check_repeat(command, by)
    return []


def _decline(job: Job, lease: Lease, command: c.Decline, now_us: int) -> list[e.JobEvent]:
    if job.phase is not Phase.ASSIGNED:
        raise Refused(Reason.OUTCOME_CONFLICT, "the attempt has started; it can only be released")
    before = next((a.declines for a in job.avoided if a.worker_id == lease.worker_id), 0)
    return [
        e.AssignmentDeclined(
            lease_id=lease.lease_id,
            attempt=lease.attempt,
            worker_id=lease.worker_id,
            reason=command.reason,
            passed_over_until_us=now_us + passed_over_us(before),
        )
    ]


def _start(job: Job, lease: Lease, now_us: int) -> list[e.JobEvent]:
    if job.phase is not Phase.ASSIGNED:
        return []
    terms = job.origin.terms
    deadline_us = None
    if terms.basis is e.Basis.STARTED and terms.time_allocation_us is not None and job.expires_us is None:
        deadline_us = min(now_us + terms.time_allocation_us + job.granted_us, MAX_TIME_US)
    return [
        e.JobStarted(lease_id=lease.lease_id, attempt=lease.attempt, worker_id=lease.worker_id, deadline_us=deadline_us)
    ]


def _succeed(job: Job, lease: Lease) -> list[e.JobEvent]:
    if job.phase is Phase.ASSIGNED:
        raise Refused(Reason.OUTCOME_CONFLICT, "the attempt has not been started")
    if job.phase is Phase.STOPPING:
        # Exit 0 after a cancellation is still a cancellation. AttemptReleased would count an interruption, so the
        # attempt ends with the job.
        return [_cancelled(job)]
    return [_terminated(job, e.Outcome.COMPLETED, "")]


def _fail(job: Job, lease: Lease, command: c.Fail, now_us: int) -> list[e.JobEvent]:
    reason = failure_text(command)
    failed = e.AttemptFailed(
        lease_id=lease.lease_id,
        attempt=lease.attempt,
        worker_id=lease.worker_id,
        stage=command.stage,
        exit_code=command.exit_code,
        signal=command.signal,
        oom=command.oom,
        message=command.message,
    )
    if job.phase is Phase.STOPPING:
        return [failed, _cancelled(job)]
    terms = job.origin.terms
    failures = job.num_failures + 1
    if failures >= terms.max_failures:
        return [failed, _terminated(job, e.Outcome.FAILED, reason)]
    wait_us = backoff_us(terms, failures)
    return [
        failed,
        _requeued(
            e.RequeueCause.FAILED,
            lease,
            reason,
            not_before_us=now_us + wait_us if wait_us else None,
            banned_until_us=now_us + terms.ban_us if terms.ban_us else None,
        ),
    ]


def _release(job: Job, lease: Lease, command: c.Release) -> list[e.JobEvent]:
    reason = command.reason or NO_REASON
    released = e.AttemptReleased(
        lease_id=lease.lease_id, attempt=lease.attempt, worker_id=lease.worker_id, reason=reason
    )
    if job.phase is Phase.STOPPING:
        return [released, _cancelled(job)]
    return [released, _requeued(e.RequeueCause.RELEASED, lease, reason)]


def _expire_lease(job: Job, lease: Lease, command: c.ExpireLease, now_us: int) -> list[e.JobEvent]:
    terms = job.origin.terms
    suspicious = (
        terms.max_lost_leases > 0 and not command.mass and now_us - lease.assigned_us <= terms.lost_lease_window_us
    )
    expired = e.LeaseExpired(
        lease_id=lease.lease_id,
        attempt=lease.attempt,
        worker_id=lease.worker_id,
        silence_us=command.silence_us,
        suspicious=suspicious,
    )
    if job.phase is Phase.STOPPING:
        return [expired, _cancelled(job)]
    lost = len(set(job.lost_in_a_row) | {lease.worker_id}) if suspicious else 0
    if lost >= terms.max_lost_leases > 0:
        reason = f"{lost} workers in a row were lost while they ran it"
        return [expired, _terminated(job, e.Outcome.LOST, reason)]
    return [expired, _requeued(e.RequeueCause.LOST, lease, f"no heartbeat for {command.silence_us // 1_000_000} s")]


def _requeued(
    cause: e.RequeueCause,
    lease: Lease,
    reason: str,
    *,
    not_before_us: int | None = None,
    banned_until_us: int | None = None,
) -> e.JobRequeued:
    return e.JobRequeued(
        cause=cause,
        attempt=lease.attempt,
        worker_id=lease.worker_id,
        reason=reason,
        not_before_us=not_before_us,
        banned_until_us=banned_until_us,
    )


def _terminated(job: Job, outcome: e.Outcome, reason: str) -> e.JobTerminated:
    return e.JobTerminated(outcome=outcome, reason=reason, attempt=job.lease.attempt if job.lease else 0)


def _cancelled(job: Job) -> e.JobTerminated:
    """The end of a job that was being cancelled, for the reason that was given for that."""
    return _terminated(job, e.Outcome.CANCELLED, job.reason)


def _unrecorded(lease: Lease, beat: c.Beat) -> list[e.JobHeartbeat]:
    return [_heartbeat(lease, beat)] if beat.count > lease.beats else []


def _last_beat(lease: Lease, beat: c.Beat) -> list[e.JobHeartbeat]:
    """What is written down where the attempt ends: what it copied and how far it came, be it without a new count."""
    says_more = beat.count == lease.beats and (beat.progress is not None or beat.transfer != e.Transfer())
    return [_heartbeat(lease, beat)] if says_more else _unrecorded(lease, beat)


def _heartbeat(lease: Lease, beat: c.Beat) -> e.JobHeartbeat:
    return e.JobHeartbeat(
        lease_id=lease.lease_id,
        attempt=lease.attempt,
        count=beat.count,
        last_beat_us=beat.at_us,
        stage=beat.stage,
        progress=beat.progress,
        progress_message=beat.progress_message,
        transfer=beat.transfer,
    )


def _ends_attempt(events: list[e.JobEvent]) -> bool:
    return bool(events) and isinstance(
        events[0], e.AttemptFailed | e.AttemptReleased | e.LeaseExpired | e.JobTerminated | e.AssignmentDeclined
    )
