"""The workers this process has heard of: who they are, their slots, and which of them may be given a job.

A worker is (subject of its token, worker id). It outlives its streams, so that a slot stays busy over a broken
connection. Kept in memory only: after a restart workers introduce themselves again.
"""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenure.controlplane.folders import allowed, overlap
from tenure.controlplane.gone import Gone
from tenure.domain.job import Job
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from tenure.controlplane.session import Session

log = get_logger("workers")

MINUTE_NS = 60_000_000_000
# So many failures in a row, on different jobs, and a worker gets none for a while.
SUSPECT_FAILURES = 5
SUSPECT_NS = 10 * MINUTE_NS
# A process that comes back after another one took its place, so often within a minute, shares its id with that one.
CLONE_RETURNS = 3
CLONE_NS = MINUTE_NS
MAX_HELLOS = 16
# Ended leases of a worker whose job is remembered, besides four a slot: a report of them may be repeated.
PAST_LEASES = 64

WorkerKey = tuple[str, str]


@dataclass(slots=True, eq=False)
class Slot:
    """A slot in use: by which job, on which absolute paths, and whether the worker was told that it may begin;
    `unsure`: its lease is over, and it is not known what the worker was told of that."""

    job_id: str
    paths: tuple[str, ...] = ()
    confirmed: bool = False
    unsure: bool = False


class Worker:
    """One worker.

    Attributes:
        generation: grows with every Hello; what was found out about the worker before does not hold after.
        busy: slots in use, by lease.
        past: jobs of leases that are over, by lease, the oldest first.
        left: what `Workers.changes` was when its last stream had ended.
        since_us: when its stream began, or ended.
        suspect_until_ns, suspect_until_us: it gets no job before, by both clocks; None: it is not suspect.
    """

    __slots__ = (
        "_failed_jobs",
        "_hello_leases",
        "_hello_paths",
        "_hellos",
        "_quarantine_ns",
        "agent_version",
        "busy",
        "draining",
        "generation",
        "hostname",
        "id",
        "incarnation",
        "labels",
        "left",
        "past",
        "queues",
        "roots",
        "session",
        "since_us",
        "slots",
        "subject",
        "suspect_until_ns",
        "suspect_until_us",
    )  # fmt: skip

    def __init__(self, key: WorkerKey) -> None:
        self.subject, self.id = key
        self.session: Session | None = None
        self.generation = self.left = 0
        self.incarnation = ""
        self.queues: tuple[str, ...] = ()
        self.slots = 0
        self.labels: dict[str, str] = {}
        self.roots: tuple[str, ...] = ()
        self.hostname = ""
        self.agent_version = ""
        self.draining = False
        self.since_us = 0
        self.busy: dict[str, Slot] = {}
        self.past: OrderedDict[str, str] = OrderedDict()
        self.suspect_until_ns: int | None = None
        self.suspect_until_us: int | None = None
        self._failed_jobs: tuple[str, ...] = ()
        self._hellos: list[tuple[int, str]] = []
        self._quarantine_ns = 0
        self._hello_paths: tuple[str, ...] = ()
        self._hello_leases: set[str] = set()

    @property
    def key(self) -> WorkerKey:
        """Subject and id."""
        return self.subject, self.id

    @property
    def free(self) -> int:
        """Slots that are not in use."""
        return max(0, self.slots - len(self.busy))

    @property
    def available(self) -> bool:
        """It may be given a job, if one fits."""
        return (
            self.session is not None
            and not self.draining
            and self.suspect_until_ns is None
            and len(self.busy) < self.slots
        )

    def connected_at(self, changes: int) -> bool:
        """Whether it was connected when `Workers.changes` was that, and has not introduced itself since."""
        return self.generation <= changes and (self.session is not None or self.left > changes)

    def introduce(self, hello: pb.Hello, queues: tuple[str, ...], generation: int) -> None:
        """Take over what Hello says; `busy` is rebuilt by whoever gives the verdicts."""
        self.generation = generation
        self.incarnation = hello.incarnation
        self.queues = queues
        self.slots = hello.slots
        self.labels = dict(hello.labels)
        self.roots = tuple(posixpath.normpath(root) for root in hello.allowed_roots)
        self.hostname, self.agent_version = hello.hostname, hello.agent_version
        self.draining = hello.draining
        self.busy = {}
        self._hello_paths = tuple(posixpath.normpath(path) for path in hello.paths_in_use)
        self._hello_leases = {held.lease_id for held in hello.leases}
        if not self._hello_leases:
            self._hello_paths = ()

    def cloned(self, incarnation: str, now_ns: int) -> bool:
        """Note a Hello; whether two processes use this worker's id in turn, so that this one is to be refused.

        The process that holds the stream keeps it and may come back; the others are refused until they have kept away
        for a while.
        """
        if incarnation == self.incarnation:
            return False
        if now_ns < self._quarantine_ns:
            self._quarantine_ns = now_ns + CLONE_NS
            return True
        recent = [hello for hello in self._hellos[-MAX_HELLOS:] if hello[0] > now_ns - MINUTE_NS]
        self._hellos = [*recent, (now_ns, incarnation)]
        before: set[str] = set()
        returns = 0
        for _, one in self._hellos:
            returns += one in before
            before.add(one)
        if returns < CLONE_RETURNS:
            return False
        self._quarantine_ns = now_ns + CLONE_NS
        self._hellos.clear()
        return True

    def fits(self, job: Job) -> bool:
        """Whether the job's absolute paths lie below the worker's roots and are not in use."""
        return allowed(job.origin.absolute_paths, self.roots) and not self.uses(job.origin.absolute_paths)

    def uses(self, paths: tuple[str, ...]) -> bool:
        """Whether one of the absolute paths is in use."""
        return overlap(paths, (*self._hello_paths, *(path for slot in self.busy.values() for path in slot.paths)))

    def occupy(self, lease_id: str, slot: Slot) -> None:
        """A slot is in use from now on."""
        self.busy[lease_id] = slot

    def release(self, lease_id: str) -> bool:
        """A slot is free again; False: it was not in use."""
        if self.busy.pop(lease_id, None) is None:
            return False
        self._hello_leases.discard(lease_id)
        if not self._hello_leases:
            self._hello_paths = ()
        return True

    def remember(self, lease_id: str, job_id: str) -> None:
        """A lease is over; reports of it may still come."""
        self.past[lease_id] = job_id
        while len(self.past) > PAST_LEASES + 4 * self.slots:
            self.past.popitem(last=False)

    def failed(self, job_id: str) -> bool:
        """An attempt failed on it; whether that makes it suspect."""
        if job_id not in self._failed_jobs:
            self._failed_jobs = (*self._failed_jobs, job_id)
        if len(self._failed_jobs) < SUSPECT_FAILURES:
            return False
        self._failed_jobs = ()
        return True

    def succeeded(self) -> None:
        """An attempt succeeded on it."""
        self._failed_jobs = ()


class Workers:
    """All workers, and for each queue those that have a free slot, the one that was used least recently first.

    `changes` grows with every Hello, whose generation it is, and with every stream that ends.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: dict[WorkerKey, Worker] = {}
        self._gone = Gone(clock)
        self.changes = 0
        self._serving: dict[str, dict[Worker, None]] = {}
        self.pools: dict[str, OrderedDict[Worker, None]] = {}
        self.on_room: Callable[[Worker], None] = lambda worker: None

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: WorkerKey) -> Worker:
        """The worker of that key; made, if it was never heard of."""
        worker = self._all.get(key)
        if worker is None:
            worker = self._all[key] = Worker(key)
        return worker

    def connected(self, worker: Worker, hello: pb.Hello, queues: tuple[str, ...], session: Session) -> None:
        """A stream of the worker begins. It gets no job before `ready`."""
        self._leave(worker)
        self.changes += 1
        worker.introduce(hello, queues, self.changes)
        worker.session = session
        worker.since_us = self._clock.wall_us()
        self._gone.discard(worker.key)
        for queue in queues:
            self._serving.setdefault(queue, {})[worker] = None

    def ready(self, worker: Worker) -> None:
        """What the worker holds is known: it may be given jobs."""
        self._place(worker)
        self.on_room(worker)

    def disconnected(self, worker: Worker, session: Session) -> None:
        """A stream of the worker has ended; not to be told of one that was superseded."""
        if worker.session is not session:
            return
        self._leave(worker)
        worker.session = None
        worker.since_us = self._clock.wall_us()
        self.changes += 1
        worker.left = self.changes
        self._gone.add(worker)
        self.forget()

    def forget(self) -> None:
        """Drop workers that went long ago, or that are too many."""
        for key in self._gone.forget():
            del self._all[key]

    def occupy(self, worker: Worker, lease_id: str, slot: Slot) -> None:
        """A slot of the worker is in use from now on."""
        worker.occupy(lease_id, slot)
        if not worker.available:
            self._place(worker)

    def release(self, worker: Worker, lease_id: str) -> None:
        """A slot of the worker is free again; no harm if it was."""
        if worker.release(lease_id) and worker.available:
            self._place(worker)
            self.on_room(worker)

    def resize(self, worker: Worker, slots: int) -> None:
        """The worker runs so many attempts at once; with fewer than it holds, those it holds go on."""
        worker.slots = slots
        self._place(worker)
        if worker.available:
            self.on_room(worker)

    def drain(self, worker: Worker) -> None:
        """The worker gets no more jobs on this stream."""
        worker.draining = True
        self._place(worker)

    def suspect(self, worker: Worker) -> None:
        """The worker gets no jobs for a while; `cleared` ends that."""
        log.warning("worker_suspect", worker_id=worker.id, subject=worker.subject, failures=SUSPECT_FAILURES)
        worker.suspect_until_ns = self._clock.monotonic_ns() + SUSPECT_NS
        worker.suspect_until_us = self._clock.wall_us() + SUSPECT_NS // 1000
        self._place(worker)

    def cleared(self, worker: Worker) -> None:
        """The time of suspicion is over, unless it was begun anew."""
        if worker.suspect_until_ns is not None and worker.suspect_until_ns <= self._clock.monotonic_ns():
            worker.suspect_until_ns = worker.suspect_until_us = None
            self.ready(worker)

    def used(self, worker: Worker, queue: str) -> None:
        """The worker got a job of the queue: the others come first now."""
        pool = self.pools.get(queue)
        if pool is not None and worker in pool:
            pool.move_to_end(worker)

    def of_queue(self, queue: str) -> tuple[int, int]:
        """How many workers are connected for a queue, and how many free slots they have."""
        serving = self._serving.get(queue, {})
        return len(serving), sum(worker.free for worker in serving if worker.available)

    def _place(self, worker: Worker) -> None:
        """Put the worker into the pools of its queues, or take it out, as it may be given jobs."""
        available = worker.available
        for queue in worker.queues:
            pool = self.pools.get(queue)
            if available:
                if pool is None:
                    pool = self.pools[queue] = OrderedDict()
                pool.setdefault(worker)
            elif pool is not None and worker in pool:
                del pool[worker]
                if not pool:
                    del self.pools[queue]

    def _leave(self, worker: Worker) -> None:
        session, worker.session = worker.session, None
        self._place(worker)
        worker.session = session
        for queue in worker.queues:
            if (serving := self._serving.get(queue)) is not None:
                serving.pop(worker, None)
                if not serving:
                    del self._serving[queue]
