"""Kelpie's API: submitting, looking, cancelling for users; claiming, beating and reporting for machines.

Refusals are `{"error": …, "message": …}`. `docs/http.md` says what a machine that comes this way cannot get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2
from starlette.requests import Request
from starlette.responses import Response

from tenure.runtime.calls import CallFailed, Channel, Metadata
from tenure.v1 import job_pb2, job_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tenure.web.addresses import Address, Guard
from tenure.web.answers import json_response
from tenure.web.credentials import kelpie_metadata_of
from tenure.web.failures import headers_of, http_code, reason_of, unacceptable
from tenure.web.fields import Fields
from tenure.web.kelpie_json import STATUSES, job_value, specification_of, status_of
from tenure.web.machine import Machine, failed_report, released_report, succeeded_report
from tenure.web.machines import Machines
from tenure.web.parameters import Parameters
from tenure.web.reading import read_json
from tenure.web.transcoder import IDEMPOTENCY_KEY

SERVICE = "/tenure.v1.JobService/"
PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_BATCH = 1000
# Jobs that are read at once.
CHUNK = 200
# Kelpie's pages count jobs from the first; so many are looked at for one at most.
MAX_LOOKED_AT = 10_000
# So long a machine that asks waits for a job that may be on its way.
WAIT_S = 1.0

_TITLES = {400: "Invalid request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict"}
_STATES = {"pending": job_pb2.JOB_STATE_IN_QUEUE, "completed": job_pb2.JOB_STATE_SUCCESS}
_STATES["canceled"] = job_pb2.JOB_STATE_SUCCESS


class Kelpie:
    """The door of Kelpie's users and workers."""

    def __init__(self, channel: Channel, machines: Machines, *, wait_s: float = WAIT_S) -> None:
        self._channel = channel
        self._machines = machines
        self._wait_s = wait_s

    def routes(self, guard: Guard) -> list[Address]:
        """The addresses; `guard` answers refusals by the given function."""
        return [
            Address("/jobs", guard(self._create, refusal), methods=["POST"]),
            Address("/jobs", guard(self._list, refusal), methods=["GET"]),
            Address("/jobs/batch", guard(self._create_batch, refusal), methods=["POST"]),
            Address("/jobs/{id}", guard(self._get, refusal), methods=["GET"]),
            Address("/jobs/{id}", guard(self._cancel, refusal), methods=["DELETE"]),
            Address("/work", guard(self._work, refusal), methods=["GET"]),
            Address("/jobs/{id}/heartbeat", guard(self._heartbeat, refusal), methods=["POST"]),
            Address("/jobs/{id}/completed", guard(self._completed, refusal), methods=["POST"]),
            Address("/jobs/{id}/failed", guard(self._failed, refusal), methods=["POST"]),
        ]

    # --- users --------------------------------------------------------------------------------------------------------

    async def _create(self, request: Request) -> Response:
        fields = Fields(await read_json(request))
        specification = specification_of(fields)
        fields.check()
        jobs = await self._created(request, [specification])
        return json_response(job_value(jobs[0]), 202)

    async def _create_batch(self, request: Request) -> Response:
        body = await read_json(request)
        if not isinstance(body, list) or not 1 <= len(body) <= MAX_BATCH:
            text = f"the body must be a list of 1 to {MAX_BATCH} jobs"
            raise unacceptable(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", text)
        specifications: list[job_pb2.JobSpecification] = []
        all_of_them = Fields({})
        for index, each in enumerate(body):
            specifications.append(specification_of(Fields(each, f"[{index}]", all_of_them.problems)))
        all_of_them.check()
        jobs = await self._created(request, specifications)
        return json_response([job_value(job) for job in jobs], 202)

    async def _created(self, request: Request, specifications: list[job_pb2.JobSpecification]) -> list[job_pb2.Job]:
        """Create jobs and read them, in the order asked for."""
        metadata = kelpie_metadata_of(request)
        message = job_service_pb2.CreateJobsRequest(request_id=request.headers.get(IDEMPOTENCY_KEY, ""))
        for specification in specifications:
            message.items.add(specification=specification)
        created = await self._channel.unary(
            SERVICE + "CreateJobs", message, job_service_pb2.CreateJobsResponse, metadata
        )
        ids = [each.id for each in created.responses]
        flags = job_service_pb2.JobFlags(filter_ids=ids, include_updates=True, include_application=True)
        jobs = {job.id: job for job in await self._pages(flags, metadata, ascending=False, count=len(ids))}
        return [jobs[job_id] for job_id in ids]

    async def _get(self, request: Request) -> Response:
        message = job_service_pb2.RetrieveJobRequest(id=request.path_params["id"])
        message.flags.include_application = True
        response = await self._channel.unary(
            SERVICE + "RetrieveJob", message, job_service_pb2.RetrieveJobResponse, kelpie_metadata_of(request)
        )
        return json_response(job_value(response.job))

    async def _list(self, request: Request) -> Response:
        parameters = Parameters(request.query_params)
        status = parameters.one_of("status", {name: name for name in STATUSES}, "")
        size = parameters.whole("page_size", least=1, most=MAX_PAGE_SIZE) or PAGE_SIZE
        page = parameters.whole("page", least=1) or 1
        ascending = parameters.flag("asc") or False
        flags = job_service_pb2.JobFlags(
            filter_queue=parameters.take("container_group_id"), include_updates=True, include_application=True
        )
        if status in _STATES:
            flags.filter_state = _STATES[status]
        parameters.check()
        jobs = await self._pages(
            flags,
            kelpie_metadata_of(request),
            ascending=ascending,
            skip=(page - 1) * size,
            count=size,
            wanted=(lambda job: status_of(job) == status) if status else None,
        )
        return json_response({"_count": len(jobs), "jobs": [job_value(job) for job in jobs]})

    async def _cancel(self, request: Request) -> Response:
        message = job_service_pb2.TerminateJobsRequest()
        message.items.add(id=request.path_params["id"])
        await self._channel.unary(
            SERVICE + "TerminateJobs", message, job_service_pb2.TerminateJobsResponse, kelpie_metadata_of(request)
        )
        return json_response({"message": "Job canceled"}, 202)

    async def _pages(
        self,
        flags: job_service_pb2.JobFlags,
        metadata: Metadata,
        *,
        ascending: bool,
        count: int,
        skip: int = 0,
        wanted: Callable[[job_pb2.Job], bool] | None = None,
    ) -> list[job_pb2.Job]:
        """So many jobs, after so many that are skipped; our own pages have tokens and no numbers."""
        direction = job_service_pb2.SORT_DIRECTION_ASCENDING if ascending else job_service_pb2.SORT_DIRECTION_DESCENDING
        message = job_service_pb2.BrowseJobsRequest(flags=flags, sort_direction=direction, page_size=CHUNK)
        found: list[job_pb2.Job] = []
        looked_at = 0
        while len(found) < count:
            response = await self._page(message, metadata)
            looked_at += len(response.jobs)
            for job in response.jobs:
                if wanted is not None and not wanted(job):
                    continue
                if skip:
                    skip -= 1
                elif len(found) < count:
                    found.append(job)
            if not response.next_page_token:
                break
            if looked_at >= MAX_LOOKED_AT and len(found) < count:
                text = "too many jobs lie before this page: narrow the list, or use GET /v1/jobs with page tokens"
                raise unacceptable(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", text)
            message.page_token = response.next_page_token
        return found

    async def _page(
        self, message: job_service_pb2.BrowseJobsRequest, metadata: Metadata
    ) -> job_service_pb2.BrowseJobsResponse:
        """One page of ours, smaller where its jobs are so large that a message cannot hold them."""
        while True:
            try:
                return await self._channel.unary(
                    SERVICE + "BrowseJobs", message, job_service_pb2.BrowseJobsResponse, metadata
                )
            except CallFailed as failed:
                if reason_of(failed) != "LIMIT_EXCEEDED" or message.page_size <= 1:
                    raise
                message.page_size //= 2

    # --- machines -----------------------------------------------------------------------------------------------------

    async def _work(self, request: Request) -> Response:
        parameters = Parameters(request.query_params)
        names = {name: parameters.take(name) for name in ("machine_id", "container_group_id")}
        parameters.check()
        machine = await self._machine(request, Fields(names))
        claimed = await machine.ask(self._wait_s)
        if claimed is None:
            return json_response([])
        assignment, job = claimed
        if await request.is_disconnected():
            await machine.report(job.id, released_report("its machine went away before it had it"))
            return json_response([])
        return json_response([_work_value(assignment, job)])

    async def _heartbeat(self, request: Request) -> Response:
        machine = await self._machine(request, Fields(await read_json(request)))
        return json_response({"status": await machine.beat(request.path_params["id"])})

    async def _completed(self, request: Request) -> Response:
        await self._report(request, succeeded_report())
        return json_response({"message": "Completed reported"})

    async def _failed(self, request: Request) -> Response:
        await self._report(request, failed_report())
        return json_response({"message": "Failure reported"}, 202)

    async def _report(self, request: Request, outcome: pb.Report.Item) -> None:
        machine = await self._machine(request, Fields(await read_json(request)))
        if not await machine.report(request.path_params["id"], outcome):
            text = "this machine does not hold the job any more, or said otherwise before: nothing was changed"
            raise unacceptable(code_pb2.ABORTED, "LEASE_LOST", text)

    async def _machine(self, request: Request, fields: Fields) -> Machine:
        machine_id = fields.text("machine_id", required=True)
        queue = fields.text("container_group_id", required=True)
        for name, value in (("machine_id", machine_id), ("container_group_id", queue)):
            if value == "":
                fields.report(name, "is required")
        fields.rest()
        fields.check()
        return await self._machines.machine(kelpie_metadata_of(request), machine_id or "", queue or "")


def _work_value(assignment: pb.Assignment, job: job_pb2.Job) -> dict[str, Any]:
    """A job as its machine gets it: what it runs is what the server has resolved."""
    return {
        **job_value(job),
        "command": assignment.command,
        "arguments": list(assignment.arguments),
        "heartbeat_interval": max(1, assignment.heartbeat_interval.seconds),
    }


def refusal(failed: CallFailed) -> Response:
    """A refusal in Kelpie's form; for fields at fault, which they are, and of a batch the index of the first."""
    code = http_code(failed)
    title = _TITLES.get(code, "Internal server error" if code >= 500 else "Error")
    value: dict[str, Any] = {"error": title, "message": failed.status.message, "reason": reason_of(failed)}
    bad = error_details_pb2.BadRequest()
    for detail in failed.status.details:
        if detail.Unpack(bad) and bad.field_violations:
            value["fields"] = [json_format.MessageToDict(each) for each in bad.field_violations]
            index = _index_of(bad.field_violations[0].field)
            if index is not None:
                value["index"] = index
    return json_response(value, code, headers_of(code))


def _index_of(field: str) -> int | None:
    digits = field.removeprefix("items").removeprefix("[").partition("]")[0]
    return int(digits) if digits.isdigit() and "[" in field else None
