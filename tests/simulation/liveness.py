"""What must come about once the faults are over: every job ends or it is known why not, and nothing is left behind.

`History.healed_ns` is the instant from which on nothing is broken any more. The bounds are those that the leases, waits
and signals of the jobs allow; whoever runs a world has to let it go on for long enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tenure.domain import events as e
from tests.simulation.history import Refusal
from tests.simulation.invariants_case import SECOND_NS, Case
from tests.simulation.invariants_leases import GRACE_NS, SLACK_NS
from tests.simulation.invariants_story import FINAL, QUEUED, JobStory

# What is told and done after the last change; after this nothing more is written.
QUIET_NS = 30 * SECOND_NS
# A flush that began on a slow disk may last on for a while after that, and what waits behind it.
SLOW_NS = 120 * SECOND_NS
# So often a job may be offered in vain after the faults are over, before that is a game that never ends.
MOST_DECLINES = 8


def ends_or_is_explained(case: Case) -> Iterator[str]:
    """After the faults every job ends, or ExplainJob says what it waits for."""
    explained = _explanations(case)
    for job in case.story.jobs.values():
        if job.phase is FINAL:
            continue
        if job.phase is not QUEUED:
            yield f"job {job.id} is {job.phase} for ever, since {case.durable_ns(job.phases[-1][0]) / 1e9:g} s"
            continue
        answer = explained.get(job.id)
        if answer is None:
            yield f"job {job.id} waits for ever, and nobody was told why"
        elif not _waits_rightly(answer):
            yield f"job {job.id} waits for ever, and the server says: {answer.summary}"


def _explanations(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for call in case.history.calls:
        if call.rpc == "ExplainJob" and call.ok and call.sent_ns >= case.history.healed_ns:
            request: Any = call.request
            found[request.id] = call.answer
    return found


def _waits_rightly(answer: Any) -> bool:
    """There is a reason that no server could do anything about."""
    if answer.queue_paused or answer.HasField("next_retry") or not answer.summary:
        return bool(answer.summary)
    return bool(answer.workers_free - answer.workers_banned - answer.workers_unfit <= 0)


def no_orphans(case: Case) -> Iterator[str]:
    """No lease stays live that nobody is heard of with, be it never accepted."""
    end_ns = case.history.ended_ns
    boot = case.history.boots[-1] if case.history.boots else None
    for job in case.story.jobs.values():
        tenure = job.live
        if tenure is None or boot is None:
            continue
        signs = [sign.at_ns for sign in case.heard_of(tenure.lease_id) if sign.boot == boot.number]
        since_ns = max([boot.serving_ns or boot.started_ns, case.durable_ns(tenure.granted), *signs])
        since_ns = max(since_ns, case.history.healed_ns)
        if end_ns - since_ns > max(2 * tenure.length_us * 1000, GRACE_NS) + 2 * SLACK_NS:
            yield f"{tenure} holds its lease though it was not heard of for {(end_ns - since_ns) / 1e9:g} s"


def executions_end(case: Case) -> Iterator[str]:
    """Every command that was started has ended when its attempt has, and every attempt that was started has an end."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if run.ended_ns is not None or tenure is None or not tenure.ended:
            continue
        over_ns = max(case.durable_ns(tenure.ended), case.history.healed_ns)
        if case.history.ended_ns - over_ns > max(run.max_disconnected_ns, tenure.length_us * 1000) + QUIET_NS:
            yield f"the command of {tenure} runs for ever, its lease is over"


def the_log_comes_to_rest(case: Case) -> Iterator[str]:
    """When all jobs have ended nothing more is written, and no job is offered again and again in vain."""
    jobs = case.story.jobs.values()
    ends = [case.durable_ns(job.ended) for job in jobs if job.ended]
    if ends and all(job.phase is FINAL for job in jobs):
        rest_ns = max(*ends, case.history.healed_ns) + QUIET_NS
        for event in reversed(case.history.log):
            if case.durable_ns(event.position) <= rest_ns:
                break
            if event.stream.startswith("job/"):
                yield f"{type(event.payload).__name__} of {event.stream} came after everything had ended"
    declined: Counter[str] = Counter()
    for job in jobs:
        declined[job.id] = _declines_after(case, job)
    for job_id, count in declined.items():
        if count > MOST_DECLINES:
            yield f"job {job_id} was offered {count} times in vain after the faults were over"


def _declines_after(case: Case, job: JobStory) -> int:
    return sum(
        isinstance(tenure.end, e.AssignmentDeclined) and case.durable_ns(tenure.granted) > case.history.healed_ns
        for tenure in job.tenures
    )


def nothing_is_left(case: Case) -> Iterator[str]:
    """Tasks, timers and streams end with what they were for."""
    yield from case.history.leftovers


def nothing_went_wrong_unseen(case: Case) -> Iterator[str]:
    """No error reached a loop or ended a process but those that were injected."""
    yield from case.history.errors


def calls_are_answered(case: Case) -> Iterator[str]:
    """After the faults every call is answered, with something other than an internal error."""
    for call in case.history.calls:
        if call.sent_ns <= case.history.healed_ns + SLOW_NS or call.answered_ns is None:
            continue
        if call.answer is None:
            yield f"{call.rpc} of {call.client} at {call.sent_ns / 1e9:g} s was not answered: {call.unknown_code}"
        elif isinstance(call.answer, Refusal) and call.answer.code in ("INTERNAL", "UNKNOWN"):
            yield f"{call.rpc} of {call.client} at {call.sent_ns / 1e9:g} s met an internal error"
