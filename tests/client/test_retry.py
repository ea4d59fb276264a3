"""How long a stream that broke off is connected again, and from when on that is counted."""

from __future__ import annotations

import random

import grpc
import pytest

from tenure.client.errors import TenureError
from tenure.client.retry import RetryPolicy, StreamBackoff, broken_off
from tests.client.scripted import FakeClock

POLICY = RetryPolicy()
HOUR_S = 3600.0


def backoff_of(clock: FakeClock) -> StreamBackoff:
    return StreamBackoff(POLICY, random.Random(1), clock)


def drops_until_it_gives_up(backoff: StreamBackoff, clock: FakeClock) -> int:
    """How often a stream that never opens again is connected."""
    for number in range(1, 10_000):
        try:
            clock.sleep_now(backoff.wait_s(broken_off("gone")))
        except TenureError:
            return number
    raise AssertionError("it never gives up")


def test_patience_begins_with_the_drop_and_not_with_the_last_message() -> None:
    clock = FakeClock()
    backoff = backoff_of(clock)
    backoff.heard()
    clock.sleep_now(HOUR_S + 1)
    dropped_at = clock.monotonic_ns()
    assert drops_until_it_gives_up(backoff, clock) > POLICY.attempts
    assert HOUR_S < (clock.monotonic_ns() - dropped_at) / 1e9 < HOUR_S + 2 * POLICY.stream_maximum_s


def test_a_stream_that_stayed_open_without_a_word_is_worth_the_same_patience() -> None:
    clock = FakeClock()
    backoff = backoff_of(clock)
    backoff.opened()
    clock.sleep_now(2 * HOUR_S)
    assert drops_until_it_gives_up(backoff, clock) > POLICY.attempts


def test_a_stream_that_is_opened_and_broken_off_at_once_is_not() -> None:
    clock = FakeClock()
    backoff = backoff_of(clock)
    for _ in range(POLICY.attempts - 1):
        backoff.opened()
        clock.sleep_now(backoff.wait_s(broken_off("gone")))
    backoff.opened()
    with pytest.raises(TenureError):
        backoff.wait_s(broken_off("gone"))


def test_the_next_trouble_has_its_own_patience() -> None:
    clock = FakeClock()
    backoff = backoff_of(clock)
    backoff.heard()
    for _ in range(3):
        outage_ends = clock.monotonic_ns() + round(0.9 * HOUR_S * 1e9)
        while clock.monotonic_ns() < outage_ends:
            clock.sleep_now(backoff.wait_s(broken_off("gone")))
        backoff.opened()
        clock.sleep_now(60)
    assert backoff.wait_s(broken_off("gone")) <= POLICY.initial_s


def test_a_refusal_is_no_drop() -> None:
    backoff = backoff_of(FakeClock())
    backoff.heard()
    with pytest.raises(TenureError):
        backoff.wait_s(TenureError(code=grpc.StatusCode.NOT_FOUND, reason="JOB_NOT_FOUND"))
