"""Jobs, queues and their appends for tests of stores: what a control plane would commit, in a line each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import Dated, decide
from tenure.domain.job import Job, create, evolve
from tenure.domain.queue import Queue, evolve_queue
from tenure.store.store import Append, Request, Store, StoredJob, Unit

T0 = 1_633_329_776_235_000
SECOND = 1_000_000
HOUR = 3600 * SECOND


def created_event(
    job_id: str = "job",
    *,
    created_by: str = "user",
    project: str = "",
    queue: str = "default",
    priority: int = 0,
    allow_duplicate: bool = True,
    specification: bytes | None = None,
    terms: e.Terms | None = None,
    facets: e.Facets | None = None,
) -> e.JobCreated:
    """A JobCreated whose specification is the job's id, unless another one is given."""
    data = job_id.encode() if specification is None else specification
    return e.JobCreated(
        specification=data,
        specification_digest=hashlib.sha256(data).digest(),
        allow_duplicate=allow_duplicate,
        created_by=created_by,
        project=project,
        queue=queue,
        priority=priority,
        terms=terms or e.Terms(),
        command="true",
        arguments=("a", "b"),
        facets=facets or e.Facets(),
    )


def creation(job_id: str, event: e.JobCreated | None = None, at_us: int = T0) -> Append:
    """The append that creates a job."""
    payload = event or created_event(job_id)
    new = e.NewEvent(event_id=f"{job_id}.1", time_us=at_us, actor="user:user", payload=payload)
    return Append(stream=e.job_stream(job_id), expected_version=0, events=(new,), job=create(job_id, payload, at_us))


def append(job: Job, dated: Sequence[Dated]) -> Append:
    """The append of decided events."""
    before, events = job, []
    for time_us, payload in dated:
        job = evolve(job, payload, time_us)
        event_id = payload.lease_id if isinstance(payload, e.JobAssigned) else f"{job.id}.{job.version}"
        events.append(e.NewEvent(event_id=event_id, time_us=time_us, actor="server", payload=payload))
    return Append(stream=e.job_stream(job.id), expected_version=before.version, events=tuple(events), job=job)


def change(job: Job, *commands: c.Command, at_us: int | None = None) -> Append:
    """The append of what commands make of a job, one after the other, a second apart."""
    dated: list[Dated] = []
    now, now_us = job, job.last_us + SECOND if at_us is None else at_us
    for command in commands:
        for one in decide(now, command, now_us):
            dated.append(one)
            now = evolve(now, one[1], one[0])
        now_us += SECOND
    return append(job, dated)


def lease(job: Job) -> str:
    """The id of the lease that a job's next attempt gets here."""
    return f"{job.id}.lease-{job.attempt + 1}"


def assign(job: Job, worker_id: str = "worker") -> c.Assign:
    """The command that gives a job to a worker."""
    return c.Assign(lease_id=lease(job), worker_id=worker_id)


def life(job: Job, worker_id: str = "worker") -> tuple[c.Command, ...]:
    """From waiting to success."""
    held = lease(job)
    return c.Assign(lease_id=held, worker_id=worker_id), c.Start(lease_id=held), c.Succeed(lease_id=held)


def queue_append(name: str, before: Queue | None, *payloads: e.QueueEvent, at_us: int = T0) -> Append:
    """The append of events of a queue."""
    queue, version = before, before.version if before else 0
    events = []
    for index, payload in enumerate(payloads, start=version + 1):
        queue = evolve_queue(queue, name, payload, at_us)
        events.append(e.NewEvent(event_id=f"{name}.{index}", time_us=at_us, actor="admin:ops", payload=payload))
    return Append(stream=e.queue_stream(name), expected_version=version, events=tuple(events), queue=queue)


def request(request_id: str, *, answer: bytes = b"answer", digest: bytes = b"d" * 32, at_us: int = T0) -> Request:
    """A request of user `user`."""
    return Request(
        principal="user:user", rpc="CreateJobs", request_id=request_id, digest=digest, answer=answer, at_us=at_us
    )


async def put(store: Store, *appends: Append, request: Request | None = None) -> list[Job]:
    """Commit appends as one unit; the jobs after it."""
    await store.commit(Unit(appends=appends, request=request))
    return [one.job for one in appends if one.job is not None]


async def add_jobs(store: Store, *job_ids: str) -> list[Job]:
    """Create jobs in one unit."""
    return await put(store, *(creation(job_id) for job_id in job_ids))


async def load(store: Store, job_id: str) -> StoredJob:
    """The job with this id."""
    return (await store.load_jobs([job_id]))[job_id]


async def whole_log(store: Store) -> list[e.RecordedEvent]:
    """All events."""
    events: list[e.RecordedEvent] = []
    position = 0
    while position < store.head().position:
        page, position = await store.read(position, 1000)
        events += page
    return events
