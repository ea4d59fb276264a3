from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job, create
from tenure.domain.states import State
from tenure.projections.jobs import STATES, are_twins, columns_of, due_of, twin_of
from tests.store.making import HOUR, SECOND, T0, assign, change, created_event, creation, lease

TERMS = e.Terms(
    time_allocation_us=HOUR,
    basis=e.Basis.CREATED,
    termination_grace_period_us=10 * SECOND,
    retry_initial_us=5 * SECOND,
)


def job(*commands: c.Command, terms: e.Terms = TERMS) -> Job:
    made = creation("a", created_event("a", terms=terms, priority=3)).job
    assert made is not None
    if commands:
        made = change(made, *commands).job
        assert made is not None
    return made


NEW = job()
HELD = lease(NEW)
RUN = (assign(NEW), c.Start(lease_id=HELD))


def test_a_waiting_job_has_a_place() -> None:
    columns = columns_of(NEW)
    assert (columns.state, columns.live, columns.place, columns.leased) == (STATES[State.IN_QUEUE], True, -3, None)


def test_a_job_with_a_worker_has_a_lease_and_no_place() -> None:
    columns = columns_of(job(*RUN))
    assert (columns.state, columns.live, columns.place, columns.leased) == (STATES[State.RUNNING], True, None, 1)


def test_a_final_job_is_found_by_its_state_alone() -> None:
    columns = columns_of(job(*RUN, c.Succeed(lease_id=HELD)))
    assert columns == (STATES[State.SUCCESS], False, None, None, None, None, None)


@pytest.mark.parametrize(
    ("commands", "due"),
    [
        ((), T0 + HOUR),
        ((assign(NEW),), T0 + HOUR - 10 * SECOND),
        (RUN, T0 + HOUR - 10 * SECOND),
        # Assigned after 1 s, started after 2 s, cancelled after 3 s.
        ((*RUN, c.Terminate(grace_us=60 * SECOND)), T0 + 63 * SECOND),
        ((*RUN, c.Fail(lease_id=HELD, stage=e.Stage.RUN, exit_code=1)), T0 + 8 * SECOND),
        ((*RUN, c.Succeed(lease_id=HELD)), None),
    ],
)
def test_the_next_instant_depends_on_the_phase(commands: tuple[c.Command, ...], due: int | None) -> None:
    assert due_of(job(*commands)) == due


def test_a_job_without_allocation_is_never_due() -> None:
    assert due_of(job(terms=e.Terms())) is None
    assert due_of(job(*RUN, terms=e.Terms())) is None
    retrying = job(*RUN, c.Fail(lease_id=HELD, stage=e.Stage.RUN), terms=e.Terms(retry_initial_us=5 * SECOND))
    assert due_of(retrying) == T0 + 8 * SECOND


def test_a_deadline_before_the_end_of_a_wait_comes_first() -> None:
    short = replace(TERMS, time_allocation_us=100 * SECOND, retry_initial_us=HOUR)
    retrying = job(*RUN, c.Fail(lease_id=HELD, stage=e.Stage.RUN), terms=short)
    assert due_of(retrying) == T0 + 100 * SECOND


def test_twins_have_one_owner_and_one_specification() -> None:
    def origin(**fields: str) -> Job:
        return create("x", created_event("x", specification=fields.pop("of", "s").encode(), **fields), T0)  # type: ignore[arg-type]

    one = origin().origin
    assert twin_of(one) == twin_of(origin(queue="other").origin)
    assert are_twins(one, origin(queue="other").origin)
    for other in (origin(of="t"), origin(created_by="ann"), origin(project="p")):
        assert twin_of(one) != twin_of(other.origin)
        assert not are_twins(one, other.origin)
    assert -(2**63) <= twin_of(one) < 2**63


def test_every_state_has_its_number() -> None:
    assert STATES == {
        State.IN_QUEUE: 1,
        State.RUNNING: 2,
        State.CANCELING: 3,
        State.SUCCESS: 4,
        State.FAILURE: 5,
        State.EXPIRED: 6,
    }
