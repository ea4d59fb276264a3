"""What owners, operators and time do to a job: creation, deadlines, cancellation. The first example in numbers.

Refused extensions are in test_decide_extend.py, what workers report in test_decide_attempts.py and _leases.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import MAX_TIME_US, decide, overdue
from tenure.domain.errors import Reason
from tenure.domain.job import fold
from tenure.domain.states import Phase, State
from tests.domain.life import BATCH, HOUR, MINUTE, MS, T0, WEB, Life, S, in_phase, kinds

DEADLINE = 1633347776235 * MS
STARTED = replace(WEB, basis=e.Basis.STARTED)
LIVE = [Phase.QUEUED, Phase.ASSIGNED, Phase.RUNNING]


# --- the first example, instant by instant ---


def test_create() -> None:
    job = Life().job
    assert (job.id, job.phase, job.state) == ("62348", Phase.QUEUED, State.IN_QUEUE)
    assert (job.origin.created_us, job.expires_us) == (1633329776235 * MS, DEADLINE)
    assert (job.attempt, job.worker_id, job.started_us, job.lease) == (0, "", None, None)
    assert (job.num_failures, job.num_interruptions, job.num_heartbeats, job.version) == (0, 0, 0, 1)


def test_running() -> None:
    life = Life()
    life.assign(at=1633329780000 * MS)
    assert (life.job.state, life.job.started_us) == (State.IN_QUEUE, None)
    life.do(c.Start(lease_id=life.lease), 1633329781235 * MS)
    job = life.job
    assert (job.state, job.started_us, job.expires_us) == (State.RUNNING, 1633329781235 * MS, DEADLINE)


def test_extend() -> None:
    life = in_phase(Phase.RUNNING)
    assert life.do(c.Extend(requested_us=HOUR)) == [(T0, e.JobExtended(requested_us=HOUR))]
    assert (life.job.expires_us, life.job.state) == (1633351376235 * MS, State.RUNNING)
    assert life.job.origin.terms.time_allocation_us == 5 * HOUR
    assert life.job.granted_us == HOUR


def test_two_extensions_at_the_same_instant_add_up() -> None:
    life = in_phase(Phase.RUNNING)
    seen_by_both = life.job
    first, second = (decide(seen_by_both, c.Extend(requested_us=HOUR), T0 + S) for _ in range(2))
    life.append(first + second)
    assert life.job.expires_us == 1633354976235 * MS


def test_terminate() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Extend(requested_us=HOUR))
    dated = life.do(c.Terminate(), 1633336981235 * MS)
    assert dated == [(1633336981235 * MS, e.JobTerminated(outcome=e.Outcome.CANCELLED, reason="", attempt=1))]
    job = life.job
    assert (job.state, job.outcome, job.expires_us) == (State.SUCCESS, e.Outcome.CANCELLED, None)
    assert (job.lease, job.ended_us) == (None, 1633336981235 * MS)


def test_a_fold_up_to_the_extension_shows_what_was_shown_then() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Extend(requested_us=HOUR))
    then = life.job
    life.do(c.Terminate(), T0 + 2 * HOUR)
    assert fold("62348", life.log[:-1]) == then
    assert fold("62348", life.log) == life.job


# --- expiry ---


@pytest.mark.parametrize("phase", LIVE)
def test_expiry_at_the_exact_microsecond(phase: Phase) -> None:
    life = in_phase(phase)
    assert life.do(c.Tick(), DEADLINE - 1) == []
    assert life.job.phase is phase
    assert kinds(life.do(c.Tick(), DEADLINE)) == [e.JobTerminated]
    assert (life.job.state, life.job.outcome, life.job.ended_us) == (State.EXPIRED, e.Outcome.EXPIRED, DEADLINE)
    assert life.job.reason == "its time allocation is used up"


@pytest.mark.parametrize("late", [1, 900 * MS, 30 * 24 * HOUR])
def test_a_late_sweep_dates_the_expiry_to_the_deadline(late: int) -> None:
    life = in_phase(Phase.RUNNING)
    [(time_us, event)] = life.do(c.Tick(), DEADLINE + late)
    assert time_us == DEADLINE
    assert event == e.JobTerminated(outcome=e.Outcome.EXPIRED, reason="its time allocation is used up", attempt=1)


def test_an_extension_after_the_deadline_finds_the_job_final() -> None:
    life = in_phase(Phase.RUNNING)
    assert life.refusal(c.Extend(requested_us=HOUR), DEADLINE).reason is Reason.JOB_FINAL
    [(time_us, event)] = overdue(life.job, DEADLINE + 5 * S)
    assert time_us == DEADLINE
    assert isinstance(event, e.JobTerminated)
    assert event.outcome is e.Outcome.EXPIRED


def test_an_extension_just_before_the_deadline_moves_it() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Extend(requested_us=HOUR), DEADLINE - 1)
    assert life.do(c.Tick(), DEADLINE + HOUR - 1) == []
    assert life.do(c.Tick(), DEADLINE + HOUR)[0][0] == DEADLINE + HOUR


@pytest.mark.parametrize("command", [c.Terminate(), c.Terminate(grace_us=S), c.Halt(reason="maintenance")])
def test_ending_an_overdue_job_leaves_it_expired(command: c.Command) -> None:
    life = in_phase(Phase.RUNNING)
    assert [time_us for time_us, _ in life.do(command, DEADLINE + S)] == [DEADLINE]
    assert life.job.outcome is e.Outcome.EXPIRED
    assert life.do(command, DEADLINE + 2 * S) == []


def test_a_success_after_the_deadline_is_too_late() -> None:
    life = in_phase(Phase.RUNNING)
    assert life.refusal(c.Succeed(lease_id=life.lease), DEADLINE).reason is Reason.LEASE_LOST


def test_an_overdue_job_is_not_given_out() -> None:
    refused = Life().refusal(c.Assign(lease_id="lease-1", worker_id="A"), DEADLINE)
    assert refused.reason is Reason.JOB_FINAL


def test_no_allocation_never_expires() -> None:
    life = in_phase(Phase.RUNNING, BATCH)
    assert (life.job.expires_us, life.job.due_us, life.job.stop_signal_us) == (None, None, None)
    assert life.do(c.Tick(), MAX_TIME_US) == []


# --- from when the allocation counts ---


def test_an_allocation_that_counts_from_the_start() -> None:
    life = Life(STARTED)
    assert life.job.expires_us is None
    assert life.do(c.Tick(), T0 + 100 * HOUR) == []  # waiting does not count
    life.assign(at=T0 + 100 * HOUR)
    assert life.job.expires_us is None
    [(_, started)] = life.do(c.Start(lease_id=life.lease), T0 + 101 * HOUR)
    assert isinstance(started, e.JobStarted)
    assert started.deadline_us == life.job.expires_us == T0 + 106 * HOUR


def test_extensions_before_the_first_start_are_added_at_it() -> None:
    life = Life(STARTED)
    life.do(c.Extend(requested_us=HOUR))
    life.assign()
    life.do(c.Extend(requested_us=2 * HOUR))
    assert (life.job.expires_us, life.job.granted_us) == (None, 3 * HOUR)
    life.do(c.Start(lease_id=life.lease), T0 + MINUTE)
    assert life.job.expires_us == T0 + MINUTE + 8 * HOUR
    life.do(c.Extend(requested_us=HOUR))
    assert life.job.expires_us == T0 + MINUTE + 9 * HOUR


@pytest.mark.parametrize("terms", [WEB, STARTED])
def test_only_the_first_start_sets_a_deadline(terms: e.Terms) -> None:
    life = Life(terms)
    life.start(at=T0 + S)
    before = life.job
    life.do(c.Release(lease_id=life.lease, reason="drain"), T0 + HOUR)
    [(_, again)] = life.start("B", T0 + 2 * HOUR)
    assert isinstance(again, e.JobStarted)
    assert again.deadline_us is None
    assert (life.job.expires_us, life.job.started_us) == (before.expires_us, T0 + S)
    assert life.job.lease is not None
    assert life.job.lease.started_us == T0 + 2 * HOUR


def test_an_allocation_that_counts_from_creation_is_not_in_the_start() -> None:
    [(_, started)] = Life().start()
    assert isinstance(started, e.JobStarted)
    assert started.deadline_us is None


@pytest.mark.parametrize(
    ("allocation", "grace", "before"),
    [(5 * HOUR, 30 * S, 30 * S), (100 * S, 30 * S, 10 * S), (5 * HOUR, 0, 0), (300 * S, 30 * S, 30 * S)],
)
def test_the_stop_signal_comes_a_grace_before_the_deadline(allocation: int, grace: int, before: int) -> None:
    terms = replace(WEB, time_allocation_us=allocation, termination_grace_period_us=grace)
    assert Life(terms).job.stop_signal_us == T0 + allocation - before


# --- ending a job ---


@pytest.mark.parametrize("phase", [*LIVE, Phase.STOPPING])
def test_terminate_at_once(phase: Phase) -> None:
    life = in_phase(phase)
    assert kinds(life.do(c.Terminate(reason="budget"))) == [e.JobTerminated]
    assert (life.job.outcome, life.job.reason, life.job.lease) == (e.Outcome.CANCELLED, "budget", None)


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.ASSIGNED])
def test_what_does_not_run_needs_no_grace(phase: Phase) -> None:
    life = in_phase(phase)
    assert kinds(life.do(c.Terminate(grace_us=10 * S))) == [e.JobTerminated]


def test_terminate_twice_is_one_event() -> None:
    life = in_phase(Phase.RUNNING)
    assert len(life.do(c.Terminate())) == 1
    assert life.do(c.Terminate()) == []


def test_terminate_with_grace() -> None:
    life = in_phase(Phase.RUNNING)
    dated = life.do(c.Terminate(reason="budget", grace_us=10 * S), T0 + S)
    assert dated == [(T0 + S, e.CancelRequested(reason="budget", until_us=T0 + 11 * S))]
    assert (life.job.state, life.job.due_us) == (State.CANCELING, T0 + 11 * S)
    assert life.job.lease is not None


def test_the_grace_ends_with_the_deadline() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Terminate(grace_us=HOUR), DEADLINE - S)
    assert life.job.due_us == DEADLINE
    life.do(c.Tick(), DEADLINE)
    assert life.job.outcome is e.Outcome.CANCELLED


@pytest.mark.parametrize("late", [0, 1, HOUR])
def test_the_end_of_the_grace(late: int) -> None:
    life = in_phase(Phase.STOPPING)
    assert life.do(c.Tick(), T0 + 10 * S - 1) == []
    [(time_us, event)] = life.do(c.Tick(), T0 + 10 * S + late)
    assert time_us == T0 + 10 * S
    assert event == e.JobTerminated(outcome=e.Outcome.CANCELLED, reason="enough", attempt=1)


def test_the_end_of_the_grace_says_so_where_no_reason_was_given() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Terminate(grace_us=S))
    life.do(c.Tick(), T0 + S)
    assert life.job.reason == "its grace period is over"


def test_the_second_cancellation_ends_the_grace_and_keeps_the_reason() -> None:
    life = in_phase(Phase.STOPPING)
    assert kinds(life.do(c.Terminate(grace_us=HOUR))) == [e.JobTerminated]
    assert (life.job.outcome, life.job.reason) == (e.Outcome.CANCELLED, "enough")


@pytest.mark.parametrize("phase", [*LIVE, Phase.STOPPING])
def test_the_operator_ends_a_job(phase: Phase) -> None:
    life = in_phase(phase)
    assert kinds(life.do(c.Halt(reason="maintenance"))) == [e.JobTerminated]
    assert (life.job.state, life.job.outcome) == (State.FAILURE, e.Outcome.SYSTEM)
    assert life.job.reason == "maintenance"


def test_an_operator_always_gives_a_reason() -> None:
    life = Life()
    life.do(c.Halt(reason=""))
    assert life.job.reason == "no reason was given"


@pytest.mark.parametrize("command", [c.Terminate(), c.Terminate(grace_us=S), c.Halt(reason="x"), c.Tick()])
def test_a_final_job_stays_as_it_is(command: c.Command) -> None:
    life = in_phase(Phase.FINAL)
    assert life.do(command, MAX_TIME_US) == []
    assert life.job.outcome is e.Outcome.COMPLETED


# --- time ---


def test_a_clock_that_is_behind_never_dates_an_event_before_the_last() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Extend(requested_us=HOUR), T0 + MINUTE)
    [(time_us, _)] = life.do(c.Terminate(), T0)
    assert time_us == T0 + MINUTE
