"""What workers do to a job: assignments, beats, ends of attempts, retries, bans. Lost leases: test_decide_leases.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason
from tenure.domain.failures import failure_text
from tenure.domain.retry import MAX_AVOIDED
from tenure.domain.states import Phase, State
from tests.domain.life import BATCH, HOUR, MINUTE, T0, Life, S, in_phase, kinds

BEAT = c.Beat(count=7, at_us=T0 + 5 * S, stage=e.Stage.RUN, progress=0.5, progress_message="half")


# --- assignments ---


def test_assign_keeps_the_subject_of_the_worker() -> None:
    life = Life(BATCH)
    [(_, event)] = life.do(c.Assign(lease_id="lease-1", worker_id="A", subject="fleet"), T0)
    assert isinstance(event, e.JobAssigned)
    assert life.job.lease is not None
    assert (event.subject, life.job.lease.subject) == ("fleet", "fleet")


def test_assign() -> None:
    life = Life(BATCH)
    [(time_us, event)] = life.assign("9d8e79e1", T0 + 4 * S)
    assert event == e.JobAssigned(lease_id="lease-1", attempt=1, worker_id="9d8e79e1", lease_us=60 * S)
    lease = life.job.lease
    assert lease is not None
    assert (lease.lease_id, lease.length_us, lease.assigned_us) == ("lease-1", 60 * S, time_us)
    assert (life.job.attempt, life.job.worker_id) == (1, "9d8e79e1")


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.RUNNING, Phase.STOPPING])
def test_a_job_has_one_worker(phase: Phase) -> None:
    refused = in_phase(phase).refusal(c.Assign(lease_id="lease-2", worker_id="B"))
    assert refused.reason is Reason.VERSION_CONFLICT


def test_a_final_job_is_not_given_out() -> None:
    assert in_phase(Phase.FINAL).refusal(c.Assign(lease_id="lease-2", worker_id="B")).reason is Reason.JOB_FINAL


def test_decline() -> None:
    life = in_phase(Phase.ASSIGNED)
    [(_, event)] = life.do(c.Decline(lease_id=life.lease, reason="busy"), T0 + S)
    assert event == e.AssignmentDeclined(
        lease_id="lease-1", attempt=1, worker_id="A", reason="busy", passed_over_until_us=T0 + 2 * S
    )
    job = life.job
    assert (job.phase, job.lease, job.num_failures, job.num_interruptions) == (Phase.QUEUED, None, 0, 0)
    assert job.avoids("A", T0 + 2 * S - 1)
    assert not job.avoids("A", T0 + 2 * S)
    assert not job.avoids("B", T0 + S)


def test_a_worker_that_declines_again_is_passed_over_for_longer() -> None:
    life, waits, now = Life(), [], T0
    for _ in range(9):
        life.assign("A", now)
        [(_, event)] = life.do(c.Decline(lease_id=life.lease, reason="busy"), now)
        assert isinstance(event, e.AssignmentDeclined)
        waits.append((event.passed_over_until_us - now) // S)
        now = event.passed_over_until_us
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    life.assign("B", now)
    [(_, event)] = life.do(c.Decline(lease_id=life.lease, reason="busy"), now)
    assert isinstance(event, e.AssignmentDeclined)
    assert event.passed_over_until_us == now + S


def test_a_started_attempt_is_not_declined() -> None:
    life = in_phase(Phase.RUNNING)
    assert life.refusal(c.Decline(lease_id=life.lease, reason="busy")).reason is Reason.OUTCOME_CONFLICT


def test_a_worker_that_is_passed_over_is_refused_until_then() -> None:
    """Who gives jobs out looks too, but perhaps at a job that has moved on since."""
    life = in_phase(Phase.ASSIGNED)
    life.do(c.Decline(lease_id=life.lease, reason="busy"))
    assert life.refusal(c.Assign(lease_id="x", worker_id="A"), T0 + S - 1).reason is Reason.VERSION_CONFLICT
    assert kinds(life.assign("A", T0 + S)) == [e.JobAssigned]


# --- beats ---


def test_beats_are_cumulative() -> None:
    life = Life(BATCH)
    life.assign()
    for n in (1, 2, 3):
        life.do(c.Record(lease_id=life.lease, beat=c.Beat(count=n, at_us=T0 + n * 30 * S)), T0 + n * 30 * S)
    assert (life.job.num_heartbeats, life.job.last_beat_us) == (3, T0 + 90 * S)
    life.lose(T0 + 150 * S)
    life.assign("B")
    life.do(c.Record(lease_id=life.lease, beat=c.Beat(count=2, at_us=T0 + 200 * S)), T0 + 200 * S)
    assert life.job.num_heartbeats == 5


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.RUNNING, Phase.STOPPING])
def test_record(phase: Phase) -> None:
    life = in_phase(phase)
    [(time_us, event)] = life.do(c.Record(lease_id=life.lease, beat=BEAT), T0 + 6 * S)
    assert (time_us, life.job.phase) == (T0 + 6 * S, phase)
    assert event == e.JobHeartbeat(
        lease_id="lease-1",
        attempt=1,
        count=7,
        last_beat_us=T0 + 5 * S,
        stage=e.Stage.RUN,
        progress=0.5,
        progress_message="half",
    )
    progress = life.job.progress
    assert progress is not None
    assert (progress.fraction, progress.message) == (0.5, "half")
    assert life.do(c.Record(lease_id=life.lease, beat=BEAT)) == []


def test_the_time_of_the_last_beat_never_steps_back() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Record(lease_id=life.lease, beat=BEAT))
    life.do(c.Record(lease_id=life.lease, beat=c.Beat(count=8, at_us=T0)))
    assert (life.job.num_heartbeats, life.job.last_beat_us) == (8, BEAT.at_us)


def test_a_beat_that_says_nothing_of_progress_leaves_it() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Record(lease_id=life.lease, beat=BEAT))
    life.do(c.Record(lease_id=life.lease, beat=c.Beat(count=8, at_us=T0 + 6 * S)))
    assert life.job.progress is not None
    assert life.job.progress.fraction == 0.5
    assert life.job.lease is not None
    assert life.job.lease.stage is e.Stage.RUN


ENDS = {
    "declined": (Phase.ASSIGNED, c.Decline(lease_id="lease-1", reason="busy")),
    "failed": (Phase.RUNNING, c.Fail(lease_id="lease-1", stage=e.Stage.RUN)),
    "succeeded": (Phase.RUNNING, c.Succeed(lease_id="lease-1")),
    "released": (Phase.RUNNING, c.Release(lease_id="lease-1", reason="drain")),
    "lost": (Phase.RUNNING, c.ExpireLease(lease_id="lease-1", silence_us=60 * S)),
    "cancelled": (Phase.RUNNING, c.Terminate()),
    "stopped": (Phase.RUNNING, c.Halt(reason="maintenance")),
    "succeeded while stopping": (Phase.STOPPING, c.Succeed(lease_id="lease-1")),
}


@pytest.mark.parametrize(("phase", "command"), ENDS.values(), ids=ENDS)
def test_the_last_beat_is_written_before_the_end(phase: Phase, command: c.Command) -> None:
    life = in_phase(phase)
    dated = life.do(command, T0 + 6 * S, beat=BEAT)
    assert isinstance(dated[0][1], e.JobHeartbeat)
    assert kinds(dated).count(e.JobHeartbeat) == 1
    assert (life.job.num_heartbeats, life.job.last_beat_us, life.job.lease) == (7, T0 + 5 * S, None)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING])
def test_the_last_beat_is_written_before_time_ends_a_job(phase: Phase) -> None:
    life = in_phase(phase)
    dated = life.do(c.Tick(), T0 + 6 * HOUR, beat=BEAT)
    assert kinds(dated) == [e.JobHeartbeat, e.JobTerminated]
    assert len({time_us for time_us, _ in dated}) == 1
    assert life.job.num_heartbeats == 7


@pytest.mark.parametrize("command", [c.Extend(requested_us=HOUR), c.Terminate(grace_us=S), c.Tick()])
def test_nothing_but_an_end_writes_the_beat(command: c.Command) -> None:
    assert e.JobHeartbeat not in kinds(in_phase(Phase.RUNNING).do(command, beat=BEAT))


def test_a_last_beat_that_is_in_the_log_is_not_written_again() -> None:
    life = in_phase(Phase.RUNNING)
    known = c.Beat(count=7, at_us=T0 + 5 * S)
    life.do(c.Record(lease_id=life.lease, beat=known))
    assert kinds(life.do(c.Succeed(lease_id=life.lease), beat=known)) == [e.JobTerminated]


def test_what_was_copied_since_the_last_recorded_beat_is_written_at_the_end() -> None:
    life = in_phase(Phase.RUNNING)
    life.do(c.Record(lease_id=life.lease, beat=BEAT))
    last = replace(BEAT, transfer=e.Transfer(files_uploaded=25))
    (_, beat), _ = life.do(c.Succeed(lease_id=life.lease), beat=last)
    assert isinstance(beat, e.JobHeartbeat)
    assert (beat.count, beat.transfer.files_uploaded) == (7, 25)
    assert life.job.num_heartbeats == 7


# --- ends of attempts ---


def test_success() -> None:
    life = in_phase(Phase.RUNNING)
    assert kinds(life.do(c.Succeed(lease_id=life.lease), T0 + HOUR)) == [e.JobTerminated]
    job = life.job
    assert (job.state, job.outcome, job.ended_us) == (State.SUCCESS, e.Outcome.COMPLETED, T0 + HOUR)


def test_what_was_not_started_cannot_succeed() -> None:
    life = in_phase(Phase.ASSIGNED)
    assert life.refusal(c.Succeed(lease_id=life.lease)).reason is Reason.OUTCOME_CONFLICT


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.RUNNING])
def test_failure_ban_and_retry_until_the_last(phase: Phase) -> None:
    life = Life(BATCH)
    for number, worker in enumerate("AB", start=1):
        life.assign(worker) if phase is Phase.ASSIGNED else life.start(worker)
        failed, requeued = life.fail(T0 + number * S)
        assert failed[1] == e.AttemptFailed(
            lease_id=f"lease-{number}", attempt=number, worker_id=worker, stage=e.Stage.RUN, exit_code=1
        )
        assert requeued[1] == e.JobRequeued(
            cause=e.RequeueCause.FAILED,
            attempt=number,
            worker_id=worker,
            reason="exit code 1",
            banned_until_us=T0 + number * S + 10 * MINUTE,
        )
        assert (life.job.phase, life.job.num_failures, life.job.not_before_us) == (Phase.QUEUED, number, None)
    assert life.refusal(c.Assign(lease_id="x", worker_id="A"), T0 + 3 * S).reason is Reason.VERSION_CONFLICT
    life.assign("C") if phase is Phase.ASSIGNED else life.start("C")
    assert kinds(life.fail(T0 + 4 * S)) == [e.AttemptFailed, e.JobTerminated]
    job = life.job
    assert (job.state, job.outcome, job.reason) == (State.FAILURE, e.Outcome.FAILED, "exit code 1")
    assert (job.num_failures, job.num_interruptions, job.attempt) == (3, 0, 3)


def test_a_ban_ends() -> None:
    life = in_phase(Phase.RUNNING, BATCH)
    life.fail(T0 + S)
    assert life.job.avoids("A", T0 + S + 10 * MINUTE - 1)
    assert not life.job.avoids("A", T0 + S + 10 * MINUTE)
    assert kinds(life.assign("A", T0 + S + 10 * MINUTE)) == [e.JobAssigned]


def test_a_ban_outlives_many_that_are_passed_over() -> None:
    life = in_phase(Phase.RUNNING, BATCH)
    life.fail(T0)
    for n in range(2 * MAX_AVOIDED):
        life.assign(f"worker-{n}")
        life.do(c.Decline(lease_id=life.lease, reason="busy"))
    assert life.job.avoids("A", T0 + MINUTE)
    assert len(life.job.avoided) == MAX_AVOIDED


def test_retries_back_off() -> None:
    life = Life(replace(BATCH, max_failures=9, retry_initial_us=10 * S, retry_maximum_us=60 * S))
    waits, now = [], T0
    for worker in "ABCDE":
        life.start(worker, now)
        life.fail(now)
        assert life.job.not_before_us is not None
        waits.append((life.job.not_before_us - now) // S)
        early = life.refusal(c.Assign(lease_id="x", worker_id="Z"), life.job.not_before_us - 1)
        assert early.reason is Reason.VERSION_CONFLICT
        now = life.job.not_before_us
    assert waits == [10, 20, 40, 60, 60]
    life.assign("Z", now)
    assert life.job.not_before_us is None


def test_a_queue_may_do_without_bans() -> None:
    life = in_phase(Phase.RUNNING, replace(BATCH, ban_us=0))
    life.fail()
    assert life.job.avoided == ()


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"exit_code": 3}, "exit code 3"),
        ({"exit_code": 3, "message": "no space"}, "exit code 3: no space"),
        ({"signal": 9}, "signal 9 (SIGKILL)"),
        ({"signal": 63}, "signal 63"),
        ({"signal": 9, "oom": True}, "out of memory"),
        ({"message": "s3://b/k is refused"}, "s3://b/k is refused"),
        ({}, "no reason was given"),
    ],
)
def test_failures_in_words(how: dict[str, int], text: str) -> None:
    assert failure_text(c.Fail(lease_id="x", stage=e.Stage.RUN, **how)) == text  # type: ignore[arg-type]


def test_death_by_signal_is_a_failure() -> None:
    life = in_phase(Phase.RUNNING, replace(BATCH, max_failures=1))
    (_, failed), _ = life.do(c.Fail(lease_id=life.lease, stage=e.Stage.RUN, signal=9, oom=True))
    assert isinstance(failed, e.AttemptFailed)
    assert (failed.signal, failed.oom, failed.exit_code) == (9, True, None)
    assert (life.job.outcome, life.job.reason) == (e.Outcome.FAILED, "out of memory")


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.RUNNING])
def test_release_is_an_interruption(phase: Phase) -> None:
    life = in_phase(phase)
    (_, released), (_, requeued) = life.do(c.Release(lease_id=life.lease, reason="drain"))
    assert isinstance(released, e.AttemptReleased)
    assert requeued == e.JobRequeued(cause=e.RequeueCause.RELEASED, attempt=1, worker_id="A", reason="drain")
    job = life.job
    assert (job.phase, job.num_failures, job.num_interruptions) == (Phase.QUEUED, 0, 1)
    assert kinds(life.assign("A")) == [e.JobAssigned]
