"""A job as a value, and the fold that makes it: `evolve(job, event, ...) -> job`.

What never changes after creation is kept in one `Origin` that every version shares, so that a fold over a long stream
copies a few small fields an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from tenure.domain import events as e
from tenure.domain.errors import IllegalTransition
from tenure.domain.retry import Avoided as Avoided  # part of a job's value, so it is found here too
from tenure.domain.retry import avoid, lost_in_a_row
from tenure.domain.states import OUTCOMES, TRANSITIONS, Phase, State, shown
from tenure.domain.values import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a job was created as. The specification itself stays with the store: the domain decides on none of it."""

    id: str
    created_us: int
    created_by: str
    project: str
    queue: str
    priority: int
    terms: e.Terms
    command: str
    arguments: tuple[str, ...]
    absolute_paths: tuple[str, ...]
    specification_digest: bytes
    allow_duplicate: bool
    facets: e.Facets


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of an attempt to act. `started_us` None: not begun; `subject` of the worker's token, "": not known."""

    lease_id: str
    attempt: int
    worker_id: str
    length_us: int
    assigned_us: int
    started_us: int | None = None
    beats: int = 0
    stage: e.Stage = e.Stage.UNSPECIFIED
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The last attempt whose end was accepted, and by which event; those before it are in the job's history."""

    lease_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the command last said of its progress; `fraction` from 0 to 1."""

    fraction: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The fold of one job's stream. Times are wall time in microseconds; None: not so.

    `version` is the version of its stream, `last_us` the time of its last event, `expires_us` the end of its time,
    `attempt` and `worker_id` those of the latest attempt, `beats_before` the beats of all attempts but the live one,
    `lost_in_a_row` the workers whose leases expired suspiciously one after the other, `reason` why it ended or is being
    cancelled.
    """

    origin: Origin
    version: int
    phase: Phase
    last_us: int
    expires_us: int | None = None
    granted_us: int = 0
    attempt: int = 0
    worker_id: str = ""
    lease: Lease | None = None
    started_us: int | None = None
    num_failures: int = 0
    num_interruptions: int = 0
    beats_before: int = 0
    last_beat_us: int | None = None
    progress: Progress | None = None
    not_before_us: int | None = None
    avoided: tuple[Avoided, ...] = ()
    lost_in_a_row: tuple[str, ...] = ()
    stop_until_us: int | None = None
    settled: Settled | None = None
    outcome: e.Outcome | None = None
    reason: str = ""
    ended_us: int | None = None

    @property
    def id(self) -> str:
        """The job's id."""
        return self.origin.id

    @property
    def state(self) -> State:
        """What a user is shown."""
        return shown(self.phase, self.outcome)

    @property
    def num_heartbeats(self) -> int:
        """Beats over all attempts, as far as they were written down."""
        return self.beats_before + (self.lease.beats if self.lease else 0)

    @property
    def due_us(self) -> int | None:
        """When time alone changes the job next: the end of its grace or of its allocation."""
        if self.phase is Phase.FINAL:
            return None
        return self.stop_until_us if self.phase is Phase.STOPPING else self.expires_us

    @property
    def stop_signal_us(self) -> int | None:
        """When the worker is told that the time is nearly over."""
        allocation = self.origin.terms.time_allocation_us
        if self.expires_us is None or allocation is None:
            return None
        return self.expires_us - min(self.origin.terms.termination_grace_period_us, allocation // 10)

    def avoids(self, worker_id: str, now_us: int) -> bool:
        """Whether the worker is banned from the job, or passed over, at that instant."""
        return any(one.worker_id == worker_id and now_us < one.until_us for one in self.avoided)


def create(job_id: str, event: e.JobCreated, time_us: int) -> Job:
    """The job that a JobCreated makes."""
    terms = event.terms
    origin = Origin(
        id=job_id,
        created_us=time_us,
        created_by=event.created_by,
        project=event.project,
        queue=event.queue,
        priority=event.priority,
        terms=terms,
        command=event.command,
        arguments=event.arguments,
        absolute_paths=event.absolute_paths,
        specification_digest=event.specification_digest,
        allow_duplicate=event.allow_duplicate,
        facets=event.facets,
    )
    expires = None
    if terms.basis is e.Basis.CREATED and terms.time_allocation_us is not None:
        expires = time_us + terms.time_allocation_us
    return Job(origin=origin, version=1, phase=Phase.QUEUED, last_us=time_us, expires_us=expires)


def evolve(job: Job, event: e.JobEvent, time_us: int) -> Job:
    """The job after one more event of its stream.

    Raises:
        IllegalTransition: the table does not allow it, or it speaks of another attempt than the live one.
    """
    phase = TRANSITIONS.get((job.phase, type(event)))
    if phase is None:
        raise IllegalTransition(f"job {job.id} is {job.phase.name}: {type(event).__name__} is not allowed")
    version = job.version + 1
    # An attempt that ends while its job is being cancelled was asked to: neither a failure nor an interruption.
    counts = 0 if job.phase is Phase.STOPPING else 1
    match event:
        case e.JobHeartbeat():
            lease = _live(job, event.lease_id, event)
            progress = job.progress
            if event.progress is not None:
                progress = Progress(fraction=event.progress, message=event.progress_message)
            return replace(
                job,
                version=version,
                last_us=time_us,
                lease=replace(lease, beats=max(lease.beats, event.count), stage=event.stage or lease.stage),
                last_beat_us=max(job.last_beat_us or 0, event.last_beat_us) or None,
                progress=progress,
            )
        case e.JobAssigned():
            if event.attempt != job.attempt + 1:
                raise IllegalTransition(f"job {job.id}: attempt {event.attempt} after attempt {job.attempt}")
            return replace(
                job,
                version=version,
                phase=phase,
                last_us=time_us,
                attempt=event.attempt,
                worker_id=event.worker_id,
                not_before_us=None,
                lease=Lease(
                    lease_id=event.lease_id,
                    attempt=event.attempt,
                    worker_id=event.worker_id,
                    length_us=event.lease_us,
                    assigned_us=time_us,
                    subject=event.subject,
                ),
            )
        case e.AssignmentDeclined():
            lease = _live(job, event.lease_id, event)
            declines = next((a.declines for a in job.avoided if a.worker_id == lease.worker_id), 0) + 1
            one = Avoided(worker_id=lease.worker_id, until_us=event.passed_over_until_us, declines=declines)
            return replace(
                job,
                version=version,
                phase=phase,
                last_us=time_us,
                lease=None,
                beats_before=job.beats_before + lease.beats,
                avoided=avoid(job.avoided, one),
            )
        case e.JobStarted():
            lease = _live(job, event.lease_id, event)
            return replace(
                job,
                version=version,
                phase=phase,
                last_us=time_us,
                lease=replace(lease, started_us=time_us, stage=e.Stage.RUN),
                started_us=time_us if job.started_us is None else job.started_us,
                expires_us=event.deadline_us if event.deadline_us is not None else job.expires_us,
            )
        case e.JobExtended():
            expires = None if job.expires_us is None else job.expires_us + event.requested_us
            return replace(
                job,
                version=version,
                last_us=time_us,
                granted_us=job.granted_us + event.requested_us,
                expires_us=expires,
            )
        case e.AttemptFailed():
            ended = _end_attempt(job, event.lease_id, event, time_us)
            return replace(ended, num_failures=job.num_failures + counts, lost_in_a_row=())
        case e.AttemptReleased():
            ended = _end_attempt(job, event.lease_id, event, time_us)
            return replace(ended, num_interruptions=job.num_interruptions + counts, lost_in_a_row=())
        case e.LeaseExpired():
            lease = _live(job, event.lease_id, event)
            lasted = time_us - lease.assigned_us > job.origin.terms.lost_lease_window_us
            # Nothing was accepted of this attempt, so what was settled before it stays.
            return replace(
                _end_attempt(job, event.lease_id, event, time_us),
                num_interruptions=job.num_interruptions + counts,
                lost_in_a_row=lost_in_a_row(job.lost_in_a_row, event, lasted=lasted),
                settled=job.settled,
            )
        case e.JobRequeued():
            if job.lease is not None:
                raise IllegalTransition(f"job {job.id}: JobRequeued while attempt {job.attempt} holds a lease")
            avoided = job.avoided
            if event.banned_until_us is not None:
                avoided = avoid(avoided, Avoided(worker_id=event.worker_id, until_us=event.banned_until_us))
            return replace(
                job,
                version=version,
                phase=phase,
                last_us=time_us,
                not_before_us=event.not_before_us,
                avoided=avoided,
                progress=None,
            )
        case e.CancelRequested():
            return replace(
                job, version=version, phase=phase, last_us=time_us, stop_until_us=event.until_us, reason=event.reason
            )
        case e.JobTerminated():
            if event.outcome not in OUTCOMES[job.phase]:
                raise IllegalTransition(f"job {job.id} is {job.phase.name}: it cannot end as {event.outcome.name}")
            if event.outcome is e.Outcome.COMPLETED and job.lease is None:
                raise IllegalTransition(f"job {job.id} has no live attempt: it cannot end as COMPLETED")
            return replace(
                job,
                version=version,
                phase=phase,
                last_us=time_us,
                lease=None,
                beats_before=job.num_heartbeats,
                expires_us=None,
                stop_until_us=None,
                not_before_us=None,
                avoided=(),
                lost_in_a_row=(),
                settled=_settled_by_the_end(job, event, time_us),
                outcome=event.outcome,
                reason=event.reason,
                ended_us=time_us,
            )
        case e.JobCreated():
            raise IllegalTransition(f"job {job.id} was created before")
        case _:
            assert_never(event)


def fold(job_id: str, events: Iterable[tuple[int, e.JobEvent]]) -> Job | None:
    """The job that a stream of (time, event) makes; None for no events.

    Raises:
        IllegalTransition: as `evolve`.
    """
    job: Job | None = None
    for time_us, event in events:
        if job is not None:
            job = evolve(job, event, time_us)
        elif isinstance(event, e.JobCreated):
            job = create(job_id, event, time_us)
        else:
            raise IllegalTransition(f"job {job_id} begins with {type(event).__name__}")
    return job


def _live(job: Job, lease_id: str, event: e.JobEvent) -> Lease:
    if job.lease is None or job.lease.lease_id != lease_id:
        raise IllegalTransition(f"job {job.id}: {type(event).__name__} of lease {lease_id}, which is not the live one")
    return job.lease


def _end_attempt(job: Job, lease_id: str, event: e.JobEvent, time_us: int) -> Job:
    _live(job, lease_id, event)
    return replace(
        job,
        version=job.version + 1,
        last_us=time_us,
        lease=None,
        beats_before=job.num_heartbeats,
        settled=Settled(lease_id=lease_id, by=type(event).__name__),
    )


def _settled_by_the_end(job: Job, event: e.JobTerminated, time_us: int) -> Settled | None:
    """What is settled after the job's end: its last attempt too, where the attempt's success may have been that end.
    While a job is stopping a success ends it as CANCELLED; once its grace is over nothing more is accepted.
    """
    if job.lease is None:
        return job.settled
    success = event.outcome is e.Outcome.COMPLETED
    if event.outcome is e.Outcome.CANCELLED and job.stop_until_us is not None:
        success = time_us < job.stop_until_us
    return Settled(lease_id=job.lease.lease_id, by=e.JobTerminated.__name__) if success else job.settled
