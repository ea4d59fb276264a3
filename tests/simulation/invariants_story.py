"""The log read a second time, by other eyes: what each job, attempt and queue went through.

This is not the product's fold and shares nothing with it: a bug in that one (or one planted there) must not blind its
judge. It is read once for each history, tells every event to the rules of `invariants_log` on the way, and does not
stop at an event that is against them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tenure.domain import events as e

T = TypeVar("T")

MAX_TIME_US = 253_402_300_799_000_000
QUEUED, ASSIGNED, RUNNING, STOPPING, FINAL = "QUEUED", "ASSIGNED", "RUNNING", "STOPPING", "FINAL"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken: which, and what happened."""

    invariant: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.sentence}"


@dataclass(slots=True, eq=False)
class Tenure:
    """One lease, as the log tells it. Positions are 0 where there is none."""

    lease_id: str
    job: JobStory
    attempt: int
    worker_id: str
    length_us: int
    granted: int
    granted_us: int
    started: int = 0
    ended: int = 0
    end: e.Payload | None = None
    beats: list[e.RecordedEvent] = field(default_factory=list)

    def __str__(self) -> str:
        return f"attempt {self.attempt} of job {self.job.id} on {self.worker_id}"


@dataclass(slots=True, eq=False)
class Avoided:
    """A worker that the job is kept from, by which event's position, and until when."""

    worker_id: str
    until_us: int
    position: int


@dataclass(slots=True, eq=False)
class JobStory:
    """One job, as the log tells it.

    Attributes:
        phase: after the last event; `phases` what it became at which position.
        deadlines: (position, deadline) whenever it changed; `granted` likewise the sum of the extensions.
        live: the attempt that holds the lease.
        undecided: an attempt has ended, and the next event has to say what becomes of the job.
        stop_until_us: end of the grace of a cancellation.
        avoided: workers it is kept from.
        failures, interruptions: counted as the semantics say.
        suspicious: workers whose leases were lost one after the other.
        ended: position of its end; 0: it lives.
    """

    id: str
    created: e.RecordedEvent
    origin: e.JobCreated
    phase: str = QUEUED
    events: list[e.RecordedEvent] = field(default_factory=list)
    phases: list[tuple[int, str]] = field(default_factory=list)
    deadlines: list[tuple[int, int | None]] = field(default_factory=list)
    granted: list[tuple[int, int]] = field(default_factory=list)
    tenures: list[Tenure] = field(default_factory=list)
    live: Tenure | None = None
    undecided: e.RecordedEvent | None = None
    stop_until_us: int | None = None
    avoided: list[Avoided] = field(default_factory=list)
    not_before_us: int | None = None
    failures: int = 0
    interruptions: int = 0
    suspicious: int = 0
    ended: int = 0
    outcome: e.Outcome | None = None

    @property
    def deadline_us(self) -> int | None:
        """The end of its time, as things stand."""
        return self.deadlines[-1][1]

    @property
    def granted_us(self) -> int:
        """The sum of its extensions, as things stand."""
        return self.granted[-1][1]

    @property
    def last_us(self) -> int:
        """When its last event was."""
        return self.events[-1].time_us


def value_at(steps: Sequence[tuple[int, T]], position: int) -> T | None:
    """What a list of (position, value) says of a position; None: nothing yet."""
    index = bisect_right(steps, position, key=lambda step: step[0])
    return steps[index - 1][1] if index else None


# Told of an event before it has its effect; returns what is wrong with it.
Rule = Callable[["Story", JobStory, e.RecordedEvent], str | None]


class Story:
    """A log, read.

    Attributes:
        jobs: by id, `tenures` by lease id.
        pauses: of each queue, (position, paused).
        violations: what the rules said.
    """

    def __init__(self, log: Iterable[e.RecordedEvent], rules: Mapping[type[e.Payload], Sequence[Rule]]) -> None:
        self.jobs: dict[str, JobStory] = {}
        self.tenures: dict[str, Tenure] = {}
        self.pauses: dict[str, list[tuple[int, bool]]] = {}
        self.violations: list[Violation] = []
        self._rules = rules
        for event in log:
            self._read(event)

    def live_twins(self, origin: e.JobCreated) -> Iterable[JobStory]:
        """Jobs of the same owner with the same specification that have not ended."""
        for job in self.jobs.values():
            if job.phase is not FINAL and are_twins(job.origin, origin):
                yield job

    def _read(self, event: e.RecordedEvent) -> None:
        kind, _, name = event.stream.partition("/")
        payload = event.payload
        if kind == "queue":
            if isinstance(payload, e.QueuePaused | e.QueueResumed):
                self.pauses.setdefault(name, []).append((event.position, isinstance(payload, e.QueuePaused)))
            return
        job = self.jobs.get(name)
        if job is None:
            if not isinstance(payload, e.JobCreated):
                self._note("events-are-legal", f"job {name} begins with {type(payload).__name__} at {event.position}")
                return
            job = _created(name, event, payload)
            self._judge(job, event)
            self.jobs[name] = job
            return
        self._judge(job, event)
        self._follow(job, event)
        job.events.append(event)

    def _judge(self, job: JobStory, event: e.RecordedEvent) -> None:
        for rule in self._rules.get(type(event.payload), ()):
            sentence = rule(self, job, event)
            if sentence is not None:
                what = f"{type(event.payload).__name__} of job {job.id} at position {event.position}"
                self._note(rule.__name__.replace("_", "-"), f"{what}: {sentence}")

    def _note(self, invariant: str, sentence: str) -> None:
        self.violations.append(Violation(invariant, sentence))

    def _follow(self, job: JobStory, event: e.RecordedEvent) -> None:
        """What an event makes of its job, be it allowed or not."""
        position = event.position
        match event.payload:
            case e.JobHeartbeat():
                if job.live is not None:
                    job.live.beats.append(event)
            case e.JobAssigned() as assigned:
                job.live = Tenure(
                    assigned.lease_id,
                    job,
                    assigned.attempt,
                    assigned.worker_id,
                    assigned.lease_us,
                    position,
                    event.time_us,
                )
                job.tenures.append(job.live)
                self.tenures[assigned.lease_id] = job.live
                job.not_before_us = None
                _turn(job, position, ASSIGNED)
            case e.JobStarted() as started:
                if job.live is not None:
                    job.live.started = position
                if started.deadline_us is not None:
                    job.deadlines.append((position, started.deadline_us))
                _turn(job, position, RUNNING)
            case e.JobExtended(requested_us=requested_us):
                job.granted.append((position, job.granted_us + requested_us))
                if job.deadline_us is not None:
                    job.deadlines.append((position, job.deadline_us + requested_us))
            case e.AssignmentDeclined() as declined:
                job.avoided.append(Avoided(declined.worker_id, declined.passed_over_until_us, position))
                _end(job, event)
                _turn(job, position, QUEUED)
            case e.AttemptFailed():
                job.failures += job.phase is not STOPPING
                job.suspicious = 0
                _end(job, event)
                job.undecided = event
            case e.AttemptReleased():
                job.interruptions += job.phase is not STOPPING
                job.suspicious = 0
                _end(job, event)
                job.undecided = event
            case e.LeaseExpired() as expired:
                job.interruptions += job.phase is not STOPPING
                job.suspicious += expired.suspicious
                _end(job, event)
                job.undecided = event
            case e.JobRequeued() as requeued:
                job.undecided = None
                job.not_before_us = requeued.not_before_us
                if requeued.banned_until_us is not None:
                    job.avoided.append(Avoided(requeued.worker_id, requeued.banned_until_us, position))
                _turn(job, position, QUEUED)
            case e.CancelRequested(until_us=until_us):
                job.stop_until_us = until_us
                _turn(job, position, STOPPING)
            case e.JobTerminated(outcome=outcome):
                job.undecided = None
                job.outcome, job.ended = outcome, job.ended or position
                _end(job, event)
                _turn(job, position, FINAL)
            case _:
                pass


def are_twins(one: e.JobCreated, other: e.JobCreated) -> bool:
    """Whether two jobs have the same owner and the same specification."""
    return (one.specification_digest, one.created_by, one.project) == (
        other.specification_digest,
        other.created_by,
        other.project,
    )


def _created(name: str, event: e.RecordedEvent, origin: e.JobCreated) -> JobStory:
    terms = origin.terms
    deadline = None
    if terms.basis is e.Basis.CREATED and terms.time_allocation_us is not None:
        deadline = event.time_us + terms.time_allocation_us
    return JobStory(
        name,
        event,
        origin,
        events=[event],
        phases=[(event.position, QUEUED)],
        deadlines=[(event.position, deadline)],
        granted=[(event.position, 0)],
    )


def _turn(job: JobStory, position: int, phase: str) -> None:
    job.phase = phase
    job.phases.append((position, phase))


def _end(job: JobStory, event: e.RecordedEvent) -> None:
    if job.live is not None:
        job.live.ended, job.live.end = event.position, event.payload
        job.live = None
