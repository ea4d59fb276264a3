"""Leases: lost workers, every way out of a cancellation, repeats, contradictions, and what comes too late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason
from tenure.domain.states import Phase, State
from tests.domain.life import BATCH, HOUR, MINUTE, T0, WEB, Life, S, in_phase, kinds

# --- lost workers ---


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.RUNNING])
def test_a_lost_worker_is_an_interruption(phase: Phase) -> None:
    life = in_phase(phase, BATCH)
    (_, expired), (_, requeued) = life.lose(T0 + 120 * S)
    assert expired == e.LeaseExpired(lease_id="lease-1", attempt=1, worker_id="A", silence_us=60 * S, suspicious=True)
    assert requeued == e.JobRequeued(
        cause=e.RequeueCause.LOST, attempt=1, worker_id="A", reason="no heartbeat for 60 s"
    )
    job = life.job
    assert (job.phase, job.num_failures, job.num_interruptions) == (Phase.QUEUED, 0, 1)


def _lose_on(life: Life, workers: str, *, after: int = 60 * S, mass: bool = False) -> None:
    for worker in workers:
        life.start(worker, life.now)
        life.lose(life.now + after, mass=mass)


def test_the_fifth_worker_lost_in_a_row_ends_the_job() -> None:
    life = Life(BATCH)
    _lose_on(life, "ABCD")
    assert life.job.phase is Phase.QUEUED
    life.start("E", life.now)
    assert kinds(life.lose(life.now + 60 * S)) == [e.LeaseExpired, e.JobTerminated]
    assert (life.job.state, life.job.outcome) == (State.FAILURE, e.Outcome.LOST)
    assert life.job.reason == "5 workers in a row were lost while they ran it"
    assert (life.job.num_failures, life.job.num_interruptions) == (0, 5)


def test_the_same_worker_lost_again_is_no_further_one() -> None:
    life = Life(BATCH)
    _lose_on(life, "ABCDABCD")
    assert life.job.phase is Phase.QUEUED
    _lose_on(life, "E")
    assert life.job.outcome is e.Outcome.LOST


def test_a_mass_loss_does_not_count_and_breaks_no_row() -> None:
    life = Life(BATCH)
    _lose_on(life, "ABCDEFGH", mass=True)
    assert (life.job.phase, life.job.num_interruptions) == (Phase.QUEUED, 8)
    _lose_on(life, "IJKL")
    _lose_on(life, "M", mass=True)
    assert life.job.phase is Phase.QUEUED
    _lose_on(life, "N")
    assert life.job.outcome is e.Outcome.LOST


def test_ten_minutes_are_the_limit() -> None:
    life = Life(BATCH)
    _lose_on(life, "ABCD", after=10 * MINUTE)
    _lose_on(life, "E", after=10 * MINUTE + 1)
    assert life.job.phase is Phase.QUEUED
    life = Life(BATCH)
    _lose_on(life, "ABCDE", after=10 * MINUTE)
    assert life.job.outcome is e.Outcome.LOST


@pytest.mark.parametrize("between", ["a long attempt", "a release", "a failure"])
def test_an_attempt_that_ended_otherwise_breaks_the_row(between: str) -> None:
    life = Life(BATCH)
    _lose_on(life, "ABCD")
    if between == "a long attempt":
        _lose_on(life, "E", after=HOUR)
    else:
        life.start("E", life.now)
        life.fail() if between == "a failure" else life.do(c.Release(lease_id=life.lease, reason="drain"))
    _lose_on(life, "FGHI")
    assert life.job.phase is Phase.QUEUED
    _lose_on(life, "J")
    assert life.job.outcome is e.Outcome.LOST


def test_a_declined_assignment_is_no_attempt_that_breaks_the_row() -> None:
    life = Life(BATCH)
    _lose_on(life, "ABCD")
    life.assign("E")
    life.do(c.Decline(lease_id=life.lease, reason="busy"))
    _lose_on(life, "F")
    assert life.job.outcome is e.Outcome.LOST


def test_giving_up_on_lost_workers_can_be_switched_off() -> None:
    life = Life(replace(BATCH, max_lost_leases=0))
    _lose_on(life, "ABCDEFGHIJ")
    assert (life.job.phase, life.job.lost_in_a_row) == (Phase.QUEUED, ())


# --- while the job is being cancelled ---


STOPPING_ENDS = {
    "exit 0": (c.Succeed(lease_id="lease-1"), [e.JobTerminated]),
    "failed": (c.Fail(lease_id="lease-1", stage=e.Stage.RUN, exit_code=1), [e.AttemptFailed, e.JobTerminated]),
    "released": (c.Release(lease_id="lease-1", reason="drain"), [e.AttemptReleased, e.JobTerminated]),
    "lost": (c.ExpireLease(lease_id="lease-1", silence_us=60 * S), [e.LeaseExpired, e.JobTerminated]),
    "second cancellation": (c.Terminate(), [e.JobTerminated]),
}


@pytest.mark.parametrize(("command", "events"), STOPPING_ENDS.values(), ids=STOPPING_ENDS)
def test_every_way_out_of_stopping_is_a_cancellation(command: c.Command, events: list[type[e.JobEvent]]) -> None:
    life = in_phase(Phase.STOPPING, replace(WEB, max_failures=1, max_lost_leases=1))
    assert kinds(life.do(command, T0 + 3 * S)) == events
    assert (life.job.state, life.job.outcome) == (State.SUCCESS, e.Outcome.CANCELLED)
    assert life.job.reason == "enough"
    # However its attempt ended, the job was asked to stop: that is no failure of it, and nothing interrupted it.
    assert (life.job.num_failures, life.job.num_interruptions) == (0, 0)


# --- repeats, contradictions and what comes too late ---


REPORTS: dict[str, c.Command] = {
    "succeeded": c.Succeed(lease_id="lease-1"),
    "failed": c.Fail(lease_id="lease-1", stage=e.Stage.RUN, exit_code=1),
    "released": c.Release(lease_id="lease-1", reason="drain"),
}


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING])
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_repeated_report_is_acknowledged(report: c.Command, phase: Phase) -> None:
    life = in_phase(phase)
    assert life.do(report, T0 + S)
    assert life.do(report, T0 + 2 * S) == []
    if life.job.phase is Phase.QUEUED:  # and while the next attempt runs as well
        life.start("B", T0 + 3 * S)
        assert life.do(report) == []
        life.lose(T0 + 60 * S)
        assert life.do(report) == []


def test_a_repeated_start_is_acknowledged() -> None:
    for phase in (Phase.RUNNING, Phase.STOPPING):
        life = in_phase(phase)
        assert life.do(c.Start(lease_id=life.lease)) == []


@pytest.mark.parametrize("second", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("first", REPORTS.values(), ids=REPORTS)
def test_a_contradiction_is_a_conflict(first: c.Command, second: c.Command) -> None:
    life = in_phase(Phase.RUNNING)
    life.do(first)
    if first is second:
        assert life.do(second) == []
    else:
        assert life.refusal(second).reason is Reason.OUTCOME_CONFLICT


LATE: dict[str, c.Command] = {
    **REPORTS,
    "started": c.Start(lease_id="lease-1"),
    "declined": c.Decline(lease_id="lease-1", reason="busy"),
    "beat": c.Record(lease_id="lease-1", beat=c.Beat(count=7, at_us=T0)),
    "lease expired": c.ExpireLease(lease_id="lease-1", silence_us=S),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
@pytest.mark.parametrize("way", ["lost", "lost and given to another", "cancelled", "expired", "stopped", "declined"])
def test_a_lease_that_is_over_is_lost(way: str, late: c.Command) -> None:
    life = in_phase(Phase.ASSIGNED if way == "declined" else Phase.RUNNING)
    match way:
        case "cancelled":
            life.do(c.Terminate())
        case "expired":
            life.do(c.Tick(), T0 + 5 * HOUR)
        case "stopped":
            life.do(c.Halt(reason="maintenance"))
        case "declined":
            life.do(c.Decline(lease_id=life.lease, reason="busy"))
        case _:
            life.lose(T0 + 60 * S)
    if way == "lost and given to another":
        life.start("B", T0 + 61 * S)
    assert life.refusal(late, T0 + 6 * HOUR if way == "expired" else T0 + 62 * S).reason is Reason.LEASE_LOST


@pytest.mark.parametrize("late", REPORTS.values(), ids=REPORTS)
def test_a_report_after_the_grace_is_too_late(late: c.Command) -> None:
    life = in_phase(Phase.STOPPING)
    assert life.refusal(late, T0 + 10 * S).reason is Reason.LEASE_LOST
    life.do(c.Tick(), T0 + 10 * S)
    assert life.refusal(late).reason is Reason.LEASE_LOST


@pytest.mark.parametrize("late", ["failed", "released"])
def test_a_failure_after_the_second_cancellation_is_too_late(late: str) -> None:
    life = in_phase(Phase.STOPPING)
    life.do(c.Terminate())
    assert life.refusal(REPORTS[late]).reason is Reason.LEASE_LOST


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("command", LATE.values(), ids=LATE)
def test_a_lease_nobody_gave_is_lost(command: c.Command, phase: Phase) -> None:
    life = in_phase(phase)
    if life.job.lease is not None:  # the same command, but the job's lease has another name
        life.job = replace(life.job, lease=replace(life.job.lease, lease_id="lease-9"))
    life.job = replace(life.job, settled=None)
    assert life.refusal(command).reason is Reason.LEASE_LOST
