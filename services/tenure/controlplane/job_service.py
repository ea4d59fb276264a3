"""JobService: what users do with jobs. Each method turns a message into commands and the outcome into a message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from tenure.controlplane.call import Call
from tenure.controlplane.catalogue import Catalogue
from tenure.controlplane.convert import job_message
from tenure.controlplane.explain import Explanations
from tenure.controlplane.handler import Executed, Handler, Step, not_found
from tenure.controlplane.logs import Logs
from tenure.controlplane.pages import Pages
from tenure.controlplane.queries import filter_of, order_of
from tenure.controlplane.requests import request_key
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.specification import created, normalise
from tenure.controlplane.times import from_duration, set_timestamp
from tenure.controlplane.tokens import Identity
from tenure.controlplane.watch import Watches
from tenure.controlplane.webhooks.endpoints import Endpoints
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job
from tenure.store.store import Store
from tenure.v1 import job_pb2, job_service_pb2

PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


class JobService:
    """The servicer. It holds no state of its own."""

    def __init__(
        self,
        *,
        handler: Handler,
        store: Store,
        catalogue: Catalogue,
        resume: ResumeTokens,
        pages: Pages,
        watches: Watches,
        explanations: Explanations,
        logs: Logs,
        endpoints: Endpoints,
    ) -> None:
        self._handler = handler
        self._store = store
        self._catalogue = catalogue
        self._resume = resume
        self._pages = pages
        self._watches = watches
        self._explanations = explanations
        self._logs = logs
        self._endpoints = endpoints

    async def create_jobs(
        self, request: job_service_pb2.CreateJobsRequest, call: Call
    ) -> job_service_pb2.CreateJobsResponse:
        """All or none, in order."""
        identity = call.identity
        project = _project(request.project, identity)
        key = request_key("CreateJobs", request, identity)
        job_ids = [] if request.validate_only else self._handler.new_ids(len(request.items))
        queues: dict[str, e.QueueConfigured] = {}
        try:
            events = [
                self._created(item.specification, f"items[{index}].specification", identity, project, queues)
                for index, item in enumerate(request.items)
            ]
        except Refused:
            # What the rules of today refuse may be a repeat of what was made under those of before.
            if not request.validate_only and (known := await self._handler.answered(key)):
                return await self._made(known)
            raise
        if request.validate_only:
            return job_service_pb2.CreateJobsResponse(
                responses=[job_service_pb2.CreateJobsResponse.Item() for _ in events]
            )
        webhooks = {item.specification.webhook for item in request.items} - {""}
        if self._endpoints.missing(webhooks, identity.subject, project):
            # A repeat makes none: what it misses was removed since.
            if known := await self._handler.answered(key):
                return await self._made(known)
            # Before the jobs, so that nothing of them goes unannounced.
            await self._endpoints.ensure(webhooks, identity.subject, project)

        def answer(ids: list[str]) -> bytes:
            items = [job_service_pb2.CreateJobsResponse.Item(id=job_id) for job_id in ids]
            return job_service_pb2.CreateJobsResponse(responses=items).SerializeToString()

        executed = await self._handler.create(
            events, actor=identity.principal, request=key, answer=answer, job_ids=job_ids, queues=queues
        )
        return await self._made(executed)

    async def _made(self, executed: Executed) -> job_service_pb2.CreateJobsResponse:
        response = job_service_pb2.CreateJobsResponse.FromString(executed.answer)
        response.resume_token = await self._resume.make(executed.position)
        return response

    async def retrieve_job(
        self, request: job_service_pb2.RetrieveJobRequest, call: Call
    ) -> job_service_pb2.RetrieveJobResponse:
        """One job, its updates always with it."""
        position = self._store.head().position
        view = (await self._store.view_jobs([request.id])).get(request.id)
        if view is None or not may_see(call.identity)(view.stored.job):
            raise not_found()
        message = job_message(view, request.flags)
        if request.flags.include_others:
            message.permissions.myself.extend(_permissions(call.identity))
        return job_service_pb2.RetrieveJobResponse(job=message, resume_token=await self._resume.make(position))

    async def browse_jobs(
        self, request: job_service_pb2.BrowseJobsRequest, call: Call
    ) -> job_service_pb2.BrowseJobsResponse:
        """A page of the jobs that the caller may see."""
        flags = request.flags
        after = self._pages.read(request, call.identity.principal)
        size = min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        page = await self._store.browse(
            filter_of(flags, call.identity), order_of(request), after, size, histories=flags.include_updates
        )
        response = job_service_pb2.BrowseJobsResponse()
        for view in page.views:
            message = job_message(view, flags, histories=flags.include_updates)
            if flags.include_others:
                message.permissions.myself.extend(_permissions(call.identity))
            response.jobs.append(message)
        if page.next_key is not None:
            response.next_page_token = self._pages.make(page.next_key, request, call.identity.principal)
        return response

    async def extend_jobs(
        self, request: job_service_pb2.ExtendJobsRequest, call: Call
    ) -> job_service_pb2.ExtendJobsResponse:
        """All or none."""
        key = request_key("ExtendJobs", request, call.identity)
        visible = may_see(call.identity)
        steps = [
            Step(
                job_id=item.job_id,
                command=c.Extend(requested_us=from_duration(item.requested_time, f"items[{index}].requested_time")),
                may_see=visible,
                path=f"items[{index}]",
            )
            for index, item in enumerate(request.items)
        ]
        if request.validate_only:
            return _extended(await self._handler.dry_run(steps))
        executed = await self._handler.execute(
            steps,
            actor=call.identity.principal,
            request=key,
            answer=lambda jobs: _extended(jobs).SerializeToString(),
        )
        response = job_service_pb2.ExtendJobsResponse.FromString(executed.answer)
        response.resume_token = await self._resume.make(executed.position)
        return response

    async def terminate_jobs(
        self, request: job_service_pb2.TerminateJobsRequest, call: Call
    ) -> job_service_pb2.TerminateJobsResponse:
        """All or none; a job that has ended stays as it is."""
        key = request_key("TerminateJobs", request, call.identity)
        visible = may_see(call.identity)
        steps = [
            Step(
                job_id=item.id,
                command=c.Terminate(
                    reason=item.reason,
                    grace_us=from_duration(item.grace_period, f"items[{index}].grace_period")
                    if item.HasField("grace_period")
                    else 0,
                ),
                may_see=visible,
                path=f"items[{index}]",
            )
            for index, item in enumerate(request.items)
        ]
        executed = await self._handler.execute(steps, actor=call.identity.principal, request=key)
        return job_service_pb2.TerminateJobsResponse(
            responses=[job_service_pb2.TerminateJobsResponse.Item() for _ in steps],
            resume_token=await self._resume.make(executed.position),
        )

    def watch_jobs(
        self, request: job_service_pb2.WatchJobsRequest, call: Call
    ) -> AsyncIterator[job_service_pb2.WatchJobsResponse]:
        """A snapshot, then every event."""
        return self._watches.watch(request, call.identity)

    def follow_logs(
        self, request: job_service_pb2.FollowLogsRequest, call: Call
    ) -> AsyncIterator[job_service_pb2.FollowLogsResponse]:
        """The output of an attempt, to its end."""
        return self._logs.follow(request, may_see(call.identity))

    async def explain_job(
        self, request: job_service_pb2.ExplainJobRequest, call: Call
    ) -> job_service_pb2.ExplainJobResponse:
        """Why a job is not running yet."""
        stored = (await self._store.load_jobs([request.id])).get(request.id)
        if stored is None or not may_see(call.identity)(stored.job):
            raise not_found()
        return await self._explanations.explain(stored)

    def _created(
        self,
        spec: job_pb2.JobSpecification,
        path: str,
        identity: Identity,
        project: str,
        queues: dict[str, e.QueueConfigured],
    ) -> e.JobCreated:
        """The event of one item; a queue that is to be made for it is added to `queues`."""
        try:
            target = normalise(spec, self._catalogue, self._endpoints.rules)
            queue = self._handler.queues.get(target.queue)
            configured = queue.configured if queue else self._catalogue.new_queue(target.queue)
            event = created(
                spec,
                target,
                configured,
                defaults=self._catalogue.defaults,
                created_by=identity.subject,
                project=project,
            )
            if queue is None:
                queues[target.queue] = configured
            return event
        except Refused as refused:
            field = ".".join(part for part in (path, refused.field) if part)
            raise Refused(refused.reason, refused.message, field=field, metadata=refused.metadata) from refused


def may_see(identity: Identity) -> Callable[[Job], bool]:
    """Whether a caller may see and change a job: its owner, the members of its project, administrators."""
    if identity.role == "admin":
        return lambda job: True
    subject, project = identity.subject, identity.project

    def visible(job: Job) -> bool:
        origin = job.origin
        return origin.created_by == subject or (project != "" and origin.project == project)

    return visible


def _extended(jobs: list[Job]) -> job_service_pb2.ExtendJobsResponse:
    response = job_service_pb2.ExtendJobsResponse()
    for job in jobs:
        item = response.responses.add()
        if job.expires_us is not None:
            set_timestamp(item.expires_at, job.expires_us)
    return response


def _project(asked: str, identity: Identity) -> str:
    if not asked or asked == identity.project:
        return identity.project
    if identity.role == "admin":
        return asked
    raise Refused(Reason.ROLE_NOT_ALLOWED, "your token is not of that project", field="project")


def _permissions(identity: Identity) -> list[job_pb2.Permission.ValueType]:
    mine = [job_pb2.PERMISSION_READ, job_pb2.PERMISSION_EDIT]
    return [*mine, job_pb2.PERMISSION_ADMIN] if identity.role == "admin" else mine
