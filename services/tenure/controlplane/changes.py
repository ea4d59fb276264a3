"""What a call asks of the handler and what comes of it, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import Dated
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job, evolve
from tenure.runtime.ids import Ids
from tenure.store.store import AnsweredRequest, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command on one job. `may_see` hides jobs from callers: False is answered as if there were no such job.

    `path` is the item's path in the request (`items[3]`), put before the field of a refusal.
    """

    job_id: str
    command: c.Command
    may_see: Callable[[Job], bool] | None = None
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """What makes a repeated call the same call; `digest` is the SHA-256 of its decoded message."""

    principal: str
    rpc: str
    request_id: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one commit made of one job. `before` is None for a new job, `position` that of the first event."""

    before: Job | None
    after: Job
    events: tuple[e.NewEvent, ...]
    position: int


@dataclass(slots=True, kw_only=True)
class Executed:
    """What came of a call: `position` is that of its last event, or the end of the log when it changed nothing.

    `jobs[i]` is the job after step i; in a partial call a step that was refused has its refusal there instead.
    `answer` is the stored answer when the call is a repeat, else what `answer` made.
    """

    position: int
    jobs: list[Job | Refused] = field(default_factory=list)
    answer: bytes = b""
    repeated: bool = False


Answer = Callable[[list[Job]], bytes]


@dataclass(slots=True, kw_only=True)
class Decided:
    """Jobs before and after, the events between with who decided them, and what each step came to."""

    before: dict[str, Job]
    after: dict[str, Job]
    events: dict[str, list[tuple[str, Dated]]] = field(default_factory=dict)
    outcomes: list[Job | Refused] = field(default_factory=list)

    def add(self, job: Job, dated: list[Dated], actor: str) -> Job:
        """Take over the events that somebody added to a job; returns the job after them."""
        for time_us, event in dated:
            job = evolve(job, event, time_us)
        if dated:
            self.events.setdefault(job.id, []).extend((actor, one) for one in dated)
            self.after[job.id] = job
        return job


def not_found(path: str = "") -> Refused:
    """The answer for a job that does not exist or that the caller may not see: the same to the byte, so without id.

    `path` is the item's path in a request that names several.
    """
    return Refused(Reason.JOB_NOT_FOUND, "there is no such job, or you may not see it", field=path)


def replay(request: RequestKey, known: AnsweredRequest) -> Executed:
    """The answer to a repeated call.

    Raises:
        Refused: REQUEST_ID_REUSED when the call is another one.
    """
    if known.digest != request.digest:
        raise Refused(
            Reason.REQUEST_ID_REUSED,
            f"the request id {request.request_id} was used for another request; take a new one",
            field="request_id",
        )
    return Executed(position=known.position, answer=known.answer, repeated=True)


def envelopes(decided: Iterable[tuple[str, Dated]], ids: Ids) -> tuple[e.NewEvent, ...]:
    """The events with their ids. A lease is named by the id of its JobAssigned, so that event brings its own."""
    return tuple(
        e.NewEvent(
            event_id=event.lease_id if isinstance(event, e.JobAssigned) else ids.new(),
            time_us=time_us,
            actor=actor,
            payload=event,
        )
        for actor, (time_us, event) in decided
    )


def stored_request(key: RequestKey | None, answer: bytes, at_us: int) -> Request | None:
    """What the store keeps of a call that may be repeated."""
    if key is None:
        return None
    return Request(
        principal=key.principal,
        rpc=key.rpc,
        request_id=key.request_id,
        digest=key.digest,
        answer=answer,
        at_us=at_us,
    )


def twin(job_id: str, index: int, job_ids: list[str]) -> Refused:
    """The refusal of a duplicate, the item `index`, of a job that has not ended or of another of the same call.

    Of a twin in the same call there is no job, as none of the call was made.
    """
    field = f"items[{index}].specification"
    if job_id in job_ids:
        text = f"items[{job_ids.index(job_id)}] of the same call has the same specification"
        return Refused(Reason.DUPLICATE_JOB, text, field=field)
    text = f"job {job_id} has the same specification and has not ended"
    return Refused(Reason.DUPLICATE_JOB, text, field=field, metadata={"job_id": job_id})
