"""The leases that are live, and when each of them runs out. In memory: the log knows who holds a lease, not who was
heard of when.

Everything that counts is monotonic time. A lease that nobody has accepted lasts for its accept window, an accepted one
for its length since it was last heard of. Leases of one length run out in the order in which they were heard of, so
they are kept in one queue a length: a beat costs the same however many there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenure.domain import commands as c
from tenure.domain.job import Job, Lease
from tenure.domain.states import Phase
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger

if TYPE_CHECKING:
    from tenure.controlplane.workers import Worker

log = get_logger("leases")

NS_A_US = 1000
SECOND_NS = 1_000_000_000
# Taken back when it is not accepted within this, or within half its length.
ACCEPT_WITHIN_US = 10_000_000
# After a start every lease lasts at least so long: the silence was ours.
START_GRACE_NS = 60 * SECOND_NS
# A lease whose end could not be written down is tried again after this.
RETRY_NS = SECOND_NS
# Leases that run out within this of each other run out together …
TOGETHER_NS = SECOND_NS
# … and more than so many at once, and than so large a part of all, were probably lost by us.
MASS_COUNT = 3
MASS_PART = 0.3


@dataclass(slots=True, kw_only=True, eq=False)
class Live:
    """One live lease.

    Attributes:
        worker: who holds it; None while it was read from the log and its worker has not come back.
        subject: of its worker's token, as the log has it; empty: the log is older than that.
        place: place of its job in the queue, `(-priority, position)`; None when not known.
        expires_us, due_us, stop_us: of the job: its deadline, when time ends it next, its stop signal (wall time).
        accepted: the worker was told that it holds the lease; before that it may not begin.
        started, stopping: the command runs; its job is being cancelled.
        closing: its worker is reporting its end at this moment.
        ending: it has run out, and that is being written down: from then on nobody is told that it is held.
        passed_over: beats of the worker's present stream that were not answered for that.
        warned_us: the deadline of which the worker was told that it is near.
        beat: what was last heard, for the log.
        heard_ns: when the worker was last heard of with it.
        recorded_ns: when a beat was last written down, or is about to be.
        since_ns, patience_ns: it runs out so long after that instant.
        braked: it ran out once and was given its length again.
    """

    lease_id: str
    job_id: str
    attempt: int
    worker_id: str
    length_ns: int
    interval_us: int
    subject: str = ""
    worker: Worker | None = None
    place: tuple[int, int] | None = None
    expires_us: int | None = None
    due_us: int | None = None
    stop_us: int | None = None
    accepted: bool = False
    started: bool = False
    stopping: bool = False
    closing: bool = False
    ending: bool = False
    passed_over: int = 0
    warned_us: int | None = None
    beat: c.Beat | None = None
    heard_ns: int = 0
    recorded_ns: int | None = None
    since_ns: int = 0
    patience_ns: int = 0
    braked: bool = False

    @property
    def ends_ns(self) -> int:
        """When it runs out unless it is heard of."""
        return self.since_ns + self.patience_ns

    def follow(self, job: Job) -> None:
        """Take over what the fold of the job says."""
        self.started = job.phase is not Phase.ASSIGNED
        self.stopping = job.phase is Phase.STOPPING
        self.expires_us = job.expires_us
        self.due_us = job.due_us
        self.stop_us = job.stop_signal_us


@dataclass(slots=True, kw_only=True)
class Sweep:
    """What has run out: leases that nobody accepted in time, and leases that were not heard of."""

    unaccepted: list[Live] = field(default_factory=list)
    silent: list[Live] = field(default_factory=list)


def accept_within_us(length_us: int) -> int:
    """For how long a lease of that length waits to be accepted."""
    return min(ACCEPT_WITHIN_US, length_us // 2)


class Leases:
    """All live leases of this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: dict[str, Live] = {}
        self._by_job: dict[str, Live] = {}
        # Read from the log and not yet named by their worker, by worker id.
        self._unclaimed: dict[str, dict[str, Live]] = {}
        self._waiting: dict[int, OrderedDict[str, Live]] = {}
        self._held = False
        self.on_earlier: Callable[[int], None] = lambda due_ns: None
        self.on_accepted: Callable[[Live], None] = lambda live: None

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Live]:
        return iter(self._all.values())

    def get(self, lease_id: str) -> Live | None:
        """The live lease with this id."""
        return self._all.get(lease_id)

    def of_job(self, job_id: str) -> Live | None:
        """The live lease of a job."""
        return self._by_job.get(job_id)

    def held_by(self, worker: Worker, lease_id: str) -> Live | None:
        """The live lease with this id, if it is this worker's."""
        live = self._all.get(lease_id)
        return live if live is not None and live.worker is worker else None

    def any_ending(self, lease_ids: Iterable[str]) -> bool:
        """The end of one of them is being written down, or waits for that."""
        return any(live is not None and live.ending for live in map(self._all.get, lease_ids))

    def unclaimed(self, worker_id: str, subject: str | None = None) -> list[Live]:
        """Leases of a worker of that id (and subject, where given) that no worker has claimed since the start."""
        found = self._unclaimed.get(worker_id, {}).values()
        return [live for live in found if subject is None or live.subject in ("", subject)]

    def beat_of(self, job: Job) -> c.Beat | None:
        """What was last heard of the job's live attempt."""
        live = self._by_job.get(job.id)
        if live is None or job.lease is None or live.lease_id != job.lease.lease_id:
            return None
        return live.beat

    def add(self, job: Job, lease: Lease, worker: Worker, place: tuple[int, int] | None) -> Live:
        """A lease has begun: it waits to be accepted."""
        live = self._make(job, lease)
        live.worker, live.place = worker, place
        self._enter(live, self._clock.monotonic_ns(), accept_within_us(lease.length_us) * NS_A_US)
        return live

    def adopt(self, job: Job, lease: Lease) -> Live:
        """A lease that somebody else gave out, as read from the log. It counts from now on, and as accepted."""
        live = self._make(job, lease)
        live.accepted = True
        self._unclaimed.setdefault(live.worker_id, {})[live.lease_id] = live
        self._enter(live, self._clock.monotonic_ns(), max(live.length_ns, START_GRACE_NS))
        return live

    def claim(self, live: Live, worker: Worker) -> None:
        """The worker of an adopted lease has come back."""
        live.worker = worker
        if (unclaimed := self._unclaimed.get(live.worker_id)) is not None:
            unclaimed.pop(live.lease_id, None)
            if not unclaimed:
                del self._unclaimed[live.worker_id]

    def accept(self, live: Live) -> None:
        """The worker takes it; from here on it must be heard of."""
        before, live.accepted = live.accepted, True
        self.heard(live)
        if not before:
            self.on_accepted(live)

    def heard(self, live: Live) -> None:
        """The worker was heard of with this lease, now."""
        now_ns = live.heard_ns = self._clock.monotonic_ns()
        if live.accepted:
            live.braked = False
            self._wait(live, now_ns, live.length_ns)

    def named(self, live: Live) -> None:
        """The worker named this lease as it connected: it lasts for its length at least.

        That takes nothing off the grace of a restart: Hello may have waited in the network until its worker, which was
        never answered, had given that stream up. Whoever goes on to speak on it has been answered.
        """
        live.passed_over = 0
        if self._clock.monotonic_ns() + live.length_ns >= live.ends_ns:
            self.heard(live)
            return
        live.heard_ns, live.braked = self._clock.monotonic_ns(), False

    def remove(self, live: Live) -> None:
        """The lease is over."""
        del self._all[live.lease_id]
        if self._by_job.get(live.job_id) is live:
            del self._by_job[live.job_id]
        if live.worker is None:
            unclaimed = self._unclaimed[live.worker_id]
            del unclaimed[live.lease_id]
            if not unclaimed:
                del self._unclaimed[live.worker_id]
        self._leave(live)

    def hold(self) -> None:
        """Let none run out any more: the server is stopping, and nobody can be heard of."""
        self._held = True

    def next_ns(self) -> int | None:
        """When the next lease runs out."""
        if self._held:
            return None
        return min((next(iter(waiting.values())).ends_ns for waiting in self._waiting.values()), default=None)

    def sweep(self) -> Sweep:
        """What has run out by now; each of it is given a moment more, for the case that its end cannot be written.

        Two brakes: a sweep that comes late by more than a quarter of a lease, and leases that run out in masses, are
        probably our own fault. The leases concerned are given their length again.
        """
        if self._held:
            return Sweep()
        now_ns = self._clock.monotonic_ns()
        due = [live for live in self._first() if live.ends_ns <= now_ns]
        if any(live.length_ns < 4 * (now_ns - live.ends_ns) for live in due):
            log.warning("leases_held", why="the sweep came late", leases=len(self._all))
            self._give_time(list(self._all.values()), now_ns)
            return Sweep()
        over = [live for live in due if not live.ending]
        sweep = Sweep(unaccepted=[live for live in over if not live.accepted])
        sweep.silent = self._brake([live for live in over if live.accepted], now_ns)
        for live in (*sweep.unaccepted, *sweep.silent, *(live for live in due if live.ending)):
            self._wait(live, now_ns, RETRY_NS)
        return sweep

    def _brake(self, silent: list[Live], now_ns: int) -> list[Live]:
        """Those of the silent leases that may end now."""
        had_more_time = [live for live in silent if live.braked]
        if len(had_more_time) == len(silent):
            return silent
        together = [live for live in self._first(now_ns + TOGETHER_NS) if live.accepted and not live.braked]
        if len(together) <= max(MASS_COUNT, MASS_PART * len(self._all)):
            return silent
        log.warning("leases_held", why="many ran out at once", leases=len(together), of=len(self._all))
        self._give_time(together, now_ns)
        for live in together:
            live.braked = True
        return had_more_time

    def _give_time(self, leases: Iterable[Live], now_ns: int) -> None:
        for live in leases:
            self._wait(live, now_ns, max(live.patience_ns, live.length_ns) if live.accepted else live.patience_ns)

    def _first(self, until_ns: int | None = None) -> Iterator[Live]:
        """Leases that run out until then (now, if not given), of each length in order."""
        limit_ns = self._clock.monotonic_ns() if until_ns is None else until_ns
        for waiting in list(self._waiting.values()):
            for live in waiting.values():
                if live.ends_ns > limit_ns:
                    break
                yield live

    def _make(self, job: Job, lease: Lease) -> Live:
        live = Live(
            lease_id=lease.lease_id,
            job_id=job.id,
            attempt=lease.attempt,
            worker_id=lease.worker_id,
            length_ns=lease.length_us * NS_A_US,
            interval_us=job.origin.terms.heartbeat_interval_us,
            subject=lease.subject,
            heard_ns=self._clock.monotonic_ns(),
        )
        live.follow(job)
        return live

    def _enter(self, live: Live, now_ns: int, patience_ns: int) -> None:
        self._all[live.lease_id] = live
        self._by_job[live.job_id] = live
        live.since_ns, live.patience_ns = now_ns, patience_ns
        self._waiting.setdefault(patience_ns, OrderedDict())[live.lease_id] = live
        self.on_earlier(live.ends_ns)

    def _wait(self, live: Live, now_ns: int, patience_ns: int) -> None:
        """Have it run out so long after now; `now_ns` never steps back, which keeps each queue in order."""
        if live.patience_ns == patience_ns:
            self._waiting[patience_ns].move_to_end(live.lease_id)
            live.since_ns = now_ns
            return
        self._leave(live)
        live.since_ns, live.patience_ns = now_ns, patience_ns
        self._waiting.setdefault(patience_ns, OrderedDict())[live.lease_id] = live
        self.on_earlier(live.ends_ns)

    def _leave(self, live: Live) -> None:
        waiting = self._waiting[live.patience_ns]
        del waiting[live.lease_id]
        if not waiting:
            del self._waiting[live.patience_ns]
