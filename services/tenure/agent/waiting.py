"""Waiting with a deadline on an injected clock.

`asyncio.timeout` reads the loop's clock; these read the `Clock` that was passed in, so that a test or a simulation
decides when time is over. Every task that is made here is finished before the call returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tenure.runtime.clock import Clock

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Result of `work`, which is cancelled when it takes longer.

    Raises:
        TimeoutError: the time was over first.
    """
    main = asyncio.ensure_future(work)
    timer: asyncio.Future[None] | None = None
    try:
        # Most work has nothing to wait for; then no timer is needed either.
        await asyncio.sleep(0)
        if not main.done():
            timer = asyncio.ensure_future(clock.sleep(seconds))
            await asyncio.wait((main, timer), return_when=asyncio.FIRST_COMPLETED)
        if main.done():
            return main.result()
        raise TimeoutError
    finally:
        await (settle(main) if timer is None else settle(main, timer))
        # An error that leads to its own task is let go of late, and what its frames hold with it: calls, connections.
        del main, timer


async def settle(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is not done, wait for all, and look at every result so that none is reported as forgotten.

    Raises:
        CancelledError: the caller was cancelled meanwhile; it is raised when all have ended, and not before.
    """
    unfinished = [task for task in tasks if not task.done()]
    for task in unfinished:
        task.cancel()
    cancelled = False
    while unfinished:
        try:
            await asyncio.wait(unfinished)
        except asyncio.CancelledError:
            # Leaving now would leave them behind, at work on what the caller is about to close or give up.
            cancelled = True
        unfinished = [task for task in unfinished if not task.done()]
    for task in tasks:
        if not task.cancelled():
            task.exception()
    if cancelled:
        raise asyncio.CancelledError


class Changes:
    """Wakes those who wait for a condition whenever something may have changed.

    Checking the condition and going to sleep happen without a pause in between, so no change is missed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def pulse(self) -> None:
        """Something changed: all who wait look again."""
        self._event.set()

    async def until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until the condition holds, at most so many seconds (None: for ever).

        Returns:
            Whether it holds.
        """
        if condition():
            return True
        if seconds is None:
            await self._wait(condition)
            return True
        timer = asyncio.ensure_future(self._clock.sleep(max(0.0, seconds)))
        timer.add_done_callback(lambda _: self._event.set())
        try:
            await self._wait(lambda: condition() or timer.done())
            return condition()
        finally:
            await settle(timer)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._event.clear()
            await self._event.wait()
