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
        self.suspended_ns = 0

    def clock(self) -> SystemClock:
        return SystemClock(
            time_ns=self.time_ns, monotonic_ns=lambda: self.running_ns, suspended_ns=lambda: self.suspended_ns
        )

    def time_ns(self) -> int:
        if self.wall_ns >= 2**63:
            raise OverflowError("timestamp too large to convert to C _PyTime_t")
        return self.wall_ns


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


def test_a_wall_clock_that_is_a_little_ahead_is_followed_on_correction() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns += 700_000_000
    assert clock.wall_us() == 1_700_000_000_000_000
    assert clock.correct() == 0
    assert clock.wall_us() == 1_700_000_000_700_000


def test_a_wall_clock_that_jumps_far_ahead_is_not_believed_but_in_small_steps() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns += 7_200_000_000_000
    assert clock.correct() == 7_199_000_000_000
    assert clock.wall_us() == 1_700_000_001_000_000
    assert clock.correct() == 7_198_000_000_000
    assert clock.wall_us() == 1_700_000_002_000_000


def test_the_time_that_the_machine_was_suspended_is_taken_over_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns += 7_200_000_000_000
    machine.suspended_ns += 7_200_000_000_000
    assert clock.correct() == 0
    assert clock.wall_us() == 1_700_007_200_000_000


def test_catching_up_takes_over_nothing_but_what_the_machine_was_suspended_for() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns += 9_000_000_000
    machine.suspended_ns += 5_000_000_000
    assert clock.catch_up() == 5_000_000_000
    assert clock.wall_us() == 1_700_000_005_000_000
    machine.suspended_ns -= 300  # two clocks that are read one after the other
    assert clock.catch_up() == 0
    machine.suspended_ns += 200
    assert clock.catch_up() == 0
    assert clock.wall_us() == 1_700_000_005_000_000


def test_a_year_beyond_all_reckoning_changes_nothing() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns = 2**63
    assert clock.correct() == 0
    assert clock.wall_us() == 1_700_000_000_000_000


async def test_sleeping_passes_the_time() -> None:
    clock = SystemClock()
    before = clock.monotonic_ns()
    await clock.sleep(0.01)
    assert clock.monotonic_ns() - before >= 9_000_000
