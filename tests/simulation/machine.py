"""A simulated machine: a monotonic clock that drifts, a wall clock that is set forwards and back, power that fails.

Processes of a machine share its clocks, as on a real one: the monotonic clock goes on over restarts of a process, and
begins anew when the machine was without power.
"""

from __future__ import annotations

from tenure.runtime.clock import SystemClock
from tests.simulation.loop import Schedule
from tests.simulation.process import Process, process_of

# 2024-10-20T14:08:33Z.
WALL_NS = 1_729_433_313_000_000_000


class Machine:
    """One machine.

    Args:
        name: for people.
        rate: how much faster its clocks run than virtual time.
        skew_ns: by how much its wall clock is wrong at the begin.

    Attributes:
        step_ns: what the wall clock was set forwards by (back: negative) since.
        suspended_ns: for how long it was suspended since, all in all.
    """

    def __init__(self, schedule: Schedule, name: str, *, rate: float = 1.0, skew_ns: int = 0) -> None:
        self.schedule = schedule
        self.name = name
        self.rate = rate
        self.step_ns = 0
        self.suspended_ns = 0
        self._skew_ns = skew_ns
        # It was switched on at any time before.
        self._on_ns = -1_000_000_000_000

    def wall_ns(self) -> int:
        """What its wall clock shows. It goes on while the machine is suspended."""
        return WALL_NS + self._skew_ns + self.step_ns + int(self.schedule.now_ns * self.rate)

    def reboot(self) -> None:
        """It was without power: its monotonic clock begins again."""
        self._on_ns = int(self.schedule.now_ns * self.rate)

    def process(self, name: str) -> Process:
        """A new process on it."""
        return process_of(self.schedule, name, rate=self.rate, offset_ns=-self._on_ns)

    def clock(self, process: Process) -> SystemClock:
        """The clock of a process on it, by the rule of the product: see `SystemClock`."""
        return SystemClock(
            time_ns=self.wall_ns, monotonic_ns=process.monotonic_ns, suspended_ns=lambda: self.suspended_ns
        )

    def aware_clock(self, process: Process) -> SystemClock:
        """The clock of an agent on it, whose time goes on while it is suspended: see `SuspendAwareClock`."""
        return SystemClock(
            time_ns=self.wall_ns,
            monotonic_ns=lambda: process.monotonic_ns() + self.suspended_ns,
            suspended_ns=lambda: 0,
        )
