"""Whether the answers that clients got have an order: a complete search for each job, without a look at the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tenure.v1 import job_pb2
from tests.simulation.history import Call, Refusal
from tests.simulation.invariants_calls import micros, named_jobs
from tests.simulation.invariants_case import Case


def history_is_linearizable(case: Case) -> Iterator[str]:
    """For each job there is an order of the clients' calls, each at one instant between its sending and its answer (an
    unanswered one at any later time, or never), in which all answers are right. Judged without the log."""
    for job_id, wishes in _wishes(case).items():
        if len(wishes) <= _MOST_WISHES and not _ordered(wishes):
            yield f"no order of the {len(wishes)} calls about job {job_id} gives their answers"


# A wish is one operation of a client, with all its retries: (sent, answered or None, what, value, sure).
_Wish = tuple[int, int | None, str, int, bool]
_MOST_WISHES = 9


def _wishes(case: Case) -> dict[str, list[_Wish]]:
    """What clients asked of each job, as operations on (sum of the extensions, ended or ending)."""
    tries: dict[int, list[Call]] = {}
    for call in case.history.calls:
        if call.rpc in ("ExtendJobs", "TerminateJobs", "RetrieveJob"):
            tries.setdefault(call.operation, []).append(call)
    found: dict[str, list[_Wish]] = {}
    for calls in tries.values():
        if getattr(calls[0].request, "validate_only", False):
            continue
        for job_id in set(named_jobs(calls[0])):
            for wish in _asked(calls, job_id):
                found.setdefault(job_id, []).append(wish)
    return found


def _asked(calls: list[Call], job_id: str) -> Iterator[_Wish]:
    """What it asked of one job and was told of it; nothing, where what came of it says nothing."""
    first = calls[0]
    done = next((call for call in calls if call.ok), None)
    if first.rpc == "ExtendJobs":
        yield from _extensions(calls, done, job_id)
    elif done is not None and first.rpc == "TerminateJobs":
        yield first.sent_ns, done.answered_ns, "end", 0, True
    elif done is not None:
        answer: Any = done.answer
        ending = answer.job.status.state not in (job_pb2.JOB_STATE_IN_QUEUE, job_pb2.JOB_STATE_RUNNING)
        granted = micros(answer.job.status.granted_extension)
        yield done.sent_ns, done.answered_ns, "ended" if ending else "live", granted, True


def _extensions(calls: list[Call], done: Call | None, job_id: str) -> Iterator[_Wish]:
    first = calls[0]
    request: Any = first.request
    mine = [item for item in request.items if item.job_id == job_id]
    amount = sum(micros(item.requested_time) for item in mine)
    if len(calls) > 1 and not first.request_id:
        # Without an id, each try was carried out for itself, and nobody knows how many were.
        yield first.sent_ns, None, "?", 0, False
        return
    if done is not None:
        yield first.sent_ns, done.answered_ns, "extend", amount, True
        return
    over = next((call for call in calls if _is_over(call)), None)
    if over is not None and len(request.items) == 1:
        yield over.sent_ns, over.answered_ns, "over", 0, True
    # A refusal uses up nothing: a try that nobody heard of may be carried out before or after another was refused.
    unheard = next((call for call in calls if call.answer is None), None)
    if unheard is not None:
        yield unheard.sent_ns, None, "extend", amount, False


def _is_over(call: Call) -> bool:
    return isinstance(call.answer, Refusal) and call.answer.reason in ("JOB_FINAL", "JOB_STOPPING")


def _ordered(wishes: list[_Wish]) -> bool:
    if any(wish[2] == "?" for wish in wishes):
        return True
    count = len(wishes)
    dead: set[tuple[int, bool]] = set()

    def search(done: int, ended: bool) -> bool:
        if all(done >> index & 1 or not wishes[index][4] for index in range(count)):
            return True
        if (done, ended) in dead:
            return False
        # Whatever is next was sent before the first answer among those that are still to come.
        horizon = min((w[1] for i, w in enumerate(wishes) if not done >> i & 1 and w[1] is not None), default=None)
        for index, (sent, _, what, value, _sure) in enumerate(wishes):
            if done >> index & 1 or (horizon is not None and sent > horizon):
                continue
            granted = sum(w[3] for i, w in enumerate(wishes) if done >> i & 1 and w[2] == "extend")
            for after in {ended, True}:  # a job may end by itself at any time
                if _possible(what, value, granted, after) and search(done | 1 << index, after or what == "end"):
                    return True
        dead.add((done, ended))
        return False

    return search(0, False)


def _possible(what: str, value: int, granted: int, ended: bool) -> bool:
    match what:
        case "extend":
            return not ended
        case "over":
            return ended
        case "live":
            return not ended and granted == value
        case "ended":
            return ended and granted == value
        case _:
            return True
