"""The machine's clock as it is given out: it never steps back, whatever the wall clock does."""

from __future__ import annotations

import time

import pytest

from tenure.runtime.clock import SystemClock


def test_wall_time_is_that_of_the_machine() -> None:
    before = time.time_ns() // 1000
    shown = SystemClock().wall_us()
    assert before - 1_000_000 <= shown <= time.time_ns() // 1000 + 1_000_000


def test_a_wall_clock_that_steps_back_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.wall_us()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 7_200_000_000_000)
    clock.correct()
    assert clock.wall_us() >= before


def test_a_wall_clock_that_steps_forward_is_followed_on_correction(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 7_200_000_000_000)
    assert clock.wall_us() < now // 1000 + 3_600_000_000
    clock.correct()
    assert clock.wall_us() >= now // 1000 + 7_000_000_000


async def test_sleeping_passes_the_time() -> None:
    clock = SystemClock()
    before = clock.monotonic_ns()
    await clock.sleep(0.01)
    assert clock.monotonic_ns() - before >= 9_000_000
