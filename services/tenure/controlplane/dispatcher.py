"""Gives waiting jobs to workers with a free slot.

In rounds: choose what goes where, commit all of it at once, and only then send. A round takes what has gathered while
the one before was being committed, so a busy server needs few commits and an idle one gives a job out at once. Nothing
is polled: a round begins when a job comes or a worker has room.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass

from tenure.controlplane.assignments import assignment_of, size_of
from tenure.controlplane.handler import Handler, Step
from tenure.controlplane.leases import Leases
from tenure.controlplane.matching import Matching
from tenure.controlplane.ready import PAGE, Place, QueueHead, Ready
from tenure.controlplane.timers import Timers
from tenure.controlplane.upkeep import ACTOR, Upkeep
from tenure.controlplane.workers import Slot, Worker, Workers
from tenure.domain import commands as c
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job
from tenure.domain.queue import Queue
from tenure.domain.states import Phase
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.store import CommitOutcomeUnknown, Store, StoreError

log = get_logger("dispatcher")

BATCH = 256
# After a commit that failed, wait so long.
PAUSE_S = 1.0
# Specifications up to this are kept with jobs that were just created; others are read again.
KEPT_SPECIFICATION = 4096


@dataclass(slots=True, eq=False)
class Given:
    """A job on its way to a worker. `generation` is the worker's when it was chosen."""

    ready: Ready
    worker: Worker
    generation: int
    lease_id: str


class Dispatcher:
    """The one that assigns jobs in this process."""

    def __init__(
        self,
        *,
        handler: Handler,
        store: Store,
        clock: Clock,
        ids: Ids,
        workers: Workers,
        leases: Leases,
        timers: Timers,
        upkeep: Upkeep,
    ) -> None:
        self._handler = handler
        self._store = store
        self._clock = clock
        self._ids = ids
        self._workers = workers
        self._leases = leases
        self._timers = timers
        self._upkeep = upkeep
        self._heads: dict[str, QueueHead] = {}
        self._given: dict[str, Given] = {}
        # Waiting jobs whose place is not known.
        self._unplaced: dict[str, None] = {}
        self._wake = asyncio.Event()
        # Set while nothing is being given out.
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        workers.on_room = self._room
        timers.on_retry = self.find

    # --- what happens elsewhere -------------------------------------------------------------------------------------

    def created(self, job: Job, specification: bytes, position: int) -> None:
        """A job was created; `position` is that of its JobCreated."""
        head = self._heads.get(job.origin.queue)
        if head is None:
            return
        kept = specification if len(specification) <= KEPT_SPECIFICATION else None
        head.put(Ready(job, (-job.origin.priority, position), kept))
        self._wake.set()

    def queued(self, job: Job, place: Place | None) -> None:
        """A job waits again."""
        head = self._heads.get(job.origin.queue)
        if head is None or (job.not_before_us is not None and job.not_before_us > self._clock.wall_us()):
            return  # found when a worker comes, or when its wait is over
        if place is None:
            self.find(job.id)
            return
        head.put(Ready(job, place))
        self._wake.set()

    def find(self, job_id: str) -> None:
        """A job may wait, its place is not known."""
        self._unplaced[job_id] = None
        self._wake.set()

    def gone(self, job: Job) -> None:
        """A job does not wait any more."""
        if (head := self._heads.get(job.origin.queue)) is not None:
            head.drop(job.id)

    def claim(self, lease_id: str) -> Given | None:
        """What was given out under this lease and is being committed."""
        return self._given.pop(lease_id, None)

    def joined(self, worker: Worker) -> None:
        """A worker has introduced itself: its queues are served from now on."""
        for queue in worker.queues:
            self._heads.setdefault(queue, QueueHead(queue))

    def left(self, worker: Worker) -> None:
        """A worker's stream has ended: queues that nobody serves any more are forgotten."""
        for queue in worker.queues:
            if not self._workers.of_queue(queue)[0]:
                self._heads.pop(queue, None)

    def queue_changed(self, queue: Queue) -> None:
        """A queue was paused or resumed."""
        if not queue.paused:
            self._wake.set()

    async def given_out(self) -> None:
        """Return when what is being given out at this instant has been, or was taken back."""
        await self._idle.wait()

    def stop(self) -> None:
        """Give out nothing more."""
        self._stopped = True

    def _room(self, worker: Worker) -> None:
        """A worker has a free slot, perhaps a folder too: what it was not looked at for is looked at again."""
        for queue in worker.queues:
            if (head := self._heads.get(queue)) is not None:
                head.room(worker.generation)
        self._wake.set()

    # --- rounds -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Give out jobs, for ever.

        Raises:
            CommitOutcomeUnknown: the process is to end.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while not self._stopped and await self._round():
                    pass
            except CommitOutcomeUnknown:
                raise
            except (StoreError, Refused) as error:
                log.warning("dispatch_paused", seconds=PAUSE_S, error=type(error).__name__)
                await self._clock.sleep(PAUSE_S)
                self._wake.set()

    async def _round(self) -> bool:
        """Give out what can be; False: there is nothing more to be done."""
        if self._unplaced:
            await self._place()
        for queue in list(self._workers.pools):
            head = self._heads.get(queue)
            if head is not None and head.low and not self._paused(queue):
                await self._read(head)
        chosen = self._choose()
        if chosen:
            self._idle.clear()
            try:
                await self._give_out(chosen)
            finally:
                self._idle.set()
        return bool(chosen or self._unplaced) or any(
            head.low
            for queue in self._workers.pools
            if (head := self._heads.get(queue)) is not None and not self._paused(queue)
        )

    def _paused(self, queue: str) -> bool:
        known = self._handler.queues.get(queue)
        return known is not None and known.paused

    async def _read(self, head: QueueHead) -> None:
        try:
            page = await self._store.candidates(head.queue, head.begin_page(), PAGE, self._clock.wall_us())
        except (StoreError, Refused):
            head.no_page()
            raise
        head.add_page(page)

    async def _place(self) -> None:
        """Find the places of jobs that have come back."""
        job_ids = list(self._unplaced)[:PAGE]
        stored = await self._store.load_jobs(job_ids)
        now_us = self._clock.wall_us()
        for job_id in job_ids:
            self._unplaced.pop(job_id, None)
            found = stored.get(job_id)
            if found is None or found.job.phase is not Phase.QUEUED:
                continue
            job = found.job
            head = self._heads.get(job.origin.queue)
            if head is not None and (job.not_before_us is None or job.not_before_us <= now_us):
                head.put(Ready(job, (-job.origin.priority, found.created_position), found.specification))

    def _choose(self) -> list[Given]:
        """Which jobs go to which workers: in one order over all queues, each to the worker used least recently."""
        queues: list[tuple[Place, str, QueueHead]] = []
        for queue in self._workers.pools:
            head = self._heads.get(queue)
            if head is not None and not self._paused(queue) and (first := head.first()) is not None:
                queues.append((first.place, queue, head))
        heapq.heapify(queues)
        chosen: list[Given] = []
        now_us = self._clock.wall_us()
        matching = Matching(self._workers.pools, now_us)
        while queues and len(chosen) < BATCH:
            _, queue, head = queues[0]
            ready = head.first()
            if ready is None or queue not in self._workers.pools:
                if head.low:
                    break  # what is read next may come before what other queues have
                heapq.heappop(queues)
                continue
            worker = matching.worker(ready, queue)
            if worker is None:
                self._park(head, ready, queue, now_us)
            else:
                chosen.append(self._reserve(head.take(), worker, queue))
            following = head.first()
            if following is not None:
                heapq.heapreplace(queues, (following.place, queue, head))
        return chosen

    def _reserve(self, ready: Ready, worker: Worker, queue: str) -> Given:
        given = Given(ready, worker, worker.generation, self._ids.new())
        self._given[given.lease_id] = given
        self._workers.used(worker, queue)
        self._workers.occupy(worker, given.lease_id, Slot(ready.job.id, ready.job.origin.absolute_paths))
        return given

    def _park(self, head: QueueHead, ready: Ready, queue: str, now_us: int) -> None:
        """Put a job aside until a worker comes that was not looked at, or a ban ends."""
        job = ready.job
        bans = [one for one in job.avoided if one.until_us > now_us]
        banned = {one.worker_id for one in bans}
        if banned:
            ready.unfit.update(worker.generation for worker in self._workers.pools[queue] if worker.id in banned)
        until_us = min((one.until_us for one in bans), default=None)
        if head.park() is None:
            # One instant for all that are passed over, as there may be any number of them.
            if until_us is not None and (head.recheck_us is None or until_us < head.recheck_us):
                head.recheck_us = until_us
                self._timers.at(until_us, lambda: self._start_over(head))
        elif until_us is not None and ready.recheck_us != until_us:
            ready.recheck_us = until_us
            self._timers.at(until_us, lambda: self._recheck(head, ready))

    def _start_over(self, head: QueueHead) -> None:
        head.recheck_us = None
        head.start_over()
        self._wake.set()

    def _recheck(self, head: QueueHead, ready: Ready) -> None:
        ready.unfit.clear()
        head.reconsider(ready)
        self._wake.set()

    async def _give_out(self, chosen: list[Given]) -> None:
        try:
            await self._specifications(chosen)
            steps = [
                Step(
                    job_id=one.ready.job.id,
                    command=c.Assign(lease_id=one.lease_id, worker_id=one.worker.id, subject=one.worker.subject),
                )
                for one in chosen
            ]
            executed = await self._handler.execute(steps, actor=ACTOR, partial=True)
        except (StoreError, Refused):
            for one in chosen:
                self._take_back(one)
                self.find(one.ready.job.id)
            raise
        for one, outcome in zip(chosen, executed.jobs, strict=True):
            self._given.pop(one.lease_id, None)
            if isinstance(outcome, Job):
                self._send(one, outcome)
            else:
                self._take_back(one)
                if outcome.reason is not Reason.JOB_FINAL:
                    self.find(one.ready.job.id)
        for session in dict.fromkeys(one.worker.session for one in chosen):
            if session is not None:
                session.flush()

    async def _specifications(self, chosen: list[Given]) -> None:
        """Read what is not at hand, before the commit: what was assigned is to be sent without delay."""
        missing = [one for one in chosen if one.ready.specification is None]
        if missing:
            stored = await self._store.load_jobs([one.ready.job.id for one in missing])
            for one in missing:
                if (found := stored.get(one.ready.job.id)) is not None:
                    one.ready.specification = found.specification

    def _send(self, given: Given, job: Job) -> None:
        """Hand a durable assignment to the worker's stream, unless one of the two has gone meanwhile."""
        worker = given.worker
        live = self._leases.get(given.lease_id)
        if live is None:
            self._take_back(given)
            return
        session = worker.session
        if session is None or worker.generation != given.generation:
            self._upkeep.add(job.id, c.Decline(lease_id=given.lease_id, reason="the worker's stream has ended"))
            return
        specification = given.ready.specification or b""
        session.outbox.assign(assignment_of(job, live, specification), size_of(job, specification))

    def _take_back(self, given: Given) -> None:
        self._given.pop(given.lease_id, None)
        if given.worker.generation == given.generation:
            self._workers.release(given.worker, given.lease_id)
