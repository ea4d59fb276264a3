"""What holds for every job, whatever is asked of it in whatever order and at whatever time.

The state machine sends random commands at random times, with live, old and invented leases, by a clock that now and
then steps back; after each, the laws are checked over the whole stream.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import Dated, decide, overdue
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job, evolve, fold
from tenure.domain.states import Phase, State
from tests.domain.laws import check
from tests.domain.life import HOUR, MINUTE, T0, WEB, Life, S

spans = st.integers(1, 100 * S)
terms = st.builds(
    e.Terms,
    time_allocation_us=st.sampled_from([None, 5 * S, 60 * S, 300 * S, 300 * S]),
    basis=st.sampled_from([e.Basis.CREATED, e.Basis.STARTED]),
    max_time_allocation_us=st.none() | st.integers(300 * S, 400 * S),
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


leases = st.sampled_from([f"lease-{n}" for n in range(5)])
reports = st.one_of(
    st.builds(c.Start, lease_id=leases),
    st.builds(c.Decline, lease_id=leases, reason=reasons),
    st.builds(c.Record, lease_id=leases, beat=beats),
    st.builds(c.Fail, lease_id=leases, stage=st.sampled_from(e.Stage), exit_code=st.none() | st.just(1)),
    st.builds(c.Succeed, lease_id=leases),
    st.builds(c.Release, lease_id=leases, reason=reasons),
    st.builds(c.ExpireLease, lease_id=leases, silence_us=spans, mass=st.booleans()),
)
assignments = st.builds(c.Assign, lease_id=leases, worker_id=workers)
extensions = st.builds(c.Extend, requested_us=st.integers(-1, 50 * S))
cancellations = st.builds(c.Terminate, reason=reasons, grace_us=st.sampled_from([0, 5 * S, 5 * S]))
commands = st.one_of(
    assignments, reports, extensions, cancellations, st.builds(c.Halt, reason=reasons), st.just(c.Tick())
)


# --- the state machine ---


def _live(self: JobMachine) -> bool:
    return self.life.job.lease is not None


def _eventful(self: JobMachine) -> bool:
    """Enough has happened: a job that is ended at once is a dull one."""
    return self.life.job.version >= 8


def _final(self: JobMachine) -> bool:
    return self.life.job.phase is Phase.FINAL


class JobMachine(RuleBasedStateMachine):
    """Random commands against one job; when it has ended, perhaps against another."""

    life: Life

    @initialize(terms=terms)
    def create(self, terms: e.Terms) -> None:
        """A job under any terms."""
        if terms.time_allocation_us is None:
            terms = replace(terms, basis=e.Basis.NONE)
        self.life = Life(terms)

    @precondition(_final)
    @rule(terms=terms)
    def create_another(self, terms: e.Terms) -> None:
        """The next job."""
        self.create(terms)

    @precondition(lambda self: self.life.job.phase is Phase.QUEUED)
    @rule(command=assignments, step=steps)
    def assign(self, command: c.Assign, step: int) -> None:
        """Give it to a worker."""
        self._send(command, step, lease=self.life.job.attempt + 1)

    @precondition(lambda self: self.life.job.phase is Phase.ASSIGNED)
    @rule(step=steps)
    def start(self, step: int) -> None:
        """Start its command."""
        self._send(c.Start(lease_id=""), step)

    @precondition(_live)
    @rule(command=reports, step=steps, beat=st.none() | beats)
    def report(self, command: c.WorkerCommand, step: int, beat: c.Beat | None) -> None:
        """What its worker says, or what is found out about it."""
        self._send(command, step, beat)

    @precondition(_live)
    @rule(seconds=st.integers(0, 6), worker=workers, mass=st.booleans())
    def lose_and_assign(self, seconds: int, worker: str, mass: bool) -> None:
        """A worker vanishes and another takes over."""
        self._send(c.ExpireLease(lease_id="", silence_us=S, mass=mass), seconds * S)
        if self.life.job.phase is Phase.QUEUED:
            self._send(c.Assign(lease_id="", worker_id=worker), 0, lease=self.life.job.attempt + 1)

    @rule(command=extensions, step=steps, beat=st.none() | beats)
    def extend(self, command: c.Extend, step: int, beat: c.Beat | None) -> None:
        """More time."""
        self._send(command, step, beat)

    @precondition(_eventful)
    @rule(command=cancellations, step=steps, beat=st.none() | beats)
    def cancel(self, command: c.Terminate, step: int, beat: c.Beat | None) -> None:
        """Its owner ends it."""
        self._send(command, step, beat)

    @precondition(_eventful)
    @rule(command=commands, step=steps, lease=st.integers(0, 8), beat=st.none() | beats)
    def anything(self, command: c.Command, step: int, lease: int, beat: c.Beat | None) -> None:
        """Any command, with any lease."""
        self._send(command, step, beat, lease=lease)

    @precondition(lambda self: _eventful(self) and self.life.job.due_us is not None)
    @rule(off=st.sampled_from([-1, 0, 1, S]), command=commands, beat=st.none() | beats)
    def come_near_the_deadline(self, off: int, command: c.Command, beat: c.Beat | None) -> None:
        """The clock reaches the next deadline, or nearly so, or goes beyond it."""
        assert self.life.job.due_us is not None
        self._send(command, self.life.job.due_us + off - self.life.now, beat)

    def _send(self, command: c.Command, step: int, beat: c.Beat | None = None, *, lease: int | None = None) -> None:
        life = self.life
        before, now = life.job, life.now + step
        if isinstance(command, c.Assign | c.WorkerCommand):
            command = replace(command, lease_id=f"lease-{before.attempt if lease is None else lease}")
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
        self._accepted(before, command, dated, beat)

    def _accepted(self, before: Job, command: c.Command, dated: list[Dated], beat: c.Beat | None) -> None:
        life, after = self.life, self.life.job
        now = max(life.now, before.last_us)
        assert overdue(after, now) == []
        if before.phase is Phase.FINAL:
            assert dated == []
        if beat is not None and before.lease is not None and after.lease is None:
            assert after.num_heartbeats == before.beats_before + beat.count
        for _, event in dated:
            if isinstance(event, e.JobAssigned):
                assert not before.avoids(event.worker_id, now)
                assert (before.not_before_us or 0) <= now
        if isinstance(command, c.Start | c.Succeed | c.Fail | c.Release):
            assert life.do(command, life.now) == []  # a repeat of what was accepted

    def _refused(self, before: Job, refused: Refused, command: c.Command, now: int) -> None:
        life = self.life
        if refused.reason is Reason.LEASE_LOST:
            assert isinstance(command, c.WorkerCommand)
            live = before.lease is not None and before.lease.lease_id == command.lease_id
            assert not live or overdue(before, now)
        if refused.reason is Reason.JOB_FINAL:
            assert before.phase is Phase.FINAL or overdue(before, now)
        life.now = now
        life.append(overdue(before, now))

    @invariant()
    def holds(self) -> None:
        """All of it."""
        if hasattr(self, "life"):
            check(self.life)


JobMachine.TestCase.settings = settings(stateful_step_count=50)
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
    if isinstance(command, c.Extend):
        life.do(command)
        return
    with suppress(Refused):
        life.do(command)


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


@given(terms=terms, script=st.lists(st.tuples(commands, steps), max_size=30), at=st.data())
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


@given(command=commands, step=st.integers(0, 10 * HOUR))
@pytest.mark.parametrize("outcome", e.Outcome)
def test_a_final_job_absorbs_everything(outcome: e.Outcome, command: c.Command, step: int) -> None:
    life = _ended(outcome)
    before = life.job
    with suppress(Refused):
        assert life.do(command, T0 + 5 * HOUR + step) == []
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


@given(added=st.lists(spans, max_size=5), late=st.integers(0, 1000 * HOUR))
def test_an_expiry_is_the_same_however_late_it_is_noticed(added: list[int], late: int) -> None:
    life = Life()
    for span in added:
        life.do(c.Extend(requested_us=span))
    deadline = T0 + 5 * HOUR + sum(added)
    in_time = life.job
    for time_us, event in overdue(in_time, deadline):
        in_time = evolve(in_time, event, time_us)
    life.do(c.Tick(), deadline + late)
    assert life.job == in_time
    assert (life.job.state, life.job.ended_us) == (State.EXPIRED, deadline)
