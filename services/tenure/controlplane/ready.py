"""The head of one queue in memory: the jobs that can be given out next, in order, and those that nobody fits just now.

However long the queue is, only so many are held; the rest is read from the store page by page when the head runs low.
What is held may be out of date: giving out a job that is not waiting any more is refused by its fold.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tenure.domain.job import Job
from tenure.domain.states import Phase
from tenure.store.store import Candidate

PAGE = 1024
# Read on when no more than so many are at hand.
LOW = 256
# New jobs are held up to here; what is refused a place is read from the store later.
MOST = 4096
# Jobs that nobody fits, held; more of them are passed over and looked for again when one may fit.
MOST_PARKED = 1024

# (-priority, position of JobCreated): smaller goes first.
Place = tuple[int, int]


@dataclass(slots=True, eq=False)
class Ready:
    """A waiting job. `specification` is None where it has to be read; `unfit` are generations of workers it is not for,
    `recheck_us` when the earliest of its bans ends that was waited for."""

    job: Job
    place: Place
    specification: bytes | None = None
    unfit: set[int] = field(default_factory=set)
    recheck_us: int | None = None
    parked: bool = False


class QueueHead:
    """The head of one queue."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self._held: dict[str, Ready] = {}
        self._heap: list[tuple[Place, int, Ready]] = []
        self._parked: dict[str, Ready] = {}
        self._order = itertools.count()
        # Every waiting job is held (or was passed over): all of them with `_complete`, else those up to `_known_to`.
        self._complete = False
        self._known_to: Place | None = None
        self._read_to: Place | None = None
        self._passed_over = False
        # It was to be read from the start again while a page was being read: that is done when the end is reached. Were
        # the page given up for it, a busy queue would begin again and again and never get to what comes last.
        self._once_more = False
        # When the earliest of the bans ends that jobs were passed over for.
        self.recheck_us: int | None = None
        # Jobs that came while a page was being read: the page may be too old to have them.
        self._arrived: list[Ready] | None = None

    @property
    def low(self) -> bool:
        """More is to be read before jobs are given out."""
        return not self._complete and len(self._heap) <= LOW

    @property
    def parked(self) -> Iterable[Ready]:
        """Jobs that nobody fits just now."""
        return self._parked.values()

    def first(self) -> Ready | None:
        """The job to be given out next."""
        while self._heap:
            ready = self._heap[0][2]
            if self._waits(ready):
                return ready
            heapq.heappop(self._heap)
        return None

    def take(self) -> Ready:
        """The job that `first` gave; it is no longer held."""
        ready = heapq.heappop(self._heap)[2]
        del self._held[ready.job.id]
        return ready

    def put(self, ready: Ready) -> None:
        """A job waits that was not known to: a new one, or one that has come back."""
        if self._arrived is not None:
            self._arrived.append(ready)
        elif self._complete or (self._known_to is not None and ready.place <= self._known_to):
            self._hold(ready)
            if len(self._heap) > MOST:
                self._trim()
        # Else reading on will find it.

    def begin_page(self) -> Place | None:
        """A page is about to be read; returns after which place."""
        self._arrived = []
        return self._read_to

    def add_page(self, page: list[Candidate]) -> None:
        """The page that was begun: at most `PAGE` jobs, less when there are no more."""
        for one in page:
            if one.job.id not in self._held:
                self._hold(Ready(one.job, one.place))
        if len(page) < PAGE:
            self._complete, self._read_to, self._known_to = True, None, None
        else:
            self._read_to = page[-1].place
            if self._known_to is None or self._known_to < self._read_to:
                self._known_to = self._read_to
        self.no_page()
        if self._complete and self._once_more:
            self.start_over()

    def no_page(self) -> None:
        """Nothing is being read any more: the page that was begun has been added, or could not be read."""
        arrived, self._arrived = self._arrived or [], None
        for ready in arrived:
            self.put(ready)

    def park(self) -> Ready | None:
        """Put aside the job that `first` gave, as nobody fits it; None: too many were put aside, it was passed over."""
        ready = heapq.heappop(self._heap)[2]
        if len(self._parked) >= MOST_PARKED:
            del self._held[ready.job.id]
            self._passed_over = True
            return None
        ready.parked = True
        self._parked[ready.job.id] = ready
        return ready

    def room(self, generation: int) -> None:
        """A worker has a free slot: all that it was not found unfit for is looked at again, held or not."""
        for ready in [one for one in self._parked.values() if generation not in one.unfit]:
            self.reconsider(ready)
        self.start_over()

    def reconsider(self, ready: Ready) -> None:
        """A parked job is looked at again."""
        # Another one may be parked for the same job by now, if it came back meanwhile; that one is left where it is.
        if self._parked.get(ready.job.id) is ready:
            del self._parked[ready.job.id]
            ready.parked = False
            heapq.heappush(self._heap, (ready.place, next(self._order), ready))

    def start_over(self) -> None:
        """Jobs that were passed over, if any, may fit now: read from the start again. What is held stays."""
        if not self._passed_over:
            return
        if self._arrived is not None:
            self._once_more = True
            return
        if self._complete:
            self._known_to = max((ready.place for ready in self._held.values()), default=None)
        self._complete, self._read_to, self._passed_over, self._once_more = False, None, False, False

    def find(self, job_id: str) -> Ready | None:
        """A job that is held, parked or not."""
        return self._held.get(job_id)

    def drop(self, job_id: str) -> None:
        """The job does not wait any more."""
        self._held.pop(job_id, None)
        self._parked.pop(job_id, None)

    def __iter__(self) -> Iterator[Ready]:
        return iter(self._held.values())

    def _hold(self, ready: Ready) -> None:
        if ready.job.phase is not Phase.QUEUED:
            return
        self._held[ready.job.id] = ready
        self._parked.pop(ready.job.id, None)
        heapq.heappush(self._heap, (ready.place, next(self._order), ready))

    def _trim(self) -> None:
        """Let go of what comes last: it is in the store, and is read again when the rest has been given out."""
        heap = sorted(entry for entry in self._heap if self._waits(entry[2]))
        for _, _, ready in heap[MOST // 2 :]:
            del self._held[ready.job.id]
        self._heap = heap[: MOST // 2]
        if len(heap) > len(self._heap):
            self._known_to = self._heap[-1][0]
            if self._complete:
                self._complete, self._read_to = False, self._known_to
            elif self._read_to is not None:
                self._read_to = min(self._read_to, self._known_to)

    def _waits(self, ready: Ready) -> bool:
        """An entry of the heap that still counts."""
        return not ready.parked and self._held.get(ready.job.id) is ready
