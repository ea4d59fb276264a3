from __future__ import annotations

import pytest

from tenure.controlplane.webhooks.schedule import Schedule

S = 1_000_000
PLAIN = Schedule(initial_us=5 * S, maximum_us=60 * S, max_attempts=8, max_age_us=1000 * S)


@pytest.mark.parametrize(("attempts", "wait_s"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (7, 60)])
def test_waits_double_up_to_the_longest(attempts: int, wait_s: int) -> None:
    assert PLAIN.next_us(attempts, 0, 100 * S, lambda: 0.0) == (100 + wait_s) * S


def test_waits_are_shortened_by_up_to_a_half() -> None:
    assert PLAIN.next_us(2, 0, 0, lambda: 1.0) == 5 * S
    assert PLAIN.next_us(2, 0, 0, lambda: 0.5) == 7_500_000


def test_it_is_given_up_after_so_many_tries_or_so_long() -> None:
    assert PLAIN.next_us(8, 0, 0, lambda: 0.0) is None
    assert PLAIN.next_us(1, 0, 999 * S, lambda: 0.0) is not None
    assert PLAIN.next_us(1, 0, 1000 * S, lambda: 0.0) is None


def test_who_asks_for_time_gets_it_within_reason() -> None:
    assert PLAIN.next_us(1, 0, 0, lambda: 0.0, retry_after_s=30) == 30 * S
    assert PLAIN.next_us(1, 0, 0, lambda: 0.0, retry_after_s=1) == 5 * S
    assert PLAIN.next_us(1, 0, 0, lambda: 0.0, retry_after_s=10**9) == 60 * S


def test_the_usual_schedule_goes_on_for_more_than_a_day() -> None:
    usual, now_us, attempts = Schedule(), 0, 1
    while (next_us := usual.next_us(attempts, 0, now_us, lambda: 0.5)) is not None:
        now_us, attempts = next_us, attempts + 1
    assert 86_400 * S < now_us < 4 * 86_400 * S
