"""What holds for every job, whatever is asked of it in whatever order and at whatever time.

The state machine sends random commands at random times, with live, old and invented leases, by a clock that now and
then steps back; after each, `check` looks at the whole stream.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import Dated, decide, overdue
from tenure.domain.errors import IllegalTransition, Reason, Refused
from tenure.domain.job import Job, evolve, fold
from tenure.domain.states import Phase, State
from tests.domain.life import HOUR, MINUTE, T0, WEB, Life, S, kinds

ATTEMPT_ENDS = (e.AssignmentDeclined, e.AttemptFailed, e.AttemptReleased, e.LeaseExpired)

spans = st.integers(1, 100 * S)
terms = st.builds(
    e.Terms,
    time_allocation_us=st.none() | spans,
    basis=st.sampled_from([e.Basis.CREATED, e.Basis.STARTED]),
    max_time_allocation_us=st.none() | st.integers(100 * S, 300 * S),
    max_failures=st.integers(1, 4),
    heartbeat_interval_us=st.sampled_from([S, 30 * S]),
    retry_initial_us=st.sampled_from([0, S]),
    ban_us=st.sampled_from([0, 5 * S, 10 * MINUTE]),
    max_lost_leases=st.integers(0, 3),
    lost_lease_window_us=st.sampled_from([5 * S, 10 * MINUTE]),
)
workers = st.sampled_from("ABCDE")
reasons = st.sampled_from(["", "because"])
counts = st.integers(0, 20)
beats = st.builds(
    c.Beat,
    count=counts,
    at_us=st.integers(T0, T0 + 100 * S),
    stage=st.sampled_from(e.Stage),
    progress=st.none() | st.floats(0, 1),
    transfer=st.builds(e.Transfer, files_uploaded=counts),
)
# Mostly forwards, often not at all, sometimes back.
steps = st.sampled_from([0, 0, 1, 1000, S]) | st.integers(-5 * S, 20 * S)


def commands(lease_ids: st.SearchStrategy[str], assigned: st.SearchStrategy[str]) -> st.SearchStrategy[c.Command]:
    """Any command, with leases from there and new leases named from there."""
    reports = (
        st.builds(c.Start, lease_id=lease_ids),
        st.builds(c.Decline, lease_id=lease_ids, reason=reasons),
        st.builds(c.Record, lease_id=lease_ids, beat=beats),
        st.builds(c.Fail, lease_id=lease_ids, stage=st.sampled_from(e.Stage), exit_code=st.none() | st.just(1)),
        st.builds(c.Succeed, lease_id=lease_ids),
        st.builds(c.Release, lease_id=lease_ids, reason=reasons),
        st.builds(c.ExpireLease, lease_id=lease_ids, silence_us=spans, mass=st.booleans()),
    )
    return st.one_of(
        st.builds(c.Assign, lease_id=assigned, worker_id=workers),
        *reports,
        st.builds(c.Extend, requested_us=st.integers(-1, 50 * S)),
        st.builds(c.Terminate, reason=reasons, grace_us=st.sampled_from([0, 0, 5 * S])),
        st.builds(c.Halt, reason=reasons),
        st.just(c.Tick()),
    )


# --- what holds ---


def check(life: Life) -> None:
    """Everything that is true of a job and its stream after any decision."""
    job, events = life.job, [event for _, event in life.log]
    assert fold(job.id, life.log) == job
    assert job.version == len(life.log)
    assert all(before <= after for (before, _), (after, _) in pairwise(life.log))
    assert job.last_us == life.log[-1][0]
    assert (job.lease is None) == (job.phase in (Phase.QUEUED, Phase.FINAL))
    assert (job.outcome is None) == (job.phase is not Phase.FINAL)
    assert (job.stop_until_us is None) == (job.phase is not Phase.STOPPING)
    _check_attempts(job, events)
    _check_counts(job, events)
    _check_time(job, life.log)
    _check_end(job, life.log)


def _check_attempts(job: Job, events: list[e.JobEvent]) -> None:
    numbers = [event.attempt for event in events if isinstance(event, e.JobAssigned)]
    assert numbers == list(range(1, job.attempt + 1))
    accepted = Counter(event.attempt for event in events if isinstance(event, ATTEMPT_ENDS))
    accepted.update(
        event.attempt for event in events if isinstance(event, e.JobTerminated) and event.outcome is e.Outcome.COMPLETED
    )
    assert set(accepted.values()) <= {1}


def _check_counts(job: Job, events: list[e.JobEvent]) -> None:
    assert job.num_failures == sum(isinstance(event, e.AttemptFailed) for event in events)
    assert job.num_interruptions == sum(isinstance(event, e.AttemptReleased | e.LeaseExpired) for event in events)
    most: dict[int, int] = {}
    for event in events:
        if isinstance(event, e.JobHeartbeat):
            assert event.count >= most.get(event.attempt, 0)
            most[event.attempt] = event.count
    assert job.num_heartbeats == sum(most.values())


def _check_time(job: Job, log: list[Dated]) -> None:
    granted = sum(event.requested_us for _, event in log if isinstance(event, e.JobExtended))
    assert job.granted_us == granted
    terms = job.origin.terms
    allocation = terms.time_allocation_us
    starts = [time_us for time_us, event in log if isinstance(event, e.JobStarted)]
    assert job.started_us == (starts[0] if starts else None)
    if allocation is None:
        assert granted == 0
        assert job.expires_us is None
        return
    base = job.origin.created_us if terms.basis is e.Basis.CREATED else job.started_us
    if job.phase is Phase.FINAL or base is None:
        assert job.expires_us is None
    else:
        assert job.expires_us == base + allocation + granted
    if base is not None:
        assert job.last_us <= base + allocation + granted
    if granted and terms.max_time_allocation_us is not None:
        assert allocation + granted <= terms.max_time_allocation_us


def _check_end(job: Job, log: list[Dated]) -> None:
    ends = [(time_us, event) for time_us, event in log if isinstance(event, e.JobTerminated)]
    if job.phase is not Phase.FINAL:
        assert not ends
        return
    assert ends == log[-1:]
    [(time_us, end)] = ends
    assert (job.outcome, job.reason, job.ended_us) == (end.outcome, end.reason, time_us)
    terms = job.origin.terms
    cancelling = any(isinstance(event, e.CancelRequested) for _, event in log)
    match end.outcome:
        case e.Outcome.COMPLETED:
            assert job.started_us is not None
        case e.Outcome.FAILED:
            assert job.num_failures == terms.max_failures
        case e.Outcome.LOST:
            assert len(_lost_at_the_end(log, terms)) == terms.max_lost_leases > 0
        case e.Outcome.EXPIRED:
            assert not cancelling
            assert terms.time_allocation_us is not None
        case _:
            pass
    if cancelling:
        assert end.outcome in (e.Outcome.CANCELLED, e.Outcome.SYSTEM)
    assert job.num_failures <= terms.max_failures


def _lost_at_the_end(log: list[Dated], terms: e.Terms) -> set[str]:
    """The workers lost in a row at the end of a stream, read backwards."""
    since = {event.attempt: time_us for time_us, event in log if isinstance(event, e.JobAssigned)}
    lost = set()
    for time_us, event in reversed(log):
        match event:
            case e.AttemptFailed() | e.AttemptReleased():
                break
            case e.LeaseExpired(suspicious=True):
                lost.add(event.worker_id)
            case e.LeaseExpired() if time_us - since[event.attempt] > terms.lost_lease_window_us:
                break
            case _:
                pass
    return lost


# --- the state machine ---


class JobMachine(RuleBasedStateMachine):
    """Random commands against one job."""

    life: Life

    @initialize(terms=terms)
    def create(self, terms: e.Terms) -> None:
        """A job under any terms."""
        if terms.time_allocation_us is None:
            terms = replace(terms, basis=e.Basis.NONE)
        self.life = Life(terms)

    def _lease_id(self, back: int) -> str:
        return f"lease-{max(0, self.life.job.attempt - back)}"

    def _send(self, command: c.Command, step: int, beat: c.Beat | None = None) -> None:
        life = self.life
        before, now = life.job, life.now + step
        # Whoever keeps the leases knows a beat only of a live attempt, and counts that never shrink.
        if before.lease is None or (beat is not None and beat.count < before.lease.beats):
            beat = None
        try:
            dated = decide(before, command, now, beat)
        except Refused as refused:
            self._refused(before, refused, command, now)
            return
        assert dated == decide(before, command, now, beat)
        life.do(command, now, beat)
        after = life.job
        if before.phase is Phase.FINAL:
            assert dated == []
        assert overdue(after, max(now, after.last_us)) == []
        if beat is not None and before.lease is not None and after.lease is None:
            assert after.num_heartbeats == before.beats_before + beat.count
        for _, event in dated:
            if isinstance(event, e.JobAssigned):
                assert not before.avoids(event.worker_id, max(now, before.last_us))
        if isinstance(command, c.Start | c.Succeed | c.Fail | c.Release):
            assert life.do(command, now) == []  # a repeat of what was accepted

    def _refused(self, before: Job, refused: Refused, command: c.Command, now: int) -> None:
        if refused.reason is Reason.LEASE_LOST:
            assert isinstance(command, c.WorkerCommand)
        if refused.reason is Reason.JOB_FINAL:
            assert before.phase is Phase.FINAL or overdue(before, now)
        self.life.now = now
        self.life.append(overdue(before, max(now, before.last_us)))

    @rule(step=steps, worker=workers)
    def assign(self, step: int, worker: str) -> None:
        """Give it to a worker."""
        self._send(c.Assign(lease_id=self._lease_id(-1), worker_id=worker), step)

    @precondition(lambda self: self.life.job.lease is not None)
    @rule(step=steps)
    def start(self, step: int) -> None:
        """Start its command."""
        self._send(c.Start(lease_id=self._lease_id(0)), step)

    @rule(step=steps, beat=st.none() | beats, back=st.sampled_from([0, 0, 0, 1, 2]), data=st.data())
    def anything(self, step: int, beat: c.Beat | None, back: int, data: st.DataObject) -> None:
        """Any command, mostly with the latest lease."""
        command = data.draw(commands(st.just(self._lease_id(back)), st.just(self._lease_id(-1))))
        self._send(command, step, beat)

    @precondition(lambda self: self.life.job.due_us is not None)
    @rule(data=st.data(), beat=st.none() | beats)
    def come_near_the_deadline(self, data: st.DataObject, beat: c.Beat | None) -> None:
        """The clock reaches the next deadline, or nearly so, or goes beyond it."""
        assert self.life.job.due_us is not None
        near = self.life.job.due_us + data.draw(st.sampled_from([-1, 0, 1, S]))
        self._send(data.draw(commands(st.just(self._lease_id(0)), st.just(self._lease_id(-1)))), 0, beat)
        self._send(c.Tick(), near - self.life.now, beat)

    @invariant()
    def holds(self) -> None:
        """All of it."""
        if hasattr(self, "life"):
            check(self.life)


JobMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestJob = JobMachine.TestCase


# --- single properties ---


@given(
    requested=st.lists(st.integers(1, 100 * HOUR), min_size=1, max_size=8),
    others=st.lists(st.sampled_from(["assign", "start", "beat", "release", "lose"]), max_size=12),
    basis=st.sampled_from([e.Basis.CREATED, e.Basis.STARTED]),
    data=st.data(),
)
def test_extensions_add_up_in_any_order_between_anything(
    requested: list[int], others: list[str], basis: e.Basis, data: st.DataObject
) -> None:
    """Told twice, with the same extensions at other places: the same deadline."""
    ends = set()
    for _ in range(2):
        life = Life(replace(WEB, basis=basis))
        script: list[int | str] = data.draw(st.permutations(requested))
        for index, other in enumerate(others):
            script.insert(data.draw(st.integers(index, len(script))), other)
        for step in [*script, "assign", "start"]:
            _try(life, c.Extend(requested_us=step) if isinstance(step, int) else _usual(life, step))
        assert life.job.started_us == T0
        ends.add(life.job.expires_us)
    assert ends == {T0 + 5 * HOUR + sum(requested)}


def _usual(life: Life, step: str) -> c.Command:
    match step:
        case "assign":
            return c.Assign(lease_id=f"lease-{life.job.attempt + 1}", worker_id="A")
        case "start":
            return c.Start(lease_id=life.lease)
        case "beat":
            return c.Record(lease_id=life.lease, beat=c.Beat(count=life.job.num_heartbeats + 1, at_us=T0))
        case "release":
            return c.Release(lease_id=life.lease, reason="drain")
        case _:
            return c.ExpireLease(lease_id=life.lease, silence_us=S, mass=True)


def _try(life: Life, command: c.Command) -> None:
    try:
        life.do(command)
    except Refused as refused:
        assert not isinstance(command, c.Extend), refused.message


@given(first=spans, second=spans)
def test_extensions_decided_on_the_same_version_add_up(first: int, second: int) -> None:
    """Two callers who both saw the job as it was: in either order both count."""
    job = Life().job
    one, other = (decide(job, c.Extend(requested_us=span), T0)[0] for span in (first, second))
    for dated in ([one, other], [other, one]):
        both = job
        for time_us, event in dated:
            both = evolve(both, event, time_us)
        assert both.expires_us == T0 + 5 * HOUR + first + second


any_lease = st.sampled_from([f"lease-{n}" for n in range(5)])


@given(terms=terms, script=st.lists(st.tuples(commands(any_lease, any_lease), steps), max_size=30), at=st.data())
def test_no_sequence_of_commands_makes_an_illegal_event(
    terms: e.Terms, script: list[tuple[c.Command, int]], at: st.DataObject
) -> None:
    """Nor does any prefix of the stream fold to something else than what was shown at that time."""
    life = Life(terms)
    shown = [life.job]
    for command, step in script:
        life.now += step
        before = len(life.log)
        try:
            life.do(command)
        except Refused:
            life.append(overdue(life.job, life.now))
        shown += [life.job] * (len(life.log) - before)
    version = at.draw(st.integers(1, len(life.log)))
    seen = fold("62348", life.log[:version])
    assert seen is not None
    assert seen.version == version
    if shown[version - 1].version == version:  # the last event of a commit
        assert seen == shown[version - 1]


@given(command=commands(any_lease, any_lease), step=st.integers(0, 10 * HOUR))
@pytest.mark.parametrize("outcome", e.Outcome)
def test_a_final_job_absorbs_everything(outcome: e.Outcome, command: c.Command, step: int) -> None:
    life = _ended(outcome)
    before = life.job
    try:
        assert life.do(command, T0 + 5 * HOUR + step) == []
    except Refused as refused:
        assert refused.reason in (
            Reason.JOB_FINAL,
            Reason.LEASE_LOST,
            Reason.OUTCOME_CONFLICT,
            Reason.INVALID_FIELD,
        )
    assert life.job is before
    assert overdue(before, T0 + 100 * HOUR) == []


def _ended(outcome: e.Outcome) -> Life:
    life = Life(replace(WEB, max_failures=1, max_lost_leases=1))
    life.start()
    match outcome:
        case e.Outcome.COMPLETED:
            life.do(c.Succeed(lease_id=life.lease))
        case e.Outcome.CANCELLED:
            life.do(c.Terminate())
        case e.Outcome.FAILED:
            life.fail()
        case e.Outcome.LOST:
            life.lose()
        case e.Outcome.EXPIRED:
            life.do(c.Tick(), T0 + 5 * HOUR)
        case e.Outcome.SYSTEM:
            life.do(c.Halt(reason="maintenance"))
    assert life.job.outcome is outcome
    return life


@given(extensions=st.lists(spans, max_size=5), late=st.integers(0, 1000 * HOUR))
def test_an_expiry_is_the_same_however_late_it_is_noticed(extensions: list[int], late: int) -> None:
    life = Life()
    for span in extensions:
        life.do(c.Extend(requested_us=span))
    deadline = T0 + 5 * HOUR + sum(extensions)
    in_time = life.job
    for time_us, event in overdue(in_time, deadline):
        in_time = evolve(in_time, event, time_us)
    life.do(c.Tick(), deadline + late)
    assert life.job == in_time
    assert (life.job.state, life.job.ended_us) == (State.EXPIRED, deadline)


@given(terms=terms, beat=beats)
def test_the_fold_knows_when_a_beat_is_not_of_the_live_attempt(terms: e.Terms, beat: c.Beat) -> None:
    life = Life(terms)
    life.assign()
    dated = life.do(c.Record(lease_id=life.lease, beat=beat)) or [
        (T0, e.JobHeartbeat(lease_id="lease-1", attempt=1, count=0, last_beat_us=T0))
    ]
    assert kinds(dated) == [e.JobHeartbeat]
    life.do(c.Release(lease_id=life.lease, reason="drain"))
    with pytest.raises(IllegalTransition):
        life.append(dated)
