"""Users and administrators as they appear on the wire: generated stubs, one token each, no cleverness.

Times are integers of milliseconds since the epoch, as in the scenarios' texts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from tenure.events.v1 import event_pb2
from tenure.v1 import (
    event_service_pb2,
    event_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    queue_service_pb2,
    queue_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

CALL_TIMEOUT_S = 30.0
DETAILS_KEY = "grpc-status-details-bin"

Extension = job_service_pb2.ExtendJobsRequest.Item
Termination = job_service_pb2.TerminateJobsRequest.Item


def millis(timestamp: Timestamp) -> int:
    """Milliseconds since the epoch; exact, or AssertionError."""
    nanos = timestamp.seconds * 1_000_000_000 + timestamp.nanos
    assert nanos % 1_000_000 == 0, f"not a whole number of milliseconds: {timestamp}"
    return nanos // 1_000_000


def duration(seconds: float) -> Duration:
    """A span."""
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))


def extension(job_id: str, seconds: float) -> job_service_pb2.ExtendJobsRequest.Item:
    """One item of ExtendJobs."""
    return Extension(job_id=job_id, requested_time=duration(seconds))


def state_of(job: job_pb2.Job) -> str:
    """`IN_QUEUE`, `RUNNING` …"""
    return job_pb2.JobState.Name(job.status.state).removeprefix("JOB_STATE_")


def outcome_of(job: job_pb2.Job) -> str:
    """`COMPLETED`, `CANCELLED` … or `UNSPECIFIED`."""
    return job_pb2.JobOutcome.Name(job.status.outcome).removeprefix("JOB_OUTCOME_")


def updates_of(job: job_pb2.Job) -> list[tuple[int, str, str]]:
    """The history: (milliseconds, state, text)."""
    return [
        (millis(update.timestamp), job_pb2.JobState.Name(update.state).removeprefix("JOB_STATE_"), update.status)
        for update in job.updates
    ]


def texts_of(job: job_pb2.Job) -> list[str]:
    """The texts of the history."""
    return [update.status for update in job.updates]


def type_of(event: event_pb2.Event) -> str:
    """`JobCreated`, `JobAssigned` …"""
    payload = event.WhichOneof("payload")
    assert payload is not None
    return "".join(word.capitalize() for word in payload.split("_"))


@dataclass(frozen=True)
class Refusal:
    """How a call was refused. `raw` is all that came over the wire: code, message and trailing metadata."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    fields: tuple[str, ...]
    raw: tuple[object, ...]


async def refusal(call: Awaitable[object]) -> Refusal:
    """How the call is refused; AssertionError when it is not, or without what every refusal carries."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return _read(error)
    raise AssertionError(f"the call was not refused but answered: {answer!r}")


def _read(error: grpc.aio.AioRpcError) -> Refusal:
    trailers = tuple(sorted((str(key), value) for key, value in error.trailing_metadata() or ()))
    blobs = [value for key, value in trailers if key == DETAILS_KEY]
    assert len(blobs) == 1, f"a refusal without google.rpc.Status: {error!r}"
    blob = blobs[0]
    assert isinstance(blob, bytes)
    status = status_pb2.Status.FromString(blob)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    infos, fields = [], []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
    assert len(infos) == 1
    assert infos[0].domain == "tenure"
    return Refusal(
        code=error.code().name,
        reason=infos[0].reason,
        message=status.message,
        metadata=dict(infos[0].metadata),
        fields=tuple(fields),
        raw=(error.code(), error.details(), trailers),
    )


class Caller:
    """Somebody with a token and a connection of their own."""

    def __init__(self, address: str, token: str) -> None:
        self.metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {token}"),)
        self.channel = grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)
        self.queues = queue_service_pb2_grpc.QueueServiceStub(self.channel)
        self.log = event_service_pb2_grpc.EventServiceStub(self.channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self.channel)

    async def close(self) -> None:
        """Drop the connection."""
        await self.channel.close()

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def create_many(
        self, specifications: Sequence[job_pb2.JobSpecification], *, request_id: str = "", project: str = ""
    ) -> job_service_pb2.CreateJobsResponse:
        """CreateJobs."""
        request = job_service_pb2.CreateJobsRequest(
            items=[job_service_pb2.CreateJobsRequest.Item(specification=each) for each in specifications],
            request_id=request_id,
            project=project,
        )
        return await self._call(self.jobs.CreateJobs, request)

    async def create(self, specification: job_pb2.JobSpecification, *, request_id: str = "") -> str:
        """Create one job; its id."""
        response = await self.create_many([specification], request_id=request_id)
        (item,) = response.responses
        return item.id

    async def retrieve(self, job_id: str) -> job_service_pb2.RetrieveJobResponse:
        """RetrieveJob with every part that can be asked for."""
        flags = job_service_pb2.JobFlags(
            include_parameters=True,
            include_application=True,
            include_product=True,
            include_others=True,
            include_updates=True,
            include_support=True,
        )
        return await self._call(self.jobs.RetrieveJob, job_service_pb2.RetrieveJobRequest(id=job_id, flags=flags))

    async def job(self, job_id: str) -> job_pb2.Job:
        """The job as it is now."""
        return (await self.retrieve(job_id)).job

    async def browse(self, request: job_service_pb2.BrowseJobsRequest) -> job_service_pb2.BrowseJobsResponse:
        """BrowseJobs: one page."""
        return await self._call(self.jobs.BrowseJobs, request)

    async def explain(self, job_id: str) -> job_service_pb2.ExplainJobResponse:
        """ExplainJob."""
        return await self._call(self.jobs.ExplainJob, job_service_pb2.ExplainJobRequest(id=job_id))

    async def extend_many(
        self, items: Sequence[job_service_pb2.ExtendJobsRequest.Item], *, request_id: str = ""
    ) -> job_service_pb2.ExtendJobsResponse:
        """ExtendJobs."""
        return await self._call(
            self.jobs.ExtendJobs, job_service_pb2.ExtendJobsRequest(items=items, request_id=request_id)
        )

    async def extend(self, job_id: str, seconds: float, *, request_id: str = "") -> int:
        """Extend one job; its new end in milliseconds."""
        response = await self.extend_many([extension(job_id, seconds)], request_id=request_id)
        (item,) = response.responses
        return millis(item.expires_at)

    async def terminate(
        self, *job_ids: str, grace_s: float = 0, reason: str = "", request_id: str = ""
    ) -> job_service_pb2.TerminateJobsResponse:
        """TerminateJobs."""
        items = [Termination(id=job_id, reason=reason) for job_id in job_ids]
        if grace_s:
            for item in items:
                item.grace_period.CopyFrom(duration(grace_s))
        return await self._call(
            self.jobs.TerminateJobs, job_service_pb2.TerminateJobsRequest(items=items, request_id=request_id)
        )

    # --- for administrators -------------------------------------------------------------------------------------------

    async def upsert_queue(self, specification: queue_service_pb2.QueueSpecification) -> None:
        """UpsertQueues with one queue."""
        request = queue_service_pb2.UpsertQueuesRequest(items=[specification])
        await self._call(self.queues.UpsertQueues, request)

    async def browse_workers(self, queue: str = "") -> list[worker_service_pb2.Worker]:
        """BrowseWorkers, the first thousand."""
        request = worker_service_pb2.BrowseWorkersRequest(queue=queue, page_size=1000)
        response: worker_service_pb2.BrowseWorkersResponse = await self._call(self.workers.BrowseWorkers, request)
        return list(response.workers)

    async def events(self, *job_ids: str, types: Sequence[str] = ()) -> list[event_pb2.Event]:
        """The log so far, or what it says of these jobs."""
        return [event async for event in self._read(job_ids, types)]

    async def event_types(self, job_id: str) -> list[str]:
        """The types of a job's events, in order."""
        return [type_of(event) for event in await self.events(job_id)]

    async def position(self) -> int:
        """The end of the log."""
        events = await self.events()
        return events[-1].position if events else 0

    async def _read(self, job_ids: Sequence[str], types: Sequence[str]) -> AsyncIterator[event_pb2.Event]:
        request = event_service_pb2.ReadEventsRequest(
            filter=event_service_pb2.EventFilter(job_ids=job_ids, types=types)
        )
        call = self.log.ReadEvents(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S)
        async for response in call:
            for event in response.events:
                yield event

    async def _call(self, rpc: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT) -> ResponseT:
        return await rpc(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S)
