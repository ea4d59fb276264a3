"""Extensions: what is refused and why, in exact numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import MAX_TIME_US
from tenure.domain.errors import Reason
from tenure.domain.states import Phase, State
from tests.domain.life import BATCH, HOUR, T0, WEB, Life, S, in_phase

STARTED = replace(WEB, basis=e.Basis.STARTED)


@pytest.mark.parametrize("span", [0, -1, -HOUR, MAX_TIME_US + 1, 10**30])
@pytest.mark.parametrize("phase", Phase)
def test_an_extension_that_is_none_is_invalid_whatever_the_state(phase: Phase, span: int) -> None:
    refused = in_phase(phase, replace(WEB, max_time_allocation_us=6 * HOUR)).refusal(c.Extend(requested_us=span))
    assert (refused.reason, refused.field) == (Reason.INVALID_FIELD, "requested_time")


def test_an_extension_beyond_the_calendar_is_invalid() -> None:
    refused = Life().refusal(c.Extend(requested_us=MAX_TIME_US))
    assert (refused.reason, refused.field) == (Reason.INVALID_FIELD, "requested_time")


def test_a_deadline_always_fits_the_calendar() -> None:
    life = Life(STARTED)
    life.do(c.Extend(requested_us=MAX_TIME_US - T0 - 6 * HOUR))
    life.start(at=T0 + 1000 * HOUR)
    assert life.job.expires_us == MAX_TIME_US


@pytest.mark.parametrize("span", [1, 30 * S])
def test_short_extensions_are_kept_as_they_are(span: int) -> None:
    life = Life()
    life.do(c.Extend(requested_us=span))
    assert life.job.expires_us == T0 + 5 * HOUR + span


def test_extend_a_final_job() -> None:
    refused = in_phase(Phase.FINAL).refusal(c.Extend(requested_us=HOUR))
    assert (refused.reason, str(State.SUCCESS) in refused.message) == (Reason.JOB_FINAL, True)


def test_extend_a_job_that_is_being_cancelled() -> None:
    assert in_phase(Phase.STOPPING).refusal(c.Extend(requested_us=HOUR)).reason is Reason.JOB_STOPPING


def test_extend_without_allocation() -> None:
    assert Life(BATCH).refusal(c.Extend(requested_us=HOUR)).reason is Reason.NO_TIME_ALLOCATION


def test_extend_what_the_product_does_not_support() -> None:
    terms = replace(WEB, features=e.Features(time_extension=False))
    assert Life(terms).refusal(c.Extend(requested_us=HOUR)).reason is Reason.EXTENSION_UNSUPPORTED


@pytest.mark.parametrize(
    ("cap", "left"), [(6 * HOUR, "3600"), (5 * HOUR + S // 4, "0.25"), (5 * HOUR, "0"), (4 * HOUR, "0")]
)
def test_extend_over_the_cap_says_what_is_left(cap: int, left: str) -> None:
    life = Life(replace(WEB, max_time_allocation_us=cap))
    refused = life.refusal(c.Extend(requested_us=HOUR + 1))
    assert (refused.reason, refused.metadata) == (Reason.EXTENSION_CAP, {"remaining_seconds": left})
    assert f"{left} s" in refused.message


def test_what_is_left_is_exact_for_long_times() -> None:
    life = Life(replace(WEB, max_time_allocation_us=5 * HOUR + 1_234_567 * S + 1))
    refused = life.refusal(c.Extend(requested_us=30 * 24 * HOUR))
    assert refused.metadata == {"remaining_seconds": "1234567.000001"}


def test_the_cap_is_for_allocation_and_all_extensions() -> None:
    life = Life(replace(WEB, max_time_allocation_us=7 * HOUR))
    life.do(c.Extend(requested_us=HOUR))
    life.do(c.Extend(requested_us=HOUR))
    assert life.refusal(c.Extend(requested_us=1)).reason is Reason.EXTENSION_CAP
