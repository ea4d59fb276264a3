"""A clock that only tests move, and ids that tests choose.

Wall time and monotonic time of the clock advance together. Nothing that sleeps on it wakes by itself: a test calls
`advance`, which goes from sleeper to sleeper, so that each finds the clock at exactly the instant it asked for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque


class FakeClock:
    """A `Clock` that stands still until it is advanced.

    Args:
        wall_us: what the wall clock shows at first, in microseconds since the epoch.
        rounds: how many rounds of the event loop are run after every step, for what wakes to do its work.
        pause_s: real seconds to wait after every step besides. 0 is right where everything happens on the loop; with
            threads or sockets under test take a few milliseconds, and wait for conditions afterwards.
    """

    def __init__(self, wall_us: int = 1_633_329_776_235_000, *, rounds: int = 100, pause_s: float = 0.0) -> None:
        self._wall_us = wall_us
        self._now_ns = 0
        self._rounds = rounds
        self._pause_s = pause_s
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        return self._wall_us + self._now_ns // 1000

    def monotonic_ns(self) -> int:
        """Nanoseconds since the clock was made."""
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been advanced so far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._until(self._now_ns + round(seconds * 1e9))

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, stopping at every instant at which a sleeper is due.

        Returns once the loop has settled at the new time. May be called by one test at a time only.
        """
        await self.advance_us(round(seconds * 1_000_000))

    async def advance_us(self, micros: int) -> None:
        """`advance`, in microseconds: exact for any span."""
        end_ns = self._now_ns + micros * 1000
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            due_ns = self._sleepers[0][0]
            self._now_ns = max(self._now_ns, due_ns)
            woken = False
            while self._sleepers and self._sleepers[0][0] <= due_ns:
                sleeper = heapq.heappop(self._sleepers)[2]
                if not sleeper.done():
                    sleeper.set_result(None)
                    woken = True
            if woken:
                await self.settle()
        self._now_ns = end_ns
        await self.settle()

    async def advance_to(self, wall_us: int) -> None:
        """`advance` until the wall clock shows that instant, which is not behind it."""
        if wall_us < self.wall_us():
            raise ValueError(f"{wall_us} is behind {self.wall_us()}")
        await self.advance_us(wall_us - self.wall_us())

    async def settle(self) -> None:
        """Let everything that can go on go on, without moving the time."""
        for _ in range(self._rounds):
            await asyncio.sleep(0)
        if self._pause_s:
            await asyncio.sleep(self._pause_s)

    def freeze(self, seconds: float) -> None:
        """Let time pass without waking anybody, as for a process that was stopped; the next step wakes them, late."""
        self._now_ns += round(seconds * 1e9)

    async def _until(self, due_ns: int) -> None:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due_ns, next(self._order), sleeper))
        await sleeper


class SequenceIds:
    """`Ids` that gives the ones a test names, in order, and then `id-1`, `id-2` …"""

    def __init__(self, *first: str) -> None:
        self._first = deque(first)
        self._count = itertools.count(1)

    def new(self) -> str:
        """The next id."""
        return self._first.popleft() if self._first else f"id-{next(self._count)}"

    def then(self, *ids: str) -> None:
        """Have these given next, after those named before."""
        self._first.extend(ids)
