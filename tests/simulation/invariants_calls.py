"""What must hold between what clients were told and the log: nothing acknowledged is lost, nothing happens twice, and
no answer shows what is not durable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tenure.domain import events as e
from tenure.v1 import job_pb2
from tests.simulation.history import Call, Refusal
from tests.simulation.invariants_case import CHANGING, Case, position_of
from tests.simulation.invariants_story import ASSIGNED, FINAL, QUEUED, RUNNING, STOPPING, JobStory, value_at

_SHOWN = {
    QUEUED: {job_pb2.JOB_STATE_IN_QUEUE},
    ASSIGNED: {job_pb2.JOB_STATE_IN_QUEUE},
    RUNNING: {job_pb2.JOB_STATE_RUNNING},
    STOPPING: {job_pb2.JOB_STATE_CANCELING},
    FINAL: {job_pb2.JOB_STATE_SUCCESS, job_pb2.JOB_STATE_FAILURE, job_pb2.JOB_STATE_EXPIRED},
}
# Refusals that say nothing about the call itself.
_BROKEN = frozenset({"INTERNAL", "UNKNOWN"})


def acknowledged_is_durable(case: Case) -> Iterator[str]:
    """What was answered with OK is in the log, no later than at that answer (promise 1)."""
    jobs = case.story.jobs
    for call, message in case.answered:
        answer: Any = message
        request: Any = call.request
        match call.rpc:
            case "CreateJobs":
                for item in answer.responses:
                    job = jobs.get(item.id)
                    if job is None:
                        yield f"{_told(call)}: job {item.id} is not in the log"
                    elif job.created.position > call.durable_at_answer:
                        yield f"{_told(call)}: job {item.id} became durable after the answer"
            case "ExtendJobs" if call.request_id:
                events = case.requested.get(("ExtendJobs", call.request_id), [])
                durable = sum(1 for event in events if event.position <= call.durable_at_answer)
                if durable < len(request.items):
                    yield f"{_told(call)}: {durable} of {len(request.items)} extensions were in the log"
            case "TerminateJobs":
                for item in request.items:
                    job = jobs.get(item.id)
                    phase = value_at(job.phases, call.durable_at_answer) if job is not None else None
                    if phase not in (STOPPING, FINAL):
                        yield f"{_told(call)}: job {item.id} is {phase or 'not there'} in the log"
            case "PauseQueues":
                yield from _paused(case, call, request)
            case _:
                pass


def _paused(case: Case, call: Call, request: Any) -> Iterator[str]:
    since = case.before(call.applied_ns or call.sent_ns)
    for item in request.items:
        steps = case.story.pauses.get(item.name, [])
        seen = {value_at(steps, since) or False}
        seen |= {paused for position, paused in steps if since < position <= call.durable_at_answer}
        if call.request_id and case.requested.get(("PauseQueues", call.request_id)):
            continue
        if item.paused not in seen:
            yield f"{_told(call)}: queue {item.name} was not {'paused' if item.paused else 'resumed'} in the log"


def one_outcome_a_request(case: Case) -> Iterator[str]:
    """A request id has one outcome for ever, over restarts too: the same answer to each repeat, its events once, and
    none of it used up by a refusal (promise 2)."""
    groups: dict[tuple[str, str, str], list[Call]] = {}
    for call in case.history.calls:
        if call.request_id and call.rpc in CHANGING:
            groups.setdefault((call.subject, call.rpc, call.request_id), []).append(call)
    for calls in groups.values():
        if len(calls) > 1:
            yield from _one_outcome(calls)
    for (rpc, request_id), events in case.requested.items():
        commits = {case.commit_of(event.position).first for event in events}
        if len(commits) > 1:
            yield f"{rpc} {request_id} was carried out {len(commits)} times, at positions {sorted(commits)}"


def _one_outcome(calls: list[Call]) -> Iterator[str]:
    told: Call | None = None
    body = b""
    same = all(call.request == calls[0].request for call in calls)
    for call in calls:
        answer: Any = call.answer if call.answer is not None else call.unsent_answer
        if answer is None:
            continue
        if isinstance(answer, Refusal):
            if not same:
                continue
            if answer.reason == "REQUEST_ID_REUSED":
                yield f"{_told(call)} was refused as used for another request, and was not"
            elif told is not None and told.answered_ns is not None and call.sent_ns >= told.answered_ns and told.ok:
                yield f"{_told(call)} was refused with {answer.reason or answer.code}, and had been done before"
            continue
        said = _without_token(answer)
        if told is not None and said != body and same:
            yield f"{_told(call)} was answered differently before"
        told, body = told or call, said


def refusals_are_right(case: Case) -> Iterator[str]:
    """A refusal gives a reason that was true between the call and the answer, and is never an internal error."""
    jobs = case.story.jobs
    for call in case.history.calls:
        refusal = call.answer if call.answer is not None else call.unsent_answer
        if not isinstance(refusal, Refusal):
            continue
        if refusal.code in _BROKEN:
            yield f"{_told(call)} met an internal error: {refusal.message}"
            continue
        if call.applied_ns is None or call.durable_at_answer < 0:
            continue
        since = case.before(call.applied_ns)
        named = [jobs[job_id] for job_id in named_jobs(call) if job_id in jobs]
        match refusal.reason:
            case "JOB_NOT_FOUND":
                if call.rpc != "CreateJobs" and len(named) == len(named_jobs(call)):
                    mine = call.admin or all(job.origin.created_by == call.subject for job in named)
                    if mine and all(job.created.position <= since for job in named):
                        yield f"{_told(call)}: there was no such job, and there is"
            case "JOB_FINAL" | "JOB_STOPPING":
                wanted = FINAL if refusal.reason == "JOB_FINAL" else STOPPING
                if named and not any(wanted in _phases(job, since, call.durable_at_answer) for job in named):
                    yield f"{_told(call)} was refused with {refusal.reason}, and no job of it was {wanted}"
            case "DUPLICATE_JOB" if refusal.subject:
                twin = jobs.get(refusal.subject)
                # Of equal items of one call, the first is named though it is not made either.
                alone = len(getattr(call.request, "items", ())) == 1
                if twin is None or twin.created.position > call.durable_at_answer:
                    if alone:
                        yield f"{_told(call)}: the live twin {refusal.subject} is not in the log"
                elif _phases(twin, since, call.durable_at_answer) == {FINAL}:
                    yield f"{_told(call)}: the twin {refusal.subject} had ended"
            case _:
                pass


def extensions_are_kept(case: Case) -> Iterator[str]:
    """An acknowledged extension is in the log with the time that was asked for, and was answered with the deadline
    that it makes (1.3, 1.4): what `expires_at_the_deadline` says of the log then holds of the answers too."""
    for call, message in case.answered:
        if call.rpc != "ExtendJobs" or not call.request_id:
            continue
        request: Any = call.request
        answer: Any = message
        events = case.requested.get(("ExtendJobs", call.request_id), [])
        made = Counter((event.stream, _requested_us(event)) for event in events)
        asked = Counter((e.job_stream(item.job_id), micros(item.requested_time)) for item in request.items)
        if events and made != asked:
            yield f"{_told(call)}: {dict(asked)} was asked for, {dict(made)} is in the log"
            continue
        last = {event.stream: event.position for event in events}
        for item, said in zip(request.items, answer.responses, strict=False):
            job = case.story.jobs.get(item.job_id)
            position = last.get(e.job_stream(item.job_id))
            if job is None or position is None or len(request.items) > 1:
                continue
            deadline = value_at(job.deadlines, position)
            told = micros(said.expires_at) if said.HasField("expires_at") else None
            if told != deadline:
                yield f"{_told(call)}: answered with the deadline {told}, the log makes it {deadline}"


def answers_are_of_the_log(case: Case) -> Iterator[str]:
    """A job that is shown is its fold at a position between the call and the answer, with its updates (promise 6)."""
    for call, message in case.answered:
        if call.rpc == "RetrieveJob":
            answer: Any = message
            yield from _shown(case, call, answer.job)


def _shown(case: Case, call: Call, shown: Any) -> Iterator[str]:
    job = case.story.jobs.get(shown.id)
    if job is None or not 1 <= shown.version <= len(job.events):
        yield f"{_told(call)}: version {shown.version} of {shown.id} was shown, and is not in the log"
        return
    position = job.events[shown.version - 1].position
    since = case.before(call.applied_ns or call.sent_ns)
    if shown.version < len(job.events) and job.events[shown.version].position <= since:
        yield f"{_told(call)}: version {shown.version} of {shown.id} was shown, which was old before the call"
    phase = value_at(job.phases, position)
    if phase is None or shown.status.state not in _SHOWN[phase]:
        yield f"{_told(call)}: version {shown.version} of {shown.id} is shown as {shown.status.state}, not {phase}"
    if micros(shown.status.granted_extension) != value_at(job.granted, position):
        yield f"{_told(call)}: the extensions of job {shown.id} are shown as {shown.status.granted_extension}"
    if phase is not FINAL:
        told = micros(shown.status.expires_at) if shown.status.HasField("expires_at") else None
        if told != value_at(job.deadlines, position):
            yield f"{_told(call)}: the deadline of job {shown.id} is shown as {told}"
    if not shown.updates_left_out:
        wanted = [text for event in job.events[: shown.version] if (text := update_text(event)) is not None]
        if [update.status for update in shown.updates] != wanted:
            yield f"{_told(call)}: the updates of job {shown.id} are not those of its events"


def nothing_unflushed_is_visible(case: Case) -> Iterator[str]:
    """No answer, watch message or assignment refers to a position that was not durable at that moment (promise 7)."""
    for call, message in case.answered:
        answer: Any = message
        durable = call.durable_at_answer
        token = getattr(answer, "resume_token", "")
        if token and (position := position_of(token)) is not None and position > durable:
            yield f"{_told(call)}: its token stands for position {position}, {durable} was durable"
        if call.rpc == "RetrieveJob":
            job = case.story.jobs.get(answer.job.id)
            version = answer.job.version
            if job is None or version > len(job.events) or job.events[version - 1].position > durable:
                yield f"{_told(call)}: version {version} of job {answer.job.id} was shown before it was durable"
    for sent in case.history.sent:
        tenure = case.story.tenures.get(sent.lease_id)
        if tenure is None or tenure.granted > sent.durable:
            yield f"job {sent.job_id} was sent to {sent.worker_id} under lease {sent.lease_id}, which was not durable"
    for watch in case.history.watches:
        for delivery in watch.delivered():
            position = position_of(delivery.resume_token) if delivery.resume_token else None
            if position is not None and position > delivery.durable:
                yield f"{watch.client} was told of position {position}, {delivery.durable} was durable"


def update_text(event: e.RecordedEvent) -> str | None:
    """What a user is told of an event (the table of 1.3); None: nothing."""
    match event.payload:
        case e.JobCreated():
            return "Your job is now waiting in the queue!"
        case e.JobStarted():
            return "Your job is now running!"
        case e.JobRequeued(cause=cause, attempt=attempt, worker_id=worker, reason=reason):
            how = {e.RequeueCause.FAILED: "failed", e.RequeueCause.LOST: "was lost"}.get(cause, "was released")
            return f"Attempt {attempt} on {worker} {how} ({reason}); trying again."
        case e.CancelRequested():
            return "Your job is being cancelled."
        case e.JobTerminated(outcome=outcome, reason=reason):
            return {
                e.Outcome.CANCELLED: "Your job has been cancelled!",
                e.Outcome.COMPLETED: "Your job has completed successfully!",
                e.Outcome.EXPIRED: "Your job has expired: its time allocation is used up.",
                e.Outcome.SYSTEM: f"Your job has been stopped by the operator: {reason}",
            }.get(outcome, f"Your job has failed: {reason}")
        case _:
            return None


def _phases(job: JobStory, since: int, until: int) -> set[str]:
    """What a job was between two positions, both included."""
    found = {phase for position, phase in job.phases if since < position <= until}
    first = value_at(job.phases, since)
    return found | {first} if first is not None else found


def named_jobs(call: Call) -> list[str]:
    request: Any = call.request
    match call.rpc:
        case "ExtendJobs":
            return [item.job_id for item in request.items]
        case "TerminateJobs":
            return [item.id for item in request.items]
        case "RetrieveJob" | "ExplainJob":
            return [request.id]
        case _:
            return []


def _requested_us(event: e.RecordedEvent) -> int:
    return event.payload.requested_us if isinstance(event.payload, e.JobExtended) else -1


def micros(message: Any) -> int:
    """Microseconds of a Timestamp or Duration."""
    return int(message.seconds) * 1_000_000 + int(message.nanos) // 1000


def _without_token(answer: Any) -> bytes:
    copy = type(answer)()
    copy.CopyFrom(answer)
    copy.ClearField("resume_token")
    return bytes(copy.SerializeToString(deterministic=True))


def _told(call: Call) -> str:
    return f"{call.rpc} {call.request_id or 'without id'} of {call.client} at {call.sent_ns / 1e9:.3f} s"
