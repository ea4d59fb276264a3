"""What is true of every job and its stream after any decision: `check`."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, takewhile

from tenure.domain import events as e
from tenure.domain.decide import Dated
from tenure.domain.job import Job, fold
from tenure.domain.states import Phase
from tests.domain.life import Life

ATTEMPT_ENDS = (e.AssignmentDeclined, e.AttemptFailed, e.AttemptReleased, e.LeaseExpired)


def check(life: Life) -> None:
    """Everything that is true of a job and its stream after any decision."""
    job, events = life.job, [event for _, event in life.log]
    assert fold(job.id, life.log) == job
    assert job.version == len(life.log)
    assert all(before <= after for (before, _), (after, _) in pairwise(life.log))
    assert job.last_us == life.log[-1][0]
    assert (job.lease is None) == (job.phase in (Phase.QUEUED, Phase.FINAL))
    assert job.lease is None or (job.lease.attempt, job.lease.worker_id) == (job.attempt, job.worker_id)
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
    # The end of an attempt that was asked to stop, its job being cancelled, counts as neither.
    counted = list(takewhile(lambda event: not isinstance(event, e.CancelRequested), events))
    assert job.num_failures == sum(isinstance(event, e.AttemptFailed) for event in counted)
    assert job.num_interruptions == sum(isinstance(event, e.AttemptReleased | e.LeaseExpired) for event in counted)
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
    assert job.stop_until_us is None or job.expires_us is None or job.stop_until_us <= job.expires_us
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
