"""What may happen to a job after what: rules that are told every event of the log in turn, together with the story of
its job up to there. Of the log as a whole see `invariants_whole`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenure.domain import events as e
from tests.simulation.invariants_story import (
    ASSIGNED,
    FINAL,
    MAX_TIME_US,
    QUEUED,
    RUNNING,
    STOPPING,
    JobStory,
    Rule,
    Story,
    are_twins,
)

# In which phases an event may come.
_WHEN: dict[type[e.Payload], tuple[str, ...]] = {
    e.JobCreated: (),
    e.JobAssigned: (QUEUED,),
    e.AssignmentDeclined: (ASSIGNED,),
    e.JobStarted: (ASSIGNED,),
    e.JobHeartbeat: (ASSIGNED, RUNNING, STOPPING),
    e.JobExtended: (QUEUED, ASSIGNED, RUNNING),
    e.AttemptFailed: (ASSIGNED, RUNNING, STOPPING),
    e.AttemptReleased: (ASSIGNED, RUNNING, STOPPING),
    e.LeaseExpired: (ASSIGNED, RUNNING, STOPPING),
    e.JobRequeued: (ASSIGNED, RUNNING),
    e.CancelRequested: (RUNNING,),
    e.JobTerminated: (QUEUED, ASSIGNED, RUNNING, STOPPING),
}
# Outcomes a job may have from each phase.
_ENDS: dict[str, set[e.Outcome]] = {
    QUEUED: {e.Outcome.CANCELLED, e.Outcome.EXPIRED, e.Outcome.SYSTEM},
    ASSIGNED: {e.Outcome.FAILED, e.Outcome.LOST, e.Outcome.CANCELLED, e.Outcome.EXPIRED, e.Outcome.SYSTEM},
    RUNNING: set(e.Outcome),
    STOPPING: {e.Outcome.CANCELLED, e.Outcome.SYSTEM},
    FINAL: set(),
}


def events_are_legal(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """Every event is allowed in the phase it meets; FINAL absorbs; an end of an attempt is followed by its
    consequence in the same breath (the table of 1.2)."""
    payload = event.payload
    if isinstance(payload, e.JobCreated):
        return None if event.version == 1 else "the job was there before"
    if job.phase not in _WHEN[type(payload)]:
        return f"the job is {job.phase}"
    if job.undecided is not None and not isinstance(payload, e.JobRequeued | e.JobTerminated):
        return "an attempt has ended, and it is not said what becomes of the job"
    if isinstance(payload, e.JobRequeued) and job.undecided is None:
        return "no attempt has ended"
    if isinstance(payload, e.JobTerminated) and payload.outcome not in _ENDS[job.phase]:
        return f"it cannot end as {payload.outcome.name} while it is {job.phase}"
    return None


def times_are_in_order(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """No event is before the previous one of its stream (1.3)."""
    return "it is before the event in front of it" if event.time_us < job.events[-1].time_us else None


def one_lease_a_job(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """At most one lease of a job is live, its attempt is the last one + 1, and events name the live one: what an
    attempt came to is not accepted once the next one was granted (promise 3)."""
    payload = event.payload
    if isinstance(payload, e.JobAssigned):
        last = job.tenures[-1].attempt if job.tenures else 0
        if job.live is not None:
            return f"attempt {job.live.attempt} holds a lease"
        if payload.attempt != last + 1:
            return f"attempt {payload.attempt} after attempt {last}"
        return None if payload.lease_id == event.event_id else "the lease is not named by its event"
    lease_id = getattr(payload, "lease_id", "")
    if job.live is None or job.live.lease_id != lease_id:
        return f"it speaks of lease {lease_id}, the live one is {job.live.lease_id if job.live else 'none'}"
    return None


def only_the_holder_counts(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """What only a lease's holder can know was said by the worker that holds it (promise 3)."""
    payload = event.payload
    if isinstance(payload, e.JobTerminated) and payload.outcome is not e.Outcome.COMPLETED:
        return None
    if job.live is not None and event.actor != f"worker:{job.live.worker_id}":
        return f"it was said by {event.actor}, the lease is held by {job.live.worker_id}"
    if isinstance(payload, e.JobTerminated) and (job.live is None or not job.live.started):
        return "no command of it has been started"
    return None


def bans_are_kept(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """A worker on which the job failed does not get it during the ban, nor one that did not take it while it is
    passed over (1.6)."""
    payload = event.payload
    if not isinstance(payload, e.JobAssigned):
        return None
    for one in job.avoided:
        if one.worker_id == payload.worker_id and event.time_us < one.until_us:
            left = (one.until_us - event.time_us) / 1e6
            return f"worker {one.worker_id} is kept from it for {left:g} s more, by position {one.position}"
    return None


def a_failure_bans(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """A requeue after a failure bans the worker for as long as the queue's terms say (1.6)."""
    payload = event.payload
    if not isinstance(payload, e.JobRequeued) or payload.cause is not e.RequeueCause.FAILED:
        return None
    ban_us = job.origin.terms.ban_us
    if ban_us and payload.banned_until_us != event.time_us + ban_us:
        return f"the ban ends at {payload.banned_until_us}, not {ban_us / 1e6:g} s later"
    return None


def waits_are_kept(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """No attempt begins before the wait after a failure is over (1.2)."""
    if job.not_before_us is not None and event.time_us < job.not_before_us:
        return f"its wait lasts {(job.not_before_us - event.time_us) / 1e6:g} s more"
    return None


def failures_are_counted(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """A job fails with the last of the failures it may have, and with no earlier one; interruptions count nothing."""
    payload = event.payload
    failed = job.undecided is not None and isinstance(job.undecided.payload, e.AttemptFailed)
    most = job.origin.terms.max_failures
    if isinstance(payload, e.JobRequeued):
        return f"it has failed {job.failures} times, of {most}" if failed and job.failures >= most else None
    if not isinstance(payload, e.JobTerminated):
        return None
    if payload.outcome is e.Outcome.FAILED and (not failed or job.failures != most):
        return f"it has failed {job.failures} times, of {most}"
    if payload.outcome is e.Outcome.LOST and job.suspicious < job.origin.terms.max_lost_leases:
        return f"{job.suspicious} leases in a row were lost suspiciously, not {job.origin.terms.max_lost_leases}"
    return None


def nothing_after_the_deadline(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """Whatever finds the deadline passed (or the grace of a cancellation over) meets a job that has ended: nothing
    but that end, and the beat written down with it, has a time from then on (1.2)."""
    if job.phase is FINAL:
        return None
    due_us = job.stop_until_us if job.phase is STOPPING else job.deadline_us
    if due_us is None or event.time_us < due_us:
        return None
    wanted = e.Outcome.CANCELLED if job.phase is STOPPING else e.Outcome.EXPIRED
    payload = event.payload
    if isinstance(payload, e.JobTerminated) and payload.outcome is wanted:
        return None
    if isinstance(payload, e.JobHeartbeat) and event.time_us == due_us:
        return None
    return f"its time was over {(event.time_us - due_us) / 1e6:g} s before"


def expires_at_the_deadline(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """EXPIRED has the deadline for its time, however late it was noticed; there is none without a deadline (1.4)."""
    payload = event.payload
    if not isinstance(payload, e.JobTerminated) or payload.outcome is not e.Outcome.EXPIRED:
        return None
    if job.deadline_us is None:
        return "the job has no deadline"
    if event.time_us != job.deadline_us:
        return f"its time is {(event.time_us - job.deadline_us) / 1e6:g} s after the deadline"
    return None


def the_deadline_is_right(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """With basis STARTED the deadline is set by the first start: then + allocation + extensions, and once (1.4)."""
    payload = event.payload
    if not isinstance(payload, e.JobStarted):
        return None
    terms = job.origin.terms
    wanted = None
    first = job.deadline_us is None and terms.basis is e.Basis.STARTED
    if first and terms.time_allocation_us is not None:
        wanted = min(event.time_us + terms.time_allocation_us + job.granted_us, MAX_TIME_US)
    return None if payload.deadline_us == wanted else f"it says {payload.deadline_us} for the deadline, not {wanted}"


def extensions_are_allowed(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """Extensions need an allocation, and stay below the queue's most (1.4)."""
    payload, terms = event.payload, job.origin.terms
    if not isinstance(payload, e.JobExtended):
        return None
    if terms.time_allocation_us is None or payload.requested_us <= 0:
        return "there is nothing to extend, or nothing to extend it by"
    total = terms.time_allocation_us + job.granted_us + payload.requested_us
    if terms.max_time_allocation_us is not None and total > terms.max_time_allocation_us:
        return f"it comes to {total / 1e6:g} s, more than the queue allows"
    return None


def counts_never_fall(_: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """The count of an attempt's beats is cumulative (1.3)."""
    payload = event.payload
    if job.live is None or not job.live.beats or not isinstance(payload, e.JobHeartbeat):
        return None
    last = job.live.beats[-1].payload
    assert isinstance(last, e.JobHeartbeat)
    return f"{payload.count} beats after {last.count}" if payload.count < last.count else None


def no_duplicates(story: Story, job: JobStory, event: e.RecordedEvent) -> str | None:
    """A job that forbids duplicates is not created while an equal one of the same owner lives (1.8)."""
    if job.origin.allow_duplicate:
        return None
    twin = next(iter(story.live_twins(job.origin)), None)
    return (
        f"job {twin.id} is equal and has not ended" if twin is not None and are_twins(twin.origin, job.origin) else None
    )


_ALWAYS: tuple[Rule, ...] = (events_are_legal, times_are_in_order, nothing_after_the_deadline)

RULES: dict[type[e.Payload], Sequence[Rule]] = {
    e.JobCreated: (events_are_legal, no_duplicates),
    e.JobAssigned: (*_ALWAYS, one_lease_a_job, bans_are_kept, waits_are_kept),
    e.AssignmentDeclined: (*_ALWAYS, one_lease_a_job),
    e.JobStarted: (*_ALWAYS, one_lease_a_job, only_the_holder_counts, the_deadline_is_right),
    e.JobHeartbeat: (*_ALWAYS, one_lease_a_job, counts_never_fall),
    e.JobExtended: (*_ALWAYS, extensions_are_allowed),
    e.AttemptFailed: (*_ALWAYS, one_lease_a_job, only_the_holder_counts),
    e.AttemptReleased: (*_ALWAYS, one_lease_a_job, only_the_holder_counts),
    e.LeaseExpired: (*_ALWAYS, one_lease_a_job),
    e.JobRequeued: (*_ALWAYS, a_failure_bans, failures_are_counted),
    e.CancelRequested: _ALWAYS,
    e.JobTerminated: (*_ALWAYS, only_the_holder_counts, failures_are_counted, expires_at_the_deadline),
}
