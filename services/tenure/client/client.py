"""The asyncio client.

    async with Client("127.0.0.1:50051", token=token) as client:
        created = await client.create_jobs([JobSpecification(command="python", arguments=["main.py"])])
        async with aclosing(client.watch_jobs(ids=[created.responses[0].id])) as changes:
            async for change in changes: ...

A stream that is left early is to be closed, as `aclosing` does: the server serves it until then.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Self

import grpc
from grpc_health.v1 import health_pb2

from tenure.client import channel as channels
from tenure.client.admin import Admin
from tenure.client.calls import Calls, OnDrop
from tenure.client.errors import from_rpc_error
from tenure.client.resume import EventsCursor, LogsCursor, WatchCursor
from tenure.client.retry import RetryPolicy
from tenure.client.webhooks import Webhooks
from tenure.events.v1 import event_pb2
from tenure.runtime.clock import Clock, SystemClock
from tenure.runtime.ids import Ids, Uuid7Ids
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


class Client:
    """One connection to a server, for asyncio; made inside the loop that uses it.

    Every method raises `TenureError` when the call is refused or cannot be made. Every changing method makes a request
    id where none is given, and repeats the call with it as long as whether it was heard is unknown. What has no request
    id and would be answered differently the second time is tried once; those methods say so.
    """

    def __init__(
        self,
        target: str = channels.DEFAULT_TARGET,
        *,
        token: str | None = None,
        tls_ca: channels.TlsCa = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        channel: grpc.aio.Channel | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        """Nothing is sent before the first call.

        Args:
            target: HOST:PORT.
            token: who calls; sent as `authorization: Bearer …`.
            tls_ca: file or PEM bytes of the certificates to trust; True: the machine's; None: no encryption.
            timeout_s: deadline of each try of a unary call.
            retry: how often and how long; the default policy where left out.
            channel: an open channel to use instead of target and tls_ca; it is closed with the client.
            clock: source of time; the machine's where left out.
            ids: source of request ids; UUIDv7 where left out.
            jitter: source of randomness for waits; the machine's where left out.
        """
        self._channel = channel if channel is not None else channels.open_aio(target, tls_ca)
        self._ids = ids or Uuid7Ids()
        self._calls = Calls(
            metadata=channels.call_metadata(token),
            timeout_s=timeout_s,
            retry=retry or RetryPolicy(),
            clock=clock or SystemClock(),
            jitter=jitter or random.Random(),  # noqa: S311 - spreads retries, guards nothing
        )
        self._jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self._queues = queue_service_pb2_grpc.QueueServiceStub(self._channel)
        self._workers = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        self._events = event_service_pb2_grpc.EventServiceStub(self._channel)
        self.admin = Admin(self._channel, self._calls.unary, self._ids)
        self.webhooks = Webhooks(self._channel, self._calls.unary)
        self._check_health = self._channel.unary_unary(
            channels.HEALTH_CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls and the connection."""
        await self._channel.close()

    async def create_jobs(
        self,
        specifications: Sequence[job_pb2.JobSpecification],
        *,
        project: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> job_service_pb2.CreateJobsResponse:
        """Create 1 to 1000 jobs, all or none; the answer has their ids in order."""
        request = job_service_pb2.CreateJobsRequest(
            items=[job_service_pb2.CreateJobsRequest.Item(specification=each) for each in specifications],
            project=project,
            request_id=request_id or self._ids.new(),
            validate_only=validate_only,
        )
        return await self._calls.unary(self._jobs.CreateJobs, request, request_id=request.request_id)

    async def retrieve_job(self, job_id: str, *, flags: job_service_pb2.JobFlags | None = None) -> job_pb2.Job:
        """One job with its updates and attempts."""
        request = job_service_pb2.RetrieveJobRequest(id=job_id, flags=flags)
        return (await self._calls.unary(self._jobs.RetrieveJob, request)).job

    async def browse_jobs(
        self,
        *,
        flags: job_service_pb2.JobFlags | None = None,
        page_size: int = 0,
        sort_by: job_service_pb2.JobSortBy.ValueType = job_service_pb2.JOB_SORT_BY_UNSPECIFIED,
        sort_direction: job_service_pb2.SortDirection.ValueType = job_service_pb2.SORT_DIRECTION_UNSPECIFIED,
    ) -> AsyncIterator[job_pb2.Job]:
        """The jobs that match, newest first unless told otherwise; pages are fetched as they are needed."""
        request = job_service_pb2.BrowseJobsRequest(
            flags=flags, page_size=page_size, sort_by=sort_by, sort_direction=sort_direction
        )
        while True:
            page = await self._calls.unary(self._jobs.BrowseJobs, request)
            for job in page.jobs:
                yield job
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def extend_jobs(
        self,
        items: Iterable[job_service_pb2.ExtendJobsRequest.Item],
        *,
        request_id: str = "",
        validate_only: bool = False,
    ) -> job_service_pb2.ExtendJobsResponse:
        """Add time to jobs, all or none; the answer has their ends in order."""
        request = job_service_pb2.ExtendJobsRequest(
            items=items, request_id=request_id or self._ids.new(), validate_only=validate_only
        )
        return await self._calls.unary(self._jobs.ExtendJobs, request, request_id=request.request_id)

    async def terminate_jobs(
        self, items: Iterable[job_service_pb2.TerminateJobsRequest.Item], *, request_id: str = ""
    ) -> job_service_pb2.TerminateJobsResponse:
        """End jobs early, all or none; ending one that has ended changes nothing."""
        request = job_service_pb2.TerminateJobsRequest(items=items, request_id=request_id or self._ids.new())
        return await self._calls.unary(self._jobs.TerminateJobs, request, request_id=request.request_id)

    def watch_jobs(
        self,
        *,
        ids: Sequence[str] = (),
        flags: job_service_pb2.JobFlags | None = None,
        resume_token: str = "",
        on_drop: OnDrop | None = None,
    ) -> AsyncGenerator[job_service_pb2.WatchJobsResponse, None]:
        """The jobs as they are, then everything that happens to them, without gap or repeat over lost connections.

        Args:
            ids: these jobs, ended ones included; not together with flags.
            flags: which jobs, and which parts of them.
            resume_token: go on after this one (of an event or a mark, not of a snapshot), without a snapshot.
            on_drop: told of each lost connection and how many seconds pass before the next one.
        """
        cursor = WatchCursor(ids=ids, flags=flags, resume_token=resume_token)
        return self._calls.follow(self._jobs.WatchJobs, cursor, on_drop)

    def follow_logs(
        self,
        job_id: str,
        *,
        attempt: int | None = None,
        from_offset: int = 0,
        snapshot: bool = False,
        on_drop: OnDrop | None = None,
    ) -> AsyncGenerator[job_service_pb2.FollowLogsResponse, None]:
        """The output of a job's command as it comes, to the end of the attempt.

        Args:
            job_id: the job.
            attempt: of this attempt, which need not have begun; None: of the latest.
            from_offset: begin at this byte of its output. What is no longer there is left out, which the offsets show.
            snapshot: only what there is now.
            on_drop: told of each lost connection and how many seconds pass before the next one.
        """
        cursor = LogsCursor(job_id=job_id, attempt=attempt, from_offset=from_offset, snapshot=snapshot)
        return self._calls.follow(self._jobs.FollowLogs, cursor, on_drop)

    async def explain_job(self, job_id: str) -> job_service_pb2.ExplainJobResponse:
        """Why a job is not running yet."""
        return await self._calls.unary(self._jobs.ExplainJob, job_service_pb2.ExplainJobRequest(id=job_id))

    async def browse_queues(self, *, page_size: int = 0) -> AsyncIterator[queue_service_pb2.Queue]:
        """The queues, by name."""
        request = queue_service_pb2.BrowseQueuesRequest(page_size=page_size)
        while True:
            page = await self._calls.unary(self._queues.BrowseQueues, request)
            for queue in page.queues:
                yield queue
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def upsert_queues(
        self, items: Iterable[queue_service_pb2.QueueSpecification], *, request_id: str = ""
    ) -> queue_service_pb2.UpsertQueuesResponse:
        """Create or change queues, all or none."""
        request = queue_service_pb2.UpsertQueuesRequest(items=items, request_id=request_id or self._ids.new())
        return await self._calls.unary(self._queues.UpsertQueues, request, request_id=request.request_id)

    async def pause_queues(
        self, items: Iterable[queue_service_pb2.PauseQueuesRequest.Item], *, request_id: str = ""
    ) -> queue_service_pb2.PauseQueuesResponse:
        """Stop or start giving out the jobs of queues, all or none."""
        request = queue_service_pb2.PauseQueuesRequest(items=items, request_id=request_id or self._ids.new())
        return await self._calls.unary(self._queues.PauseQueues, request, request_id=request.request_id)

    async def browse_workers(self, *, queue: str = "", page_size: int = 0) -> AsyncIterator[worker_service_pb2.Worker]:
        """The workers that the server has heard of; of one queue, where one is named."""
        request = worker_service_pb2.BrowseWorkersRequest(queue=queue, page_size=page_size)
        while True:
            page = await self._calls.unary(self._workers.BrowseWorkers, request)
            for worker in page.workers:
                yield worker
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def drain_workers(self, worker_ids: Iterable[str], *, release: bool = False) -> list[str]:
        """Ask workers to take no more jobs; the ids of those that were told.

        Args:
            worker_ids: the workers, 1 to 1000.
            release: give running attempts back instead of finishing them.
        """
        request = worker_service_pb2.DrainWorkersRequest(worker_ids=worker_ids, release=release)
        return list((await self._calls.unary(self._workers.DrainWorkers, request)).worker_ids)

    def read_events(
        self,
        *,
        after_position: int = 0,
        resume_token: str = "",
        filter: event_service_pb2.EventFilter | None = None,  # noqa: A002 - the field's name
        follow: bool = False,
        limit: int = 0,
        on_drop: OnDrop | None = None,
    ) -> AsyncGenerator[event_pb2.Event, None]:
        """The events of the log in order, without gap or repeat over lost connections.

        Args:
            after_position: begin after this position; 0: with the first event.
            resume_token: begin after this token instead.
            filter: which events.
            follow: go on as events come, instead of ending with the log.
            limit: end after so many; 0: no limit.
            on_drop: told of each lost connection and how many seconds pass before the next one.
        """
        cursor = EventsCursor(
            after_position=after_position, resume_token=resume_token, filter=filter, follow=follow, limit=limit
        )
        return self._calls.follow(self._events.ReadEvents, cursor, on_drop)

    async def check_health(self, service: str = "", *, timeout_s: float = 5.0) -> bool:
        """Whether the server says that it serves. It is asked once."""
        try:
            answer = await self._check_health(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
