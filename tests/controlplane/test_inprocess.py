"""Calls without sockets: they go the way of all calls, and end as they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tenure.controlplane.call import Call, Messages, StreamCall
from tenure.controlplane.inprocess import InProcess
from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import Limits
from tenure.runtime.calls import CallFailed
from tenure.v1 import job_service_pb2, worker_service_pb2
from tests.controlplane.hosted import Hosted, hosted

RETRIEVE = "/tenure.v1.JobService/RetrieveJob"
WATCH = "/tenure.v1.JobService/WatchJobs"
CONNECT = "/tenure.v1.WorkerService/Connect"
Watched = job_service_pb2.WatchJobsResponse
Retrieved = job_service_pb2.RetrieveJobResponse


def reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


class Jobs:
    """Answers who called; streams numbers."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def retrieve_job(self, request: job_service_pb2.RetrieveJobRequest, call: Call) -> Retrieved:
        if request.id == "defect":
            raise RuntimeError("a secret")
        return Retrieved(resume_token=f"{call.identity.subject} {request.id} {call.peer}")

    async def watch_jobs(self, request: job_service_pb2.WatchJobsRequest, call: Call) -> AsyncIterator[Watched]:
        try:
            number = 0
            while not request.ids or number < int(request.ids[0]):
                number += 1
                yield Watched(resume_token=str(number))
        finally:
            self.ended.set()


class Workers:
    """Says back how many messages it has heard."""

    async def connect(self, messages: Messages[worker_service_pb2.ConnectRequest], call: StreamCall) -> None:
        heard = 0
        async for _ in messages:
            heard += 1
            welcome = worker_service_pb2.Welcome(session_id=str(heard))
            await call.send(worker_service_pb2.ConnectResponse(welcome=welcome))


async def token(host: Hosted, role: Role = Role.USER) -> tuple[tuple[str, str], ...]:
    return await host.bearer(role)


async def refused(channel: InProcess, request: Message, metadata: tuple[tuple[str, str], ...] = ()) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await channel.unary(RETRIEVE, request, Retrieved, metadata)
    return failed.value


async def test_a_call_is_identified_validated_and_answered() -> None:
    async with hosted({"JobService": Jobs()}) as host:
        channel, metadata = InProcess(host.host), await token(host)
        request = job_service_pb2.RetrieveJobRequest(id="a")
        assert (await channel.unary(RETRIEVE, request, Retrieved, metadata)).resume_token == "somebody a inprocess"
        assert reason_of((await refused(channel, request)).status) == "CREDENTIALS_MISSING"
        worker = await token(host, Role.WORKER)
        assert reason_of((await refused(channel, request, worker)).status) == "ROLE_NOT_ALLOWED"
        bad = await refused(channel, job_service_pb2.RetrieveJobRequest(id="no id!"), metadata)
        assert bad.status.code == code_pb2.INVALID_ARGUMENT
        violations = error_details_pb2.BadRequest()
        assert bad.status.details[1].Unpack(violations)
        assert violations.field_violations[0].field == "id"


async def test_it_ends_as_over_a_socket() -> None:
    async with hosted({"JobService": Jobs()}) as host:
        channel, metadata = InProcess(host.host), await token(host)
        for request in (
            job_service_pb2.RetrieveJobRequest(id="no id!"),
            job_service_pb2.RetrieveJobRequest(),
        ):
            here = await refused(channel, request, metadata)
            there = await host.unary(RETRIEVE, request.SerializeToString(), metadata)
            assert not isinstance(there, bytes)
            assert (here.status.message, reason_of(here.status)) == (there.message, there.reason)
        defect = await refused(channel, job_service_pb2.RetrieveJobRequest(id="defect"), metadata)
        assert reason_of(defect.status) == "INTERNAL"
        assert "secret" not in defect.status.message
        with pytest.raises(CallFailed) as unknown:
            await channel.unary("/tenure.v1.JobService/Nothing", job_service_pb2.RetrieveJobRequest(), Retrieved)
        assert reason_of(unknown.value.status) == "NOT_IMPLEMENTED"
        large = job_service_pb2.RetrieveJobRequest(id="x" * (4 * 1024 * 1024 + 1))
        assert reason_of((await refused(channel, large, metadata)).status) == "LIMIT_EXCEEDED"


async def test_a_stream_ends_by_itself_or_when_it_is_closed() -> None:
    jobs = Jobs()
    async with hosted({"JobService": jobs}) as host:
        channel, metadata = InProcess(host.host), await token(host)
        request = job_service_pb2.WatchJobsRequest(ids=["100"])
        numbers = [message.resume_token async for message in channel.stream(WATCH, request, Watched, metadata)]
        assert numbers == [str(number) for number in range(1, 101)]
        jobs.ended.clear()
        endless: AsyncGenerator[Watched, None]
        endless = channel.stream(WATCH, job_service_pb2.WatchJobsRequest(), Watched, metadata)
        assert (await anext(endless)).resume_token == "1"
        await endless.aclose()
        assert jobs.ended.is_set()
        assert not host.host._pipeline._streams


async def test_a_refused_stream() -> None:
    async with hosted({"JobService": Jobs()}) as host:
        stream = InProcess(host.host).stream(WATCH, job_service_pb2.WatchJobsRequest(), Watched)
        with pytest.raises(CallFailed) as failed:
            await anext(stream)
        assert reason_of(failed.value.status) == "CREDENTIALS_MISSING"


async def test_who_does_not_take_is_a_slow_reader() -> None:
    jobs = Jobs()
    async with hosted({"JobService": jobs}, limits=Limits(send_s=0.1)) as host:
        stream = InProcess(host.host).stream(WATCH, job_service_pb2.WatchJobsRequest(), Watched, await token(host))
        assert (await anext(stream)).resume_token == "1"
        async with asyncio.timeout(20):
            await jobs.ended.wait()
        with pytest.raises(CallFailed) as failed:
            async for _ in stream:
                pass
        assert reason_of(failed.value.status) == "SLOW_CONSUMER"


async def test_a_stream_both_ways() -> None:
    async with hosted({"WorkerService": Workers()}) as host:

        async def said() -> AsyncIterator[Message]:
            for _ in range(3):
                yield worker_service_pb2.ConnectRequest(heartbeat=worker_service_pb2.Heartbeat())

        channel = InProcess(host.host)
        responses = channel.stream(CONNECT, said(), worker_service_pb2.ConnectResponse, await token(host, Role.WORKER))
        assert [message.welcome.session_id async for message in responses] == ["1", "2", "3"]


async def test_a_server_that_drains_ends_its_streams() -> None:
    async with hosted({"JobService": Jobs()}) as host:
        channel, metadata = InProcess(host.host), await token(host)
        stream = channel.stream(WATCH, job_service_pb2.WatchJobsRequest(), Watched, metadata)
        await anext(stream)
        host.host.drain()
        with pytest.raises(CallFailed) as failed:
            async for _ in stream:
                pass
        assert reason_of(failed.value.status) == "DRAINING"
        assert reason_of((await refused(channel, job_service_pb2.RetrieveJobRequest(id="a"), metadata)).status) == (
            "DRAINING"
        )
