"""What must hold of the commands that workers run: when they may start, what they may write, and when they end.

At most one attempt at a time may have an effect; that two run at once is possible while the worker of the first is out
of contact or stands still, and only then: see `lost_stops` and `disconnected_ends`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tenure.domain import events as e
from tests.simulation.history import Execution
from tests.simulation.invariants_case import SECOND_NS, Case

# The part of a lease after which its holder writes nothing more.
FENCE = 0.8
# What it takes a worker to kill a command once it knows that it must.
KILL_NS = 2 * SECOND_NS
ROUNDING_NS = 1_000_000
# After the first signal and the wait for it, SIGTERM is given so long before SIGKILL.
LAST_STEP_NS = 10 * SECOND_NS


def starts_after_confirmation(case: Case) -> Iterator[str]:
    """A command starts only after the server has confirmed its acceptance, and after its start is in the log; so a job
    that was cancelled in the queue never starts (promise 5, 1.9/10)."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if not run.acknowledged:
            yield f"{named_run(run)} started before its worker had heard that it holds the lease"
        if tenure is None or not tenure.started or case.durable_ns(tenure.started) > run.started_ns:
            yield f"{named_run(run)} started, and its start was not in the log"


def input_is_complete(case: Case) -> Iterator[str]:
    """No command runs on partial input (promise 5)."""
    for run in case.history.executions:
        if not run.inputs_complete:
            yield f"{named_run(run)} started before its input was complete"


def completed_means_stored(case: Case) -> Iterator[str]:
    """COMPLETED means that everything the sync rules promise is in the store (promise 5)."""
    runs = {run.lease_id: run for run in case.history.executions}
    for tenure in case.story.tenures.values():
        end = tenure.end
        if not isinstance(end, e.JobTerminated) or end.outcome is not e.Outcome.COMPLETED:
            continue
        run = runs.get(tenure.lease_id)
        if run is None:
            yield f"{tenure} is completed, and no command of it ran"
            continue
        by_ns = case.durable_ns(tenure.ended)
        for key, content in run.promised.items():
            if not any(at <= by_ns and stored == content for at, stored in case.history.object_times.get(key, ())):
                yield f"{tenure} is completed, and {key} was not stored"


def no_write_after_the_fence(case: Case) -> Iterator[str]:
    """What a worker writes to the object store is over within 0.8 of the lease, by its own clock and from the sending
    of the last beat that was acknowledged when the write began (promise 4). What was on its way when the machine
    stood still is not promised."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if tenure is None or not run.writes:
            continue
        fence_ns = round(tenure.length_us * 1000 * FENCE)
        renewals = case.renewals_of(run.lease_id)
        agent = case.agent_of(run)
        for write in run.writes:
            if write.ended_ns is None:
                continue
            known = [since for got, since in renewals if got <= write.begun_ns]
            if not known:
                yield f"{named_run(run)} wrote {write.key} before any beat of it was acknowledged"
                continue
            since_ns = max(known)
            rate = 1.0 if agent is None else agent.rate
            stood = agent is not None and any(span.overlaps(since_ns, write.ended_ns) for span in agent.pauses)
            took_ns = round((write.ended_ns - since_ns) * rate)
            if not stood and took_ns > fence_ns + ROUNDING_NS:
                yield f"{named_run(run)} wrote {write.key} {took_ns / 1e9:g} s after a beat, of {fence_ns / 1e9:g} s"


def no_write_of_a_lost_attempt(case: Case) -> Iterator[str]:
    """Nothing of an attempt is written once its lease has expired, so never beside a later attempt, as long as clocks
    drift by at most 2 % and the machine does not stand still (promise 4)."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if tenure is None or not isinstance(tenure.end, e.LeaseExpired):
            continue
        over_ns = case.durable_ns(tenure.ended)
        agent = case.agent_of(run)
        for write in run.writes:
            if write.ended_ns is None or write.ended_ns <= over_ns:
                continue
            if agent is None or not any(span.overlaps(write.begun_ns - 1, write.ended_ns) for span in agent.pauses):
                late_s = (write.ended_ns - over_ns) / 1e9
                yield f"{named_run(run)} wrote {write.key} {late_s:g} s after its lease expired"


def lost_stops(case: Case) -> Iterator[str]:
    """A worker that hears that a lease is over kills its command at once (promise 4, LEASE_LOST)."""
    heard = case.lost_at
    for run in case.history.executions:
        told_ns = heard.get((run.worker_id, run.incarnation, run.lease_id))
        if told_ns is None or told_ns < run.started_ns:
            continue
        agent = case.agent_of(run)
        until_ns = told_ns + KILL_NS
        for span in agent.pauses if agent is not None else ():
            if span.begin_ns <= until_ns:
                until_ns += (case.history.ended_ns if span.end_ns is None else span.end_ns) - span.begin_ns
        if (case.history.ended_ns if run.ended_ns is None else run.ended_ns) > until_ns:
            yield f"{named_run(run)} went on after its worker was told at {told_ns / 1e9:g} s that the lease is over"


def disconnected_ends(case: Case) -> Iterator[str]:
    """A command ends once its worker had no contact for max(lease, max_disconnected), and for the way down the signals
    that the job may take (promise 4)."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if tenure is None:
            continue
        agent = case.agent_of(run)
        terms = tenure.job.origin.terms
        limit_ns = max(tenure.length_us * 1000, run.max_disconnected_ns)
        limit_ns += terms.termination_grace_period_us * 1000 + LAST_STEP_NS + KILL_NS
        end_ns = case.history.ended_ns if run.ended_ns is None else run.ended_ns
        since_ns = run.started_ns
        contacts = [*case.renewals_of(run.lease_id), (end_ns, end_ns)]
        for got_ns, sent_ns in sorted(contacts):
            until_ns = min(got_ns, end_ns)
            stood = agent is not None and any(span.overlaps(since_ns, until_ns) for span in agent.pauses)
            if until_ns > run.started_ns and not stood and (until_ns - since_ns) * 0.97 > limit_ns:
                yield f"{named_run(run)} went on for {(until_ns - since_ns) / 1e9:g} s without contact"
                break
            since_ns = max(since_ns, sent_ns)


def named_run(run: Execution) -> str:
    return f"the command of attempt {run.attempt} of job {run.job_id} on {run.worker_id}"
