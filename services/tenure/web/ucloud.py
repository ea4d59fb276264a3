"""UCloud's Jobs API: create, retrieve, browse, extend, terminate.

Its documented curl calls work as they are printed. Refusals are `{"why": …, "errorCode": …}`: `why` is for people and
may change, `errorCode` is the reason of the closed list.
"""

from __future__ import annotations

from google.protobuf import timestamp_pb2
from google.rpc import code_pb2
from starlette.requests import Request
from starlette.responses import Response

from tenure.runtime.calls import CallFailed, Channel
from tenure.v1 import job_pb2, job_service_pb2
from tenure.web.addresses import Address, Guard
from tenure.web.answers import json_response
from tenure.web.credentials import metadata_of
from tenure.web.failures import Problem, headers_of, http_code, reason_of
from tenure.web.fields import Fields
from tenure.web.parameters import Parameters
from tenure.web.reading import read_json
from tenure.web.transcoder import IDEMPOTENCY_KEY
from tenure.web.ucloud_json import job_value, span_of, specification_of

SERVICE = "/tenure.v1.JobService/"
PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
# The last millisecond that an instant of ours can have.
MAX_MS = 253_402_300_799_999

_BOOLEANS = {
    "includeParameters": "include_parameters",
    "includeApplication": "include_application",
    "includeProduct": "include_product",
    "includeOthers": "include_others",
    "includeUpdates": "include_updates",
    "includeSupport": "include_support",
}
_TEXTS = {
    "filterApplication": "filter_application",
    "filterCreatedBy": "filter_created_by",
    "filterProvider": "filter_provider",
    "filterProductId": "filter_product_id",
    "filterProductCategory": "filter_product_category",
    "hideProductId": "hide_product_id",
    "hideProductCategory": "hide_product_category",
    "hideProvider": "hide_provider",
}
_LISTS = {"filterIds": "filter_ids", "filterProviderIds": "filter_provider_ids"}
_SORTS = {"createdAt": job_service_pb2.JOB_SORT_BY_CREATED_AT, "timeLeft": job_service_pb2.JOB_SORT_BY_EXPIRES_AT}
_DIRECTIONS = {
    "ascending": job_service_pb2.SORT_DIRECTION_ASCENDING,
    "descending": job_service_pb2.SORT_DIRECTION_DESCENDING,
}


class UCloud:
    """The door of UCloud's clients."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def routes(self, guard: Guard) -> list[Address]:
        """The addresses; `guard` answers refusals by the given function."""
        return [
            Address("/api/jobs", guard(self._create, refusal), methods=["POST"]),
            Address("/api/jobs/retrieve", guard(self._retrieve, refusal), methods=["GET"]),
            Address("/api/jobs/browse", guard(self._browse, refusal), methods=["GET"]),
            Address("/api/jobs/extend", guard(self._extend, refusal), methods=["POST"]),
            Address("/api/jobs/terminate", guard(self._terminate, refusal), methods=["POST"]),
        ]

    async def _create(self, request: Request) -> Response:
        fields = Fields(await read_json(request))
        message = job_service_pb2.CreateJobsRequest(request_id=request.headers.get(IDEMPOTENCY_KEY, ""))
        for item in _items(fields):
            message.items.add(specification=specification_of(item))
        fields.check()
        response = await self._channel.unary(
            SERVICE + "CreateJobs", message, job_service_pb2.CreateJobsResponse, metadata_of(request)
        )
        return json_response({"responses": [{"id": each.id} for each in response.responses]})

    async def _retrieve(self, request: Request) -> Response:
        parameters = _Parameters(request.query_params)
        message = job_service_pb2.RetrieveJobRequest(id=parameters.take("id"), flags=parameters.flags())
        if not message.id:
            parameters.problems.append(Problem("id", "is required"))
        parameters.check()
        response = await self._channel.unary(
            SERVICE + "RetrieveJob", message, job_service_pb2.RetrieveJobResponse, metadata_of(request)
        )
        return json_response(job_value(response.job))

    async def _browse(self, request: Request) -> Response:
        parameters = _Parameters(request.query_params)
        size = parameters.whole("itemsPerPage", least=-(2**31)) or 0
        size = min(size, MAX_PAGE_SIZE) if size > 0 else PAGE_SIZE
        message = job_service_pb2.BrowseJobsRequest(
            flags=parameters.flags(),
            page_size=size,
            page_token=parameters.take("next"),
            sort_by=parameters.one_of("sortBy", _SORTS, job_service_pb2.JOB_SORT_BY_UNSPECIFIED),
            sort_direction=parameters.one_of("sortDirection", _DIRECTIONS, job_service_pb2.SORT_DIRECTION_UNSPECIFIED),
        )
        parameters.check()
        response = await self._channel.unary(
            SERVICE + "BrowseJobs", message, job_service_pb2.BrowseJobsResponse, metadata_of(request)
        )
        items = [job_value(job, updates=message.flags.include_updates) for job in response.jobs]
        return json_response({"itemsPerPage": size, "items": items, "next": response.next_page_token or None})

    async def _extend(self, request: Request) -> Response:
        fields = Fields(await read_json(request))
        message = job_service_pb2.ExtendJobsRequest(request_id=request.headers.get(IDEMPOTENCY_KEY, ""))
        for item in _items(fields):
            extension = message.items.add(job_id=item.text("jobId", required=True) or "")
            if (requested := item.inside("requestedTime")) is not None:
                extension.requested_time.CopyFrom(span_of(requested))
            else:
                item.report("requestedTime", "is required")
            item.rest()
        fields.check()
        response = await self._channel.unary(
            SERVICE + "ExtendJobs", message, job_service_pb2.ExtendJobsResponse, metadata_of(request)
        )
        return json_response({"responses": [{} for _ in response.responses]})

    async def _terminate(self, request: Request) -> Response:
        fields = Fields(await read_json(request))
        message = job_service_pb2.TerminateJobsRequest(request_id=request.headers.get(IDEMPOTENCY_KEY, ""))
        for item in _items(fields):
            message.items.add(id=item.text("id", required=True) or "")
            item.rest()
        fields.check()
        response = await self._channel.unary(
            SERVICE + "TerminateJobs", message, job_service_pb2.TerminateJobsResponse, metadata_of(request)
        )
        return json_response({"responses": [{} for _ in response.responses]})


def refusal(failed: CallFailed) -> Response:
    """A refusal as UCloud's `CommonErrorMessage`."""
    code = http_code(failed)
    return json_response(
        {"why": failed.status.message, "errorCode": reason_of(failed) or code_pb2.Code.Name(failed.status.code)},
        code,
        headers_of(code),
    )


def _items(fields: Fields) -> list[Fields]:
    """The items of a bulk request; the whole object is looked through."""
    if fields.text("type") not in (None, "bulk"):
        fields.report("type", "must be bulk")
    items = list(fields.each("items"))
    fields.rest()
    return items


class _Parameters(Parameters):
    """The parameters that say which jobs, and which parts of them."""

    def flags(self) -> job_service_pb2.JobFlags:
        flags = job_service_pb2.JobFlags()
        for theirs, ours in _BOOLEANS.items():
            setattr(flags, ours, self.flag(theirs) or False)
        for theirs, ours in _TEXTS.items():
            setattr(flags, ours, self.take(theirs))
        for theirs, ours in _LISTS.items():
            text = self.take(theirs)
            getattr(flags, ours).extend(each.strip() for each in text.split(",") if each.strip())
        state = self.take("filterState")
        if state:
            known = {f"JOB_STATE_{state}"} & set(job_pb2.JobState.keys()) - {"JOB_STATE_UNSPECIFIED"}
            if known:
                flags.filter_state = job_pb2.JobState.Value(known.pop())
            else:
                self.problems.append(Problem("filterState", "is no state of a job"))
        self._instants(flags)
        return flags

    def _instants(self, flags: job_service_pb2.JobFlags) -> None:
        after = self.whole("filterCreatedAfter", least=0, most=MAX_MS)
        if after is not None:
            flags.filter_created_after.CopyFrom(_instant(after))
        before = self.whole("filterCreatedBefore", least=0, most=MAX_MS - 1)
        if before is not None:
            # Theirs is included, ours is not.
            flags.filter_created_before.CopyFrom(_instant(before + 1))


def _instant(milliseconds: int) -> timestamp_pb2.Timestamp:
    instant = timestamp_pb2.Timestamp()
    instant.FromMilliseconds(milliseconds)
    return instant
