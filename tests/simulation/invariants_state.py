"""What must hold inside a server whenever it has nothing to write: its memory is the fold of the durable log.

The only judge that looks at the product from inside, and so the only one that runs while the world does. It folds the
log with the product's own `evolve`: that one is judged elsewhere, here it is what everything else is held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenure.domain import events as e
from tenure.domain.job import Job, create, evolve
from tenure.domain.states import Phase
from tests.simulation.invariants_story import Violation

STATE = "state-is-the-fold"


class StateJudge:
    """Looks at one world's servers, one after the other.

    Attributes:
        violations: what was found.
        looks: how often there was something to look at.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.looks = 0
        self._jobs: dict[str, Job] = {}
        self._folded = 0
        self._seen: tuple[object, int] | None = None

    def look(self, services: Any, store: Any, log: Sequence[e.RecordedEvent]) -> None:
        """Judge a server that stands still at this instant; nothing is done while it is writing.

        Args:
            services: its `Services`.
            store: its `MemoryStore`, which says whether it is `idle`.
            log: what is durable.
        """
        handler = services.handler
        if self._seen == (services, len(log)) or not store.idle or handler._running or len(handler._locks):
            return
        fresh = self._seen is None or self._seen[0] is not services
        self._seen = services, len(log)
        self.looks += 1
        changed = self._fold(log)
        if fresh:
            changed = set(self._jobs)
        self._rows(store, changed, len(log))
        self._cache(handler, changed)
        if services.workers.loaded.is_set():
            self._leases(services.workers._leases)

    def _fold(self, log: Sequence[e.RecordedEvent]) -> set[str]:
        changed: set[str] = set()
        for event in log[self._folded :]:
            kind, _, job_id = event.stream.partition("/")
            if kind != "job":
                continue
            changed.add(job_id)
            payload: Any = event.payload
            job = self._jobs.get(job_id)
            if job is None:
                self._jobs[job_id] = create(job_id, payload, event.time_us)
            else:
                self._jobs[job_id] = evolve(job, payload, event.time_us)
        self._folded = len(log)
        return changed

    def _rows(self, store: Any, changed: set[str], position: int) -> None:
        """State = fold(log): the rows that readers see (promise 6)."""
        if store.head().position != position:
            self._note(f"the store is at position {store.head().position}, the log at {position}")
            return
        for job_id in sorted(changed):
            row = store._rows.jobs.get(job_id)
            if row is None or row.stored.job != self._jobs[job_id]:
                self._note(f"the row of job {job_id} is not what its events make of it")

    def _cache(self, handler: Any, changed: set[str]) -> None:
        """The jobs that commands are decided on."""
        for job_id, job in handler._cache.items():
            if job_id not in self._jobs:
                self._note(f"the server knows job {job_id}, which is not in the log")
            elif job_id in changed and job != self._jobs[job_id]:
                self._note(f"the server has job {job_id} at version {job.version}, not as the log has it")

    def _leases(self, leases: Any) -> None:
        """The leases that are timed: those that are live in the log, no more and no less."""
        live = {job.lease.lease_id: job for job in self._jobs.values() if job.lease is not None}
        for one in leases:
            job = live.pop(one.lease_id, None)
            if job is None:
                self._note(f"the server times lease {one.lease_id} of job {one.job_id}, which is over")
            elif (one.started, one.stopping, one.expires_us) != (
                job.phase is not Phase.ASSIGNED,
                job.phase is Phase.STOPPING,
                job.expires_us,
            ):
                self._note(f"what the server knows of lease {one.lease_id} is not what the log says of job {job.id}")
        for lease_id, job in live.items():
            self._note(f"lease {lease_id} of job {job.id} is live in the log, and nobody times it")

    def _note(self, sentence: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(Violation(STATE, sentence))
