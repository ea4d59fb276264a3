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


# What one correction takes over at the most: a clock that is ahead by hours is more likely to be wrong than we are, and
# time limits would end jobs by it.
LARGEST_STEP_NS = 1_000_000_000


def since_boot_ns() -> int:
    """Nanoseconds of a monotonic clock that goes on while the machine is suspended, where it has one."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _suspended_ns() -> int:
    return since_boot_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clock: wall time at the start of the process plus monotonic time since.

    A step of the machine's wall clock is therefore not seen; `correct` follows it slowly, forwards only, so that the
    times of events never run backwards and no time limit is over because somebody has set the clock. What the machine
    was suspended for is no such step: `catch_up` takes it over at once.

    Args:
        time_ns: the machine's wall clock, in nanoseconds since the epoch.
        monotonic_ns: the machine's monotonic clock, in nanoseconds.
        suspended_ns: for how long the machine was suspended since some fixed instant, in nanoseconds.
    """

    def __init__(
        self,
        time_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        suspended_ns: Callable[[], int] = _suspended_ns,
    ) -> None:
        self._time_ns = time_ns
        # Asked far more often than anything else, so nothing stands between the caller and the machine's clock.
        self.monotonic_ns = monotonic_ns
        self._offset_ns = time_ns() - monotonic_ns()
        self._suspended_ns = suspended_ns
        self._slept_ns = suspended_ns()

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        return (self._offset_ns + self.monotonic_ns()) // 1000

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)

    def catch_up(self) -> int:
        """Take over what the machine was suspended for.

        Returns:
            How many nanoseconds that was since it was last looked for.
        """
        # The difference of two clocks that are read one after the other trembles; time never runs backwards.
        slept_ns = max(0, self._suspended_ns() - self._slept_ns)
        self._slept_ns += slept_ns
        self._offset_ns += slept_ns
        return slept_ns

    def correct(self) -> int:
        """`catch_up`, and take over a second at the most of what the machine's wall clock is ahead by.

        Returns:
            By how many nanoseconds the machine's wall clock is ahead (behind: negative) after that.
        """
        self.catch_up()
        try:
            ahead_ns = self._time_ns() - self.monotonic_ns() - self._offset_ns
        except OverflowError:  # a year that does not fit into nanoseconds
            return 0
        step_ns = min(max(0, ahead_ns), LARGEST_STEP_NS)
        self._offset_ns += step_ns
        return ahead_ns - step_ns
