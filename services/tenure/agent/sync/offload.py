"""Blocking work away from the event loop, behind a port so that a simulation can run it in line."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Barrier, Event
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_START_WITHIN_S = 30.0
_NO_THREADS = "the system lets this program start no more threads: raise its limit (ulimit -u, TasksMax, pids.max)"


class Offload(Protocol):
    """Runs a blocking function and waits for it."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises. A cancelled call still waits until the function has ended."""

    async def run_long(self, function: Callable[[Event], T], /) -> T:
        """The same for work that takes long: when the call is cancelled, the event is set, and `function` ends soon."""


class Inline:
    """Runs the function at once, in the event loop's own thread: for simulations."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises."""
        return function(*args, **kwargs)

    async def run_long(self, function: Callable[[Event], T], /) -> T:
        """What `function` returns or raises."""
        return function(Event())


class Threads:
    """Runs the function in a thread of `executor`, whose size bounds how many run at once.

    Args:
        executor: The threads.
        long_at_once: How many of them long work may take; fewer than there are, so that short work always finds one.
    """

    def __init__(self, executor: Executor, *, long_at_once: int = 4) -> None:
        self._executor = executor
        self._long = asyncio.Semaphore(long_at_once)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises. A cancelled call still waits until the function has ended."""
        return await run_to_end(self._executor, lambda: function(*args, **kwargs))

    async def run_long(self, function: Callable[[Event], T], /) -> T:
        """What `function` returns or raises; the event is set when the call is cancelled."""
        abort = Event()
        async with self._long:
            return await run_to_end(self._executor, lambda: function(abort), abort)


def started_threads(count: int, prefix: str) -> ThreadPoolExecutor:
    """Threads that run already: at a limit of the machine one fails here, at the start, and not amid somebody's job.

    Raises:
        OSError: so many cannot be started.
    """
    executor = ThreadPoolExecutor(count, thread_name_prefix=prefix)
    all_there = Barrier(count + 1)
    try:
        for _ in range(count):
            executor.submit(all_there.wait)
        all_there.wait(_START_WITHIN_S)
    except RuntimeError:
        all_there.abort()
        executor.shutdown()
        raise OSError(errno.EAGAIN, _NO_THREADS) from None
    return executor


async def run_to_end(executor: Executor, function: Callable[[], T], abort: Event | None = None) -> T:
    """Run `function` in `executor`; when cancelled, set `abort` and wait for its end before the cancellation goes on.

    A thread cannot be cancelled, and one that went on unseen could still write to the store after its attempt has
    given up the lease. The function therefore has to be bounded by itself.
    """
    work = executor.submit(function)
    # Only to wait with: cancelling this one would end the wait, and leave the thread at work.
    future = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if abort is not None:
            abort.set()
        work.cancel()  # succeeds only where it has not begun
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # read, so that asyncio does not report it as forgotten
        raise
