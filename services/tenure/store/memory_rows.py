"""The rows of the memory engine: jobs and queues as their events make them, and how they are found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from tenure.domain import events as e
from tenure.domain.job import Job, Origin, create, evolve
from tenure.domain.queue import Queue, evolve_queue
from tenure.domain.states import Phase
from tenure.projections.histories import NO_MARKS, Marks, mark
from tenure.projections.jobs import are_twins, due_of, twin_of
from tenure.store.matching import key_of, matches
from tenure.store.store import Candidate, JobFilter, JobOrder, QueueDepth, StoredJob


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job and where its history is."""

    stored: StoredJob
    marks: Marks


class MemoryRows:
    """What a log makes of its jobs and queues."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRow] = {}
        self.queues: dict[str, Queue] = {}
        # Live jobs in the order of their creation, and again by what makes them equal.
        self._live: dict[str, None] = {}
        self._twins: dict[int, dict[str, None]] = {}

    def apply(self, event: e.RecordedEvent) -> None:
        """Change the rows that an event changes.

        Raises:
            IllegalTransition: the event is not possible here.
        """
        _, _, name = event.stream.partition("/")
        payload = event.payload
        if isinstance(payload, e.QueueConfigured | e.QueuePaused | e.QueueResumed):
            self.queues[name] = evolve_queue(self.queues.get(name), name, payload, event.time_us)
            return
        if isinstance(payload, e.JobCreated):
            job = create(name, payload, event.time_us)
            stored = StoredJob(job=job, specification=payload.specification, created_position=event.position)
            row = JobRow(stored, NO_MARKS)
            self._live[name] = None
            self._twins.setdefault(twin_of(job.origin), {})[name] = None
        else:
            row = self.jobs[name]
            job = evolve(row.stored.job, payload, event.time_us)
        self.jobs[name] = JobRow(replace(row.stored, job=job), mark(row.marks, event.version, type(payload)))
        if job.phase is Phase.FINAL:
            del self._live[name]
            twins = self._twins[twin_of(job.origin)]
            del twins[name]
            if not twins:
                del self._twins[twin_of(job.origin)]

    def keep_fold(self, job: Job | None, queue: Queue | None) -> None:
        """Keep a caller's fold in place of ours, as other engines do: `verify` finds the one that is not the log's."""
        if job is not None:
            row = self.jobs[job.id]
            self.jobs[job.id] = JobRow(replace(row.stored, job=job), row.marks)
        elif queue is not None:
            self.queues[queue.name] = queue

    def twin(self, origin: Origin) -> str | None:
        """A live job of the same owner with the same specification."""
        for job_id in self._twins.get(twin_of(origin), ()):
            if are_twins(self.jobs[job_id].stored.job.origin, origin):
                return job_id
        return None

    def _live_jobs(self) -> Iterable[StoredJob]:
        """In the order of creation."""
        return (self.jobs[job_id].stored for job_id in self._live)

    def browse(
        self, wanted: JobFilter, order: JobOrder, after: tuple[int, int] | None, limit: int
    ) -> list[tuple[str, tuple[int, int]]]:
        """The ids of a page of jobs with their keys, and of one more where it is not the last."""
        keys = sorted(
            (key_of(row.stored.job, row.stored.created_position, order), job_id)
            for job_id, row in self.jobs.items()
            if matches(row.stored.job, wanted)
        )
        rest = [(job_id, key) for key, job_id in keys if after is None or key > after]
        return rest[: limit + 1]

    def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        """See `Store.candidates`."""
        ready = sorted(
            ((-stored.job.origin.priority, stored.created_position), stored.job.id)
            for stored in self._live_jobs()
            if stored.job.phase is Phase.QUEUED
            and stored.job.origin.queue == queue
            and (stored.job.not_before_us is None or stored.job.not_before_us <= now_us)
        )
        rest = [entry for entry in ready if after is None or entry[0] > after]
        return [Candidate(job=self.jobs[job_id].stored.job, place=place) for place, job_id in rest[:limit]]

    def count_ahead(self, queue: str, place: tuple[int, int], limit: int) -> int:
        """See `Store.count_ahead`."""
        waiting = (
            stored
            for stored in self._live_jobs()
            if stored.job.phase is Phase.QUEUED
            and stored.job.origin.queue == queue
            and (-stored.job.origin.priority, stored.created_position) < place
        )
        return sum(1 for _ in islice(waiting, limit))

    def leased(self, after_id: str, limit: int) -> list[Job]:
        """See `Store.leased`."""
        start = self.jobs[after_id].stored.created_position if after_id in self.jobs else 0
        held = [s.job for s in self._live_jobs() if s.job.lease is not None and s.created_position > start]
        return held[:limit]

    def due(self, until_us: int, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
        """See `Store.due`."""
        entries = ((due_of(stored.job), stored.job.id) for stored in self._live_jobs())
        known = sorted((at_us, job_id) for at_us, job_id in entries if at_us is not None and at_us <= until_us)
        return [entry for entry in known if after is None or entry > after][:limit]

    def depths(self) -> dict[str, QueueDepth]:
        """See `Store.queue_depths`."""
        depths: dict[str, QueueDepth] = {}
        for stored in self._live_jobs():
            origin = stored.job.origin
            depth = depths.get(origin.queue, QueueDepth())
            if stored.job.phase is Phase.QUEUED:
                oldest = origin.created_us if depth.oldest_us is None else min(depth.oldest_us, origin.created_us)
                depths[origin.queue] = replace(depth, waiting=depth.waiting + 1, oldest_us=oldest)
            else:
                depths[origin.queue] = replace(depth, active=depth.active + 1)
        return depths
