"""Virtual time: the one schedule of everything that happens in a simulated world, over all its processes.

Time moves only when nobody can go on; then it jumps to the next timer. Without a timer the schedule says so instead of
hanging, and so it does when callbacks run on and on without time going by. What runs belongs to a process (see
`process`), and does not run while that one is frozen or when it is dead.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.process import Process

NS = 1_000_000_000
# So many callbacks without any progress of time are a busy loop.
BUSY = 50_000
# So many in a whole run are a loop that lets a little time go by; a usual run takes less than 20,000.
MOST = 200_000


class Deadlock(Exception):
    """Every task waits, and no timer is set."""


class BusyLoop(Exception):
    """Callbacks run on and on without time going by."""


class Handle:
    """One callback to come: what `call_soon` and `call_at` return."""

    __slots__ = ("args", "callback", "context", "gone", "process", "when_ns")

    def __init__(
        self,
        process: Process,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        when_ns: int,
    ) -> None:
        self.process = process
        self.callback = callback
        self.args = args
        self.context = context
        self.when_ns = when_ns
        self.gone = False

    def cancel(self) -> None:
        """Do not call it."""
        self.gone = True

    def cancelled(self) -> bool:
        """It was cancelled."""
        return self.gone

    def when(self) -> float:
        """When it is due by the loop's clock, in seconds."""
        return self.when_ns / NS


class Schedule:
    """The one order of everything that happens.

    Args:
        shuffle: picks who goes on among those who can; None: in the order in which they could.

    Attributes:
        now_ns: virtual time.
        steps: callbacks that were run.
        made: tasks and futures that were made.
    """

    def __init__(self, shuffle: Random | None = None) -> None:
        self.now_ns = 0
        self.steps = 0
        self.made = 0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[int, int, Handle]] = []
        self._count = 0
        self._shuffle = shuffle

    def soon(self, handle: Handle) -> None:
        """Run it as soon as those before it have run."""
        self._ready.append(handle)

    def at(self, at_ns: int, handle: Handle) -> None:
        """Run it then."""
        self._count += 1
        heapq.heappush(self._timers, (at_ns, self._count, handle))

    def run(self, done: Callable[[], bool]) -> None:
        """Run until `done`; it is asked whenever time is about to move.

        Raises:
            Deadlock, BusyLoop.
        """
        before = asyncio._get_running_loop()
        current: Process | None = None
        idle = 0
        ready, timers, shuffle = self._ready, self._timers, self._shuffle
        try:
            while True:
                if not ready:
                    if done():
                        return
                    before_ns = self.now_ns
                    self._wake()
                    if self.now_ns > before_ns:
                        idle = self.steps
                    if self.steps > MOST:
                        raise BusyLoop(f"{MOST} callbacks, and no end")
                    continue
                if shuffle is not None and (count := len(ready)) > 1:
                    ready.rotate(-shuffle.randrange(min(count, 8)))
                handle = ready.popleft()
                if handle.gone:
                    continue
                process = handle.process
                if process is not current:
                    if process.dead:
                        continue
                    asyncio._set_running_loop(process)
                    current = process
                elif process.dead:
                    continue
                if process.frozen:
                    process.held.append(handle)
                    continue
                self.steps += 1
                if self.steps - idle > BUSY:
                    last = f"{process.name}: {handle.callback!r}"
                    raise BusyLoop(f"{BUSY} callbacks without time going by; the last was of {last}")
                try:
                    if handle.context is None:
                        handle.callback(*handle.args)
                    else:
                        handle.context.run(handle.callback, *handle.args)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # a callback's error ends nothing but the callback
                    process.call_exception_handler({"message": "a callback failed", "exception": error})
        finally:
            asyncio._set_running_loop(before)
            del timers

    def _wake(self) -> None:
        """Go to the next instant at which something is due."""
        timers, ready = self._timers, self._ready
        while timers:
            at_ns, _, handle = heapq.heappop(timers)
            if handle.gone or handle.process.dead:
                continue
            due_ns = handle.process.virtual_ns(handle.when_ns) if handle.when_ns >= 0 else at_ns
            if due_ns > at_ns:  # its machine was suspended meanwhile
                self.at(due_ns, handle)
                continue
            self.now_ns = at_ns
            ready.append(handle)
            break
        else:
            raise Deadlock("every task waits and no timer is set")
        while timers and timers[0][0] == at_ns:
            handle = heapq.heappop(timers)[2]
            if not handle.gone and not handle.process.dead:
                ready.append(handle)
