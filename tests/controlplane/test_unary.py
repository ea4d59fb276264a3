"""Unary calls over a real server: the message that does not come, does not parse, does not keep the rules; and what
leaves when a service fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio
import structlog

from tenure.controlplane.call import Call
from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import Limits
from tenure.domain.errors import Reason, Refused
from tenure.store.store import CommitOutcomeUnknown, Conflict, StorageFull, StorageReadOnly, StoreError
from tenure.v1 import job_pb2, job_service_pb2
from tests.controlplane.hosted import Hosted, Refusal, end_of, hosted, refusal_of

CREATE = "/tenure.v1.JobService/CreateJobs"
RETRIEVE = "/tenure.v1.JobService/RetrieveJob"
BROWSE = "/tenure.v1.JobService/BrowseJobs"
EXTEND = "/tenure.v1.JobService/ExtendJobs"
TERMINATE = "/tenure.v1.JobService/TerminateJobs"
EXPLAIN = "/tenure.v1.JobService/ExplainJob"

SECRET = "postgresql://root:hunter2@db"


class Jobs:
    """Answers as a test asks by the id that it retrieves."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.peers: list[str] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.going_on = asyncio.Event()
        self.errors: dict[str, Exception] = {}

    async def create_jobs(
        self, request: job_service_pb2.CreateJobsRequest, call: Call
    ) -> job_service_pb2.CreateJobsResponse:
        self.calls.append(call)
        return job_service_pb2.CreateJobsResponse(resume_token=str(len(request.items)))

    async def terminate_jobs(
        self, request: job_service_pb2.TerminateJobsRequest, call: Call
    ) -> job_service_pb2.TerminateJobsResponse:
        self.begun.set()
        await self.going_on.wait()
        return job_service_pb2.TerminateJobsResponse(resume_token="with" if call.deadline else "without")

    async def retrieve_job(
        self, request: job_service_pb2.RetrieveJobRequest, call: Call
    ) -> job_service_pb2.RetrieveJobResponse:
        self.calls.append(call)
        self.peers.append(call.peer)
        if request.id in self.errors:
            raise self.errors[request.id]
        if request.id == "slow":
            self.begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.id == "huge":
            return job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id="x" * 5_000_000))
        return job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id=request.id))


@pytest_asyncio.fixture
async def jobs() -> Jobs:
    return Jobs()


@pytest_asyncio.fixture
async def server(jobs: Jobs) -> AsyncIterator[Hosted]:
    # Nobody is late here, however slow the machine is.
    async with hosted({"JobService": jobs}, limits=Limits(first_message_s=60)) as running:
        yield running


def named(job_id: str) -> bytes:
    return job_service_pb2.RetrieveJobRequest(id=job_id).SerializeToString()


async def test_a_call_is_answered_and_the_service_knows_its_caller(server: Hosted, jobs: Jobs) -> None:
    answer = await server.unary(RETRIEVE, named("a"), await server.bearer(Role.USER, "alice"))
    assert isinstance(answer, bytes)
    assert job_service_pb2.RetrieveJobResponse.FromString(answer).job.id == "a"
    (call,) = jobs.calls
    assert jobs.peers[0].startswith("ipv4:127.0.0.1:")
    assert (call.identity.principal, call.identity.role) == ("user:alice", "user")
    assert call.rpc == "JobService.RetrieveJob"
    assert call.peer == ""  # the call is over


async def test_a_call_that_ends_without_a_message_is_refused(server: Hosted) -> None:
    call = server.stream(RETRIEVE, await server.bearer(Role.USER))
    await call.done_writing()
    assert (await end_of(call)).reason == "REQUEST_MISSING"


async def test_a_call_that_never_sends_its_message_is_ended(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(first_message_s=0.2)) as server:
        ended = await end_of(server.stream(RETRIEVE, await server.bearer(Role.USER)))
    assert (ended.code, ended.reason) == ("DEADLINE_EXCEEDED", "REQUEST_NOT_RECEIVED")


async def test_a_second_message_is_not_looked_at(server: Hosted) -> None:
    call = server.stream(RETRIEVE, await server.bearer(Role.USER))
    await call.write(named("first"))
    answer = await call.read()
    assert isinstance(answer, bytes)
    assert job_service_pb2.RetrieveJobResponse.FromString(answer).job.id == "first"
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff\xff\xff\xff", id="no message at all"),
        pytest.param(b"\x0a\x02\xc3\x28", id="a string that is no UTF-8"),
        pytest.param(b"\x0a\x7f", id="cut off"),
    ],
)
async def test_malformed_bytes_are_the_callers_mistake(server: Hosted, raw: bytes) -> None:
    answer = await server.unary(RETRIEVE, raw, await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")


async def test_nesting_without_end_is_malformed(server: Hosted) -> None:
    value = b""
    for _ in range(150):
        inner = b"\x0a" + _length(value) + value  # ListValue { values: value }
        value = b"\x32" + _length(inner) + inner  # Value { list_value: inner }
    entry = b"\x0a\x01k\x12" + _length(value) + value
    specification = b"\x3a" + _length(entry) + entry
    item = b"\x0a" + _length(specification) + specification
    answer = await server.unary(CREATE, b"\x0a" + _length(item) + item, await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert answer.reason == "MALFORMED_REQUEST"


async def test_unknown_fields_are_ignored(server: Hosted) -> None:
    answer = await server.unary(RETRIEVE, named("a") + b"\xc2\x3e\x03abc", await server.bearer(Role.USER))
    assert isinstance(answer, bytes)


async def test_a_message_over_the_limit_is_refused(server: Hosted) -> None:
    call = server.method(RETRIEVE)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"x" * (4 * 1024 * 1024 + 1), metadata=await server.bearer(Role.USER))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_over_the_limit_is_refused_every_time(server: Hosted) -> None:
    metadata = (*await server.bearer(Role.USER), ("padding", "x" * 9000))
    call = server.method(RETRIEVE)
    for _ in range(5):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(named("a"), metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = (*await server.bearer(Role.USER), ("padding", "x" * 6000))
    for _ in range(5):
        assert isinstance(await server.unary(RETRIEVE, named("a"), metadata), bytes)


async def test_an_answer_over_the_limit_is_refused_with_a_reason(server: Hosted) -> None:
    answer = await server.unary(RETRIEVE, named("huge"), await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")


@pytest.mark.parametrize("path", [EXTEND, EXPLAIN])
async def test_what_is_not_built_says_so(server: Hosted, path: str) -> None:
    answer = await server.unary(path, b"", await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")


@pytest.mark.parametrize("path", ["/tenure.v1.JobService/Conjure", "/nobody.v1.Knows/This"])
async def test_what_does_not_exist_says_so_without_a_token(server: Hosted, path: str) -> None:
    answer = await server.unary(path)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")


async def test_a_defect_shows_a_reference_and_no_text(server: Hosted, jobs: Jobs) -> None:
    jobs.errors["a"] = RuntimeError(f"cannot connect to {SECRET}")
    with structlog.testing.capture_logs() as records:
        answer = await server.unary(RETRIEVE, named("a"), await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("INTERNAL", "INTERNAL")
    assert SECRET not in str(answer)
    assert "RuntimeError" not in str(answer)
    assert "reference-1" in answer.message
    (record,) = [one for one in records if one["event"] == "call_failed"]
    assert (record["reference"], record["rpc"]) == ("reference-1", "JobService.RetrieveJob")
    assert record["exc_info"] is jobs.errors["a"]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Refused(Reason.JOB_FINAL, "it has ended", metadata={"job_id": "a"}), "FAILED_PRECONDITION", "JOB_FINAL"),
        (Conflict("job/a", 1, 2), "ABORTED", "VERSION_CONFLICT"),
        (StorageFull(SECRET), "RESOURCE_EXHAUSTED", "STORAGE_FULL"),
        (StorageReadOnly(SECRET), "UNAVAILABLE", "STORAGE_READ_ONLY"),
        (CommitOutcomeUnknown(SECRET), "UNAVAILABLE", "COMMIT_OUTCOME_UNKNOWN"),
        (StoreError(SECRET), "INTERNAL", "INTERNAL"),
        (TimeoutError(SECRET), "INTERNAL", "INTERNAL"),
        (ExceptionGroup("two", [ValueError(SECRET), Refused(Reason.LEASE_LOST, "over")]), "ABORTED", "LEASE_LOST"),
    ],
)
async def test_errors_have_their_codes(server: Hosted, jobs: Jobs, error: Exception, code: str, reason: str) -> None:
    jobs.errors["a"] = error
    answer = await server.unary(RETRIEVE, named("a"), await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == (code, reason)
    assert SECRET not in str(answer)


async def test_a_refusal_keeps_its_field_and_metadata(server: Hosted, jobs: Jobs) -> None:
    jobs.errors["a"] = Refused(Reason.INVALID_FIELD, "is odd", field="items[0].x", metadata={"most": "5"})
    answer = await server.unary(RETRIEVE, named("a"), await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert answer.fields == (("items[0].x", "is odd"),)
    assert answer.metadata == (("most", "5"),)


async def test_a_caller_that_goes_cancels_its_call(server: Hosted, jobs: Jobs) -> None:
    call = server.method(RETRIEVE)(named("slow"), metadata=await server.bearer(Role.USER))
    async with asyncio.timeout(10):
        await jobs.begun.wait()
    call.cancel()
    async with asyncio.timeout(10):
        await jobs.cancelled.wait()


async def test_a_call_without_a_deadline_gets_one(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(deadline_s=0.2)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await server.method(RETRIEVE)(named("slow"), metadata=await server.bearer(Role.USER))
    assert refusal_of(late.value).reason == "COMMIT_OUTCOME_UNKNOWN"
    assert jobs.cancelled.is_set()


async def test_a_deadline_years_away_is_cut(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(max_deadline_s=0.2)) as server:
        answer = await server.unary(RETRIEVE, named("slow"), await server.bearer(Role.USER), within_s=300_000_000.0)
    assert isinstance(answer, Refusal)
    assert answer.reason == "COMMIT_OUTCOME_UNKNOWN"


@pytest.mark.parametrize("within_s", [None, 300.0])
async def test_what_takes_long_takes_as_long_as_its_caller_waits(jobs: Jobs, within_s: float | None) -> None:
    limits = Limits(deadline_s=0.1, max_deadline_s=0.1)
    async with hosted({"JobService": jobs}, limits=limits, patient=("TerminateJobs",)) as server:
        bearer = await server.bearer(Role.USER)
        item = job_service_pb2.TerminateJobsRequest.Item(id="a")
        raw = job_service_pb2.TerminateJobsRequest(items=[item]).SerializeToString()
        patient = server.method(TERMINATE)(raw, metadata=bearer, timeout=within_s)
        async with asyncio.timeout(10):
            await jobs.begun.wait()
        # Another call, begun after it, is over because of its limit.
        answer = await server.unary(RETRIEVE, named("slow"), bearer)
        assert isinstance(answer, Refusal)
        assert answer.reason == "COMMIT_OUTCOME_UNKNOWN"
        jobs.going_on.set()
        async with asyncio.timeout(10):
            answered = job_service_pb2.TerminateJobsResponse.FromString(await patient)
    assert answered.resume_token == ("without" if within_s is None else "with")


async def test_a_deadline_of_the_callers_is_kept(server: Hosted, jobs: Jobs) -> None:
    bearer = await server.bearer(Role.USER)
    assert isinstance(await server.unary(RETRIEVE, named("a"), bearer), bytes)  # connected, which also takes time
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await server.method(RETRIEVE)(named("slow"), metadata=bearer, timeout=2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(10):
        await jobs.cancelled.wait()


async def test_more_calls_than_the_limit_are_refused_and_places_come_back(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(calls=3, first_message_s=60)) as server:
        bearer = await server.bearer(Role.USER)
        waiting = [server.stream(RETRIEVE, bearer) for _ in range(3)]
        for call in waiting:
            await call.wait_for_connection()
        answer = await server.unary(RETRIEVE, named("a"), bearer)
        while not isinstance(answer, Refusal):  # the three have not all arrived yet
            answer = await server.unary(RETRIEVE, named("a"), bearer)
        assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
        for call in waiting:
            call.cancel()
        async with asyncio.timeout(10):
            while not isinstance(await server.unary(RETRIEVE, named("a"), bearer), bytes):
                pass


async def test_calls_without_a_token_hold_no_place(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(calls=2, first_message_s=60)) as server:
        for _ in range(5):
            ended = await end_of(server.stream(RETRIEVE))
            assert ended.reason == "CREDENTIALS_MISSING"
        assert isinstance(await server.unary(RETRIEVE, named("a"), await server.bearer(Role.USER)), bytes)


async def test_a_server_that_drains_takes_no_calls(server: Hosted) -> None:
    bearer = await server.bearer(Role.USER)
    server.host.drain()
    answer = await server.unary(RETRIEVE, named("a"), bearer)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("UNAVAILABLE", "DRAINING")


def _length(raw: bytes) -> bytes:
    size, out = len(raw), b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size])
