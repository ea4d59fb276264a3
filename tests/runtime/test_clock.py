"""The machine's clock as it is given out: it never steps back, whatever the wall clock does."""

from __future__ import annotations

import time

from tenure.runtime.clock import SystemClock


def test_wall_time_is_that_of_the_machine() -> None:
    before = time.time_ns() // 1000
    shown = SystemClock().wall_us()
    assert before - 1_000_000 <= shown <= time.time_ns() // 1000 + 1_000_000


class Machine:
    """A machine's two clocks, set by a test."""

    def __init__(self) -> None:
        self.wall_ns = 1_700_000_000_000_000_000
        self.running_ns = 0

    def clock(self) -> SystemClock:
        return SystemClock(time_ns=lambda: self.wall_ns, monotonic_ns=lambda: self.running_ns)


def test_wall_time_goes_on_with_monotonic_time_whatever_the_wall_clock_shows() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.running_ns += 5_000_000_000
    machine.wall_ns += 7_200_000_000_000
    assert clock.wall_us() == 1_700_000_005_000_000


def test_a_wall_clock_that_steps_back_is_not_followed() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns -= 7_200_000_000_000
    clock.correct()
    assert clock.wall_us() == 1_700_000_000_000_000


def test_a_wall_clock_that_steps_forward_is_followed_on_correction() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns += 7_200_000_000_000
    assert clock.wall_us() == 1_700_000_000_000_000
    clock.correct()
    assert clock.wall_us() == 1_700_007_200_000_000


async def test_sleeping_passes_the_time() -> None:
    clock = SystemClock()
    before = clock.monotonic_ns()
    await clock.sleep(0.01)
    assert clock.monotonic_ns() - before >= 9_000_000
