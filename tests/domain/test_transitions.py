"""The transition table, walked whole: every pair of phase and event, every outcome, and the page made from it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from docs.generate_state_machine import PAGE, WAYS, Way, page
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import Dated
from tenure.domain.errors import IllegalTransition
from tenure.domain.job import Job, create, evolve, fold
from tenure.domain.states import OUTCOMES, TRANSITIONS, Phase, State, shown
from tests.domain.life import BATCH, HOUR, T0, WEB, Life, S, created, in_phase, kinds

EVENTS: tuple[type[e.JobEvent], ...] = get_args(e.JobEvent)


def _sample(event: type[e.JobEvent], job: Job, lease_id: str = "lease-1") -> e.JobEvent:
    """An event of that type that speaks of the job's latest attempt."""
    n, w = job.attempt, "A"
    samples: dict[type[e.JobEvent], e.JobEvent] = {
        e.JobCreated: created(),
        e.JobAssigned: e.JobAssigned(lease_id="lease-2", attempt=n + 1, worker_id="B", lease_us=60 * S),
        e.AssignmentDeclined: e.AssignmentDeclined(
            lease_id=lease_id, attempt=n, worker_id=w, reason="busy", passed_over_until_us=T0 + S
        ),
        e.JobStarted: e.JobStarted(lease_id=lease_id, attempt=n, worker_id=w),
        e.JobHeartbeat: e.JobHeartbeat(lease_id=lease_id, attempt=n, count=1, last_beat_us=T0),
        e.JobExtended: e.JobExtended(requested_us=HOUR),
        e.AttemptFailed: e.AttemptFailed(lease_id=lease_id, attempt=n, worker_id=w, stage=e.Stage.RUN, exit_code=1),
        e.AttemptReleased: e.AttemptReleased(lease_id=lease_id, attempt=n, worker_id=w, reason="drain"),
        e.LeaseExpired: e.LeaseExpired(lease_id=lease_id, attempt=n, worker_id=w, silence_us=60 * S),
        e.JobRequeued: e.JobRequeued(cause=e.RequeueCause.LOST, attempt=n, worker_id=w, reason="lost"),
        e.CancelRequested: e.CancelRequested(reason="", until_us=T0 + S),
        e.JobTerminated: e.JobTerminated(outcome=e.Outcome.SYSTEM, reason="stopped", attempt=n),
    }
    return samples[event]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("phase", Phase)
def test_every_pair_of_phase_and_event(phase: Phase, event: type[e.JobEvent]) -> None:
    job = in_phase(phase).job
    if event is e.JobRequeued and job.lease:
        job = evolve(job, _sample(e.LeaseExpired, job), T0)  # only an attempt that has ended is followed by it
    after = TRANSITIONS.get((phase, event))
    if after is None:
        with pytest.raises(IllegalTransition, match=f"62348 .*{event.__name__}|created before"):
            evolve(job, _sample(event, job), T0)
    else:
        evolved = evolve(job, _sample(event, job), T0 + S)
        assert evolved.phase is after
        assert evolved.version == job.version + 1
        assert evolved.last_us == T0 + S


@pytest.mark.parametrize("event", EVENTS[1:])
def test_a_stream_begins_with_its_creation(event: type[e.JobEvent]) -> None:
    assert (None, event) not in TRANSITIONS
    with pytest.raises(IllegalTransition, match="begins with"):
        fold("62348", [(T0, _sample(event, Life().job))])


def test_an_empty_stream_is_no_job() -> None:
    assert fold("62348", []) is None


def test_nothing_follows_the_end() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] is Phase.FINAL]
    assert Phase.FINAL not in OUTCOMES


@pytest.mark.parametrize("outcome", e.Outcome)
@pytest.mark.parametrize("phase", OUTCOMES)
def test_every_outcome_in_every_phase(phase: Phase, outcome: e.Outcome) -> None:
    job = in_phase(phase).job
    end = e.JobTerminated(outcome=outcome, reason="because", attempt=job.attempt)
    if outcome not in OUTCOMES[phase]:
        with pytest.raises(IllegalTransition, match=outcome.name):
            evolve(job, end, T0 + S)
        return
    ended = evolve(job, end, T0 + S)
    assert (ended.phase, ended.outcome, ended.reason, ended.ended_us) == (Phase.FINAL, outcome, "because", T0 + S)
    assert (ended.lease, ended.expires_us, ended.stop_until_us, ended.avoided) == (None, None, None, ())
    assert ended.state is shown(Phase.FINAL, outcome)


def test_what_each_phase_may_end_with() -> None:
    """Nothing that never ran completes or fails, and whoever cancels a job never finds it expired or failed."""
    names = {phase.name: {outcome.name for outcome in outcomes} for phase, outcomes in OUTCOMES.items()}
    assert names == {
        "QUEUED": {"CANCELLED", "EXPIRED", "SYSTEM"},
        "ASSIGNED": {"FAILED", "LOST", "CANCELLED", "EXPIRED", "SYSTEM"},
        "RUNNING": {"COMPLETED", "FAILED", "LOST", "CANCELLED", "EXPIRED", "SYSTEM"},
        "STOPPING": {"CANCELLED", "SYSTEM"},
    }


def test_states_shown() -> None:
    assert [shown(phase, None) for phase in list(Phase)[:4]] == ["IN_QUEUE", "IN_QUEUE", "RUNNING", "CANCELING"]
    assert {outcome.name: shown(Phase.FINAL, outcome) for outcome in e.Outcome} == {
        "COMPLETED": State.SUCCESS,
        "CANCELLED": State.SUCCESS,
        "FAILED": State.FAILURE,
        "LOST": State.FAILURE,
        "EXPIRED": State.EXPIRED,
        "SYSTEM": State.FAILURE,
    }


# --- events that the table allows but that speak of something else than the live attempt ---


@pytest.mark.parametrize("event", [e.JobHeartbeat, e.AttemptFailed, e.AttemptReleased, e.LeaseExpired])
def test_another_lease_is_never_folded(event: type[e.JobEvent]) -> None:
    job = in_phase(Phase.RUNNING).job
    with pytest.raises(IllegalTransition, match="lease-0, which is not the live one"):
        evolve(job, _sample(event, job, lease_id="lease-0"), T0)


def test_an_attempt_has_one_end_in_the_log() -> None:
    job = in_phase(Phase.RUNNING).job
    ended = evolve(job, _sample(e.AttemptFailed, job), T0)
    with pytest.raises(IllegalTransition):
        evolve(ended, _sample(e.AttemptReleased, job), T0)
    with pytest.raises(IllegalTransition, match="no live attempt"):
        evolve(ended, e.JobTerminated(outcome=e.Outcome.COMPLETED, reason=""), T0)


def test_a_job_is_not_requeued_under_a_live_attempt() -> None:
    job = in_phase(Phase.RUNNING).job
    with pytest.raises(IllegalTransition, match="holds a lease"):
        evolve(job, _sample(e.JobRequeued, job), T0)


@pytest.mark.parametrize("attempt", [0, 2, 3])
def test_attempts_are_numbered_without_gaps(attempt: int) -> None:
    event = e.JobAssigned(lease_id="x", attempt=attempt, worker_id="A", lease_us=S)
    with pytest.raises(IllegalTransition, match="after attempt 0"):
        evolve(Life().job, event, T0)


# --- the page ---


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make generate`"


def test_the_ways_use_the_whole_table_and_nothing_else() -> None:
    used = set()
    for way in WAYS:
        for start in way.phases:
            phase = start
            for event in way.events:
                used.add((phase, event))
                phase = TRANSITIONS[phase, event]
    assert used == set(TRANSITIONS)
    ends = {(phase, way.outcome) for way in WAYS for phase in way.phases if way.outcome}
    assert ends == {(phase, outcome) for phase, outcomes in OUTCOMES.items() for outcome in outcomes}


def _lost_on_others(life: Life) -> None:
    for worker in "BCDE":
        life.assign(worker)
        life.lose()


def _play(way: Way, phase: Phase) -> tuple[Life, list[Dated]]:
    """The job after the way was gone from that phase, and the events of its last command."""
    base = BATCH if way.outcome is e.Outcome.LOST else WEB
    life = Life(replace(base, max_failures=1) if way.outcome is e.Outcome.FAILED else base)
    if way.outcome is e.Outcome.LOST:
        _lost_on_others(life)
    if phase is Phase.ASSIGNED:
        life.assign()
    elif phase in (Phase.RUNNING, Phase.STOPPING):
        life.start()
    if phase is Phase.STOPPING:
        life.do(c.Terminate(grace_us=10 * S))
    assert life.job.phase is phase
    lease = life.lease
    ends: dict[e.Outcome | None, c.Command] = {
        e.Outcome.COMPLETED: c.Succeed(lease_id=lease),
        e.Outcome.CANCELLED: c.Terminate(),
        e.Outcome.EXPIRED: c.Tick(),
        e.Outcome.SYSTEM: c.Halt(reason="maintenance"),
    }
    commands: dict[type[e.JobEvent], c.Command] = {
        e.JobAssigned: c.Assign(lease_id="lease-1", worker_id="A"),
        e.AssignmentDeclined: c.Decline(lease_id=lease, reason="busy"),
        e.JobStarted: c.Start(lease_id=lease),
        e.JobHeartbeat: c.Record(lease_id=lease, beat=c.Beat(count=1, at_us=T0)),
        e.JobExtended: c.Extend(requested_us=HOUR),
        e.AttemptFailed: c.Fail(lease_id=lease, stage=e.Stage.RUN, exit_code=1),
        e.AttemptReleased: c.Release(lease_id=lease, reason="drain"),
        e.LeaseExpired: c.ExpireLease(lease_id=lease, silence_us=60 * S),
        e.CancelRequested: c.Terminate(grace_us=10 * S),
    }
    command = commands[way.events[0]] if way.events[0] is not e.JobTerminated else ends[way.outcome]
    at = T0 + 5 * HOUR if way.outcome is e.Outcome.EXPIRED else T0 + S
    return life, life.do(command, at)


@pytest.mark.parametrize(
    ("way", "phase"),
    [
        pytest.param(way, phase, id=f"{phase.name}-{'-'.join(event.__name__ for event in way.events)}-{way.outcome}")
        for way in WAYS
        for phase in way.phases
        if phase is not None
    ],
)
def test_every_way_is_gone_by_a_command(way: Way, phase: Phase) -> None:
    life, dated = _play(way, phase)
    assert tuple(kinds(dated)) == way.events
    assert life.job.phase is way.after(phase)
    assert life.job.outcome is way.outcome


def test_creation_is_the_way_that_no_command_goes() -> None:
    way = next(way for way in WAYS if None in way.phases)
    assert way.events == (e.JobCreated,)
    assert create("62348", created(), T0).phase is way.after(None)
