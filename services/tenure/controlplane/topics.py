"""Jobs whose output somebody follows: what the follower has to know of the job, kept up to date by every commit.

A commit of another process is found by reading the job again now and then.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tenure.controlplane.changes import Change
from tenure.controlplane.feeds import Bell
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.states import Phase
from tenure.runtime.clock import Clock
from tenure.store.store import Store

READ_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an attempt: when, by the loop's clock, and whether its worker had not taken it."""

    at_s: float
    declined: bool


class Topic:
    """One job.

    Attributes:
        job: as it is now; None: there is no such job.
        bell: rung at every change.
        ended: attempts that are over, as far as that is known; of a job with very many not the middle ones.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.job: Job | None = None
        self.bell = Bell()
        self.ended: dict[int, Ended] = {}
        self.users = 0
        self.read_s = 0.0

    @property
    def final(self) -> bool:
        """The job has ended."""
        return self.job is None or self.job.phase is Phase.FINAL

    @property
    def attempts(self) -> int:
        """Attempts there were."""
        return self.job.attempt if self.job is not None else 0

    def live(self, attempt: int) -> str | None:
        """The lease of an attempt that is not over; None: it is, or has not begun."""
        lease = self.job.lease if self.job is not None else None
        return lease.lease_id if lease is not None and lease.attempt == attempt else None

    def latest(self) -> int:
        """The latest attempt that was not declined; 0: there is none."""
        number = self.attempts
        while number and (ended := self.ended.get(number)) is not None and ended.declined:
            number -= 1
        return number


class Topics:
    """All of them, as long as somebody follows."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._all: dict[str, Topic] = {}

    async def open(self, job_id: str) -> Topic:
        """The topic of a job, read from the store; `close` it.

        Raises:
            StoreError: it cannot be read.
        """
        topic = self._all.setdefault(job_id, Topic(job_id))
        topic.users += 1
        try:
            await self._read(topic)
        except BaseException:
            self.close(topic)
            raise
        return topic

    def close(self, topic: Topic) -> None:
        """Somebody follows no more."""
        topic.users -= 1
        if not topic.users:
            del self._all[topic.job_id]

    async def refresh(self, topic: Topic) -> None:
        """Read the job again if that was long ago.

        Raises:
            StoreError: it cannot be read.
        """
        if _now_s() - topic.read_s >= READ_AGAIN_S:
            await self._read(topic)

    def changed(self, change: Change) -> None:
        """Follow a commit."""
        topic = self._all.get(change.after.id)
        if topic is None:
            return
        before = change.before.lease if change.before is not None else None
        after = change.after.lease
        if before is not None and (after is None or after.lease_id != before.lease_id):
            declined = any(isinstance(event.payload, e.AssignmentDeclined) for event in change.events)
            topic.ended[before.attempt] = Ended(_now_s(), declined)
        topic.job = change.after
        topic.bell.ring()

    def ring(self, job_id: str) -> None:
        """Wake those who follow a job."""
        topic = self._all.get(job_id)
        if topic is not None:
            topic.bell.ring()

    async def _read(self, topic: Topic) -> None:
        view = (await self._store.view_jobs([topic.job_id])).get(topic.job_id)
        topic.read_s = _now_s()
        if view is None:
            return
        for row in view.attempts:
            if row.ended_us is not None and row.number not in topic.ended:
                ago_s = max(0, self._clock.wall_us() - row.ended_us) / 1e6
                topic.ended[row.number] = Ended(topic.read_s - ago_s, row.end == e.AssignmentDeclined.__name__)
        # Changes may have come meanwhile.
        if topic.job is None or topic.job.version < view.stored.job.version:
            topic.job = view.stored.job


def _now_s() -> float:
    return asyncio.get_running_loop().time()
