"""Time, as everything here takes it: from a clock that somebody passed in.

Wall time is an integer of microseconds since the epoch and is for people and events; decisions about leases use
monotonic time, an integer of nanoseconds. Neither ever steps back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and waiting."""

    def wall_us(self) -> int:
        """Microseconds since the epoch; never less than an earlier answer."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed instant of this process."""

    async def sleep(self, seconds: float) -> None:
        """Return once so many seconds of monotonic time have passed."""


class SystemClock:
    """The machine's clock: wall time at the start of the process plus monotonic time since.

    A step of the machine's wall clock is therefore not seen; `correct` takes it over, forwards only, so that the times
    of events never run backwards.

    Args:
        time_ns: the machine's wall clock, in nanoseconds since the epoch.
        monotonic_ns: the machine's monotonic clock, in nanoseconds.
    """

    def __init__(
        self, time_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._time_ns = time_ns
        # Asked far more often than anything else, so nothing stands between the caller and the machine's clock.
        self.monotonic_ns = monotonic_ns
        self._offset_ns = time_ns() - monotonic_ns()

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        return (self._offset_ns + self.monotonic_ns()) // 1000

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)

    def correct(self) -> None:
        """Take over the machine's wall clock where it is ahead of ours."""
        self._offset_ns = max(self._offset_ns, self._time_ns() - self.monotonic_ns())
