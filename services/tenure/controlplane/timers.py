"""What happens by itself when its time has come: deadlines and the warning before them, ends of grace and of waits,
leases that run out.

One task sleeps until the next instant, to the nanosecond. Firing twice, or for nothing, is harmless: a timer only has
the fold look again. Instants of jobs are wall time and are kept as such, so that a correction of the clock moves them;
what lies further ahead than the horizon stays in the store.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable

from tenure.controlplane.leases import Leases, Live
from tenure.controlplane.upkeep import Upkeep
from tenure.domain import commands as c
from tenure.domain.job import Job
from tenure.domain.states import Phase
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.logs import get_logger
from tenure.store.store import CommitOutcomeUnknown, Store, StoreError

log = get_logger("timers")

SECOND_NS = 1_000_000_000
HORIZON_US = 600_000_000
REFRESH_US = 300_000_000
# The clock may be corrected while we sleep, so nobody sleeps longer than this.
LONGEST_SLEEP_NS = 600 * SECOND_NS
# Soon after the start, so that a server that is started often forgets them too, and then now and again.
PURGE_FIRST_S, PURGE_EVERY_S = 60.0, 3600.0
REQUESTS_KEPT_US = 7 * 24 * 3600 * 1_000_000
PAGE = 1000
# Behind every id.
LAST_ID = "\U0010ffff"


class Timers:
    """All timers of the process.

    `on_near` is called when a lease's job is about to reach its deadline, `on_retry` with the id of a job whose wait
    for a retry may be over.
    """

    def __init__(self, *, store: Store, clock: Clock, leases: Leases, upkeep: Upkeep) -> None:
        self._store = store
        self._clock = clock
        self._leases = leases
        self._upkeep = upkeep
        self._jobs: list[tuple[int, str]] = []
        self._armed: dict[str, int] = {}
        # Due by monotonic time, and by wall time.
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._dated: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._horizon_us = 0
        self._sleep: asyncio.Task[None] | None = None
        self._until_ns = 0
        self.on_near: Callable[[Live], None] = lambda live: None
        self.on_retry: Callable[[str], None] = lambda job_id: None
        leases.on_earlier = self._earlier
        upkeep.on_done = self._done
        upkeep.on_failed = self._failed
        upkeep.on_refused = self._not_ended

    def after(self, span_ns: int, call: Callable[[], None]) -> None:
        """Call back after so many nanoseconds."""
        due_ns = self._clock.monotonic_ns() + span_ns
        heapq.heappush(self._calls, (due_ns, next(self._order), call))
        self._earlier(due_ns)

    def at(self, due_us: int, call: Callable[[], None]) -> None:
        """Call back when it is that late by the wall clock."""
        heapq.heappush(self._dated, (due_us, next(self._order), call))
        self._earlier(self._instant_ns(due_us))

    def watch(self, job: Job) -> None:
        """Take over what a job waits for; to be called whenever it has changed."""
        # Most jobs wait for nothing, and this is on the way of every commit.
        timeless = job.expires_us is None and job.not_before_us is None and job.stop_until_us is None
        due_us = None if timeless else _next_us(job, self._clock.wall_us())
        if due_us is None:
            if self._armed:
                self._armed.pop(job.id, None)
        elif due_us <= self._horizon_us:
            self._arm(job.id, due_us)

    async def look_again(self) -> None:
        """The wall clock was corrected, which moves instants of jobs: some may be due earlier than they seemed.

        Raises:
            CommitOutcomeUnknown: the process is to end.
        """
        self._earlier(self._next_ns())
        if self._horizon_us < self._clock.wall_us() + REFRESH_US:
            await self._try(self.load, "horizon_not_read")

    async def load(self) -> None:
        """Take over from the store what falls due before the horizon, which moves on with it."""
        before_us, until_us = self._horizon_us, self._clock.wall_us() + HORIZON_US
        after = (before_us, LAST_ID) if before_us else None
        # Before reading, so that `watch` keeps what changes while the pages are read.
        self._horizon_us = max(before_us, until_us)
        try:
            while True:
                page = await self._store.due(until_us, after, PAGE)
                for due_us, job_id in page:
                    self._arm(job_id, due_us)
                if len(page) < PAGE:
                    return
                after = page[-1]
        except StoreError:
            self._horizon_us = before_us
            raise

    async def run(self) -> None:
        """Fire what falls due, for ever."""
        async with TaskGroup() as group:
            while True:
                self._fire()
                now_ns = self._clock.monotonic_ns()
                self._until_ns = min(self._next_ns(), now_ns + LONGEST_SLEEP_NS)
                self._sleep = group.create_task(self._clock.sleep((self._until_ns - now_ns) / SECOND_NS))
                await asyncio.wait({self._sleep})

    async def refresh(self) -> None:
        """Move the horizon on, for ever."""
        while True:
            await self._clock.sleep(REFRESH_US / 1_000_000)
            await self._try(self.load, "horizon_not_read")

    async def purge(self) -> None:
        """Forget old answers, for ever."""
        await self._clock.sleep(PURGE_FIRST_S)
        while True:
            await self._try(self._purge, "requests_not_purged")
            await self._clock.sleep(PURGE_EVERY_S)

    async def _purge(self) -> None:
        await self._store.purge_requests(self._clock.wall_us() - REQUESTS_KEPT_US)

    async def _try(self, work: Callable[[], Awaitable[None]], failure: str) -> None:
        try:
            await work()
        except CommitOutcomeUnknown:
            raise
        except StoreError as error:
            log.warning(failure, error=type(error).__name__)

    def _fire(self) -> None:
        now_us, now_ns = self._clock.wall_us(), self._clock.monotonic_ns()
        while self._jobs and self._jobs[0][0] <= now_us:
            due_us, job_id = heapq.heappop(self._jobs)
            if self._armed.get(job_id) == due_us:
                del self._armed[job_id]
                self._job_due(job_id, now_us)
        while self._calls and self._calls[0][0] <= now_ns:
            heapq.heappop(self._calls)[2]()
        while self._dated and self._dated[0][0] <= now_us:
            heapq.heappop(self._dated)[2]()
        sweep = self._leases.sweep()
        for live in sweep.unaccepted:
            live.ending = True
            self._upkeep.add(live.job_id, c.Decline(lease_id=live.lease_id, reason="not accepted in time"))
        for live in sweep.silent:
            silence_us = (now_ns - live.heard_ns) // 1000
            log.info("lease_expired", job_id=live.job_id, worker_id=live.worker_id, silence_s=silence_us // 1_000_000)
            command = c.ExpireLease(lease_id=live.lease_id, silence_us=silence_us, mass=live.braked)
            live.ending = True
            self._upkeep.add(live.job_id, command)

    def _job_due(self, job_id: str, now_us: int) -> None:
        live = self._leases.of_job(job_id)
        if live is None or live.due_us is None or live.due_us <= now_us:
            # Whatever the fold makes of it, it comes back through `_done`.
            self._upkeep.add(job_id, c.Tick())
            return
        if live.stop_us is not None and live.stop_us <= now_us:
            self.on_near(live)
            self._arm(job_id, live.due_us)
        else:
            self._arm(job_id, live.due_us if live.stop_us is None else live.stop_us)

    def _done(self, command: c.Command, job: Job) -> None:
        if not isinstance(command, c.Tick):
            return
        due_us = _next_us(job, self._clock.wall_us())
        if due_us is not None:
            # Its entry in the store may lie behind it, so it is kept here however far ahead this is.
            self._arm(job.id, due_us)
        if job.phase is Phase.QUEUED:
            self.on_retry(job.id)

    def _failed(self, job_id: str, command: c.Command) -> None:
        if isinstance(command, c.Tick):
            self.after(SECOND_NS, lambda: self._upkeep.add(job_id, c.Tick()))
        self._not_ended(command)

    def _not_ended(self, command: c.Command) -> None:
        """A lease lives on until its end can be written down; who is heard of meanwhile keeps it."""
        if isinstance(command, c.Decline | c.ExpireLease) and (live := self._leases.get(command.lease_id)):
            live.ending = False

    def _arm(self, job_id: str, due_us: int) -> None:
        armed_us = self._armed.get(job_id)
        if armed_us is not None and armed_us <= due_us:
            return  # fires earlier, for nothing, and is armed anew then
        self._armed[job_id] = due_us
        heapq.heappush(self._jobs, (due_us, job_id))
        if len(self._jobs) > 2 * len(self._armed) + PAGE:
            self._jobs = [(at_us, one) for one, at_us in self._armed.items()]
            heapq.heapify(self._jobs)
        self._earlier(self._instant_ns(due_us))

    def _instant_ns(self, at_us: int) -> int:
        """The monotonic instant of a wall time, as the two clocks stand now."""
        return self._clock.monotonic_ns() + (at_us - self._clock.wall_us()) * 1000

    def _next_ns(self) -> int:
        """The next instant at which something is due."""
        ahead = [self._clock.monotonic_ns() + LONGEST_SLEEP_NS]
        ahead.extend(self._instant_ns(due[0][0]) for due in (self._jobs, self._dated) if due)
        if self._calls:
            ahead.append(self._calls[0][0])
        if (lease_ns := self._leases.next_ns()) is not None:
            ahead.append(lease_ns)
        return min(ahead)

    def _earlier(self, due_ns: int) -> None:
        """Something is due then: sleep no longer than that."""
        if self._sleep is not None and due_ns < self._until_ns:
            self._until_ns = due_ns
            self._sleep.cancel()


def _next_us(job: Job, now_us: int) -> int | None:
    """The next instant that concerns the job: one that has passed already if it should have had its effect."""
    if job.phase is Phase.QUEUED:
        waits = job.not_before_us if job.not_before_us is not None and job.not_before_us > now_us else None
        return min((at_us for at_us in (waits, job.due_us) if at_us is not None), default=None)
    if job.phase in (Phase.ASSIGNED, Phase.RUNNING):
        return job.stop_signal_us
    return job.due_us
