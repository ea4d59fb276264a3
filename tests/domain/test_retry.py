"""Waits, bans and rows of lost workers, in numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.domain import events as e
from tenure.domain.retry import MAX_AVOIDED, Avoided, avoid, backoff_us, lost_in_a_row, passed_over_us
from tests.domain.life import HOUR, S

spans = st.integers(0, 24 * HOUR)


def _lost(worker: str, *, suspicious: bool) -> e.LeaseExpired:
    return e.LeaseExpired(lease_id="x", attempt=1, worker_id=worker, silence_us=S, suspicious=suspicious)


def test_without_a_backoff_the_retry_is_at_once() -> None:
    assert backoff_us(e.Terms(), 1) == backoff_us(e.Terms(), 1000) == 0


@pytest.mark.parametrize(("failures", "wait"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 100), (6, 100), (1000, 100)])
def test_the_wait_doubles_up_to_its_maximum(failures: int, wait: int) -> None:
    terms = e.Terms(retry_initial_us=10 * S, retry_maximum_us=100 * S)
    assert backoff_us(terms, failures) == wait * S


def test_a_maximum_below_the_first_wait_wins() -> None:
    assert backoff_us(e.Terms(retry_initial_us=10 * S, retry_maximum_us=S), 1) == S


@given(initial=spans, maximum=spans, failures=st.integers(1, 1000))
def test_waits_never_shrink_and_stay_within_bounds(initial: int, maximum: int, failures: int) -> None:
    terms = e.Terms(retry_initial_us=initial, retry_maximum_us=maximum)
    assert 0 <= backoff_us(terms, failures) <= backoff_us(terms, failures + 1) <= maximum


def test_a_worker_is_passed_over_for_longer_each_time() -> None:
    assert [passed_over_us(n) // S for n in (0, 1, 2, 3, 4, 5, 6, 7, 1000)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_what_is_known_of_a_worker_is_replaced() -> None:
    known = (Avoided(worker_id="A", until_us=5), Avoided(worker_id="B", until_us=6))
    one = Avoided(worker_id="A", until_us=1, declines=1)
    assert avoid(known, one) == (known[1], one)


def test_the_one_that_is_soonest_free_is_forgotten_first() -> None:
    known: tuple[Avoided, ...] = ()
    for n in range(MAX_AVOIDED):
        known = avoid(known, Avoided(worker_id=f"worker-{n}", until_us=1000 - n))
    assert len(known) == MAX_AVOIDED
    fuller = avoid(known, Avoided(worker_id="one more", until_us=2000))
    assert {one.worker_id for one in known} - {one.worker_id for one in fuller} == {f"worker-{MAX_AVOIDED - 1}"}


def test_a_row_of_lost_workers() -> None:
    row: tuple[str, ...] = ()
    for worker in "ABA":
        row = lost_in_a_row(row, _lost(worker, suspicious=True), lasted=False)
    assert row == ("A", "B")
    assert lost_in_a_row(row, _lost("C", suspicious=False), lasted=False) == ("A", "B")
    assert lost_in_a_row(row, _lost("C", suspicious=False), lasted=True) == ()
