"""Streams over a real server: bad messages, peers that do not read, and ends that come from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from tenure.controlplane.call import BadMessage, Call, Messages, StreamCall
from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import Limits
from tenure.domain.errors import Reason, Refused
from tenure.v1 import job_service_pb2, worker_service_pb2
from tests.controlplane.hosted import Hosted, end_of, hosted

CONNECT = "/tenure.v1.WorkerService/Connect"
SHIP = "/tenure.v1.WorkerService/ShipLogs"
WATCH = "/tenure.v1.JobService/WatchJobs"
RETRIEVE = "/tenure.v1.JobService/RetrieveJob"

HELLO = worker_service_pb2.ConnectRequest(
    hello=worker_service_pb2.Hello(worker_id="w", incarnation="1", protocol_version=1, queues=["default"], slots=1)
).SerializeToString()
BAD_HELLO = worker_service_pb2.ConnectRequest(
    hello=worker_service_pb2.Hello(worker_id="", incarnation="1", queues=["no good"], slots=-1)
).SerializeToString()


class Workers:
    """Echoes how many messages it has heard; a group of tasks, as the real one is."""

    def __init__(self) -> None:
        self.bad: list[BadMessage] = []
        self.ended = asyncio.Event()

    async def connect(self, messages: Messages[worker_service_pb2.ConnectRequest], call: StreamCall) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await group.create_task(self._read(messages, call))
        finally:
            self.ended.set()

    async def _read(self, messages: Messages[worker_service_pb2.ConnectRequest], call: StreamCall) -> None:
        heard = 0
        async for message in messages:
            if isinstance(message, BadMessage):
                self.bad.append(message)
                continue
            heard += 1
            await call.send(
                worker_service_pb2.ConnectResponse(welcome=worker_service_pb2.Welcome(session_id=str(heard)))
            )


class Jobs:
    """Streams what a test asks for by the first id."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def watch_jobs(
        self, request: job_service_pb2.WatchJobsRequest, call: Call
    ) -> AsyncIterator[job_service_pb2.WatchJobsResponse]:
        try:
            match list(request.ids):
                case ["flood"]:
                    while True:
                        yield job_service_pb2.WatchJobsResponse(resume_token="x" * 100_000)
                case ["refuse"]:
                    yield job_service_pb2.WatchJobsResponse(resume_token="1")
                    raise Refused(Reason.LOG_REGRESSED, "lost")
                case ["three"]:
                    for number in range(3):
                        yield job_service_pb2.WatchJobsResponse(resume_token=str(number))
                case _:
                    yield job_service_pb2.WatchJobsResponse(resume_token="open")
                    await asyncio.get_running_loop().create_future()
        finally:
            self.closed.set()


@pytest_asyncio.fixture
async def workers() -> Workers:
    return Workers()


@pytest_asyncio.fixture
async def jobs() -> Jobs:
    return Jobs()


@pytest_asyncio.fixture
async def server(workers: Workers, jobs: Jobs) -> AsyncIterator[Hosted]:
    # Nobody is late here, however slow the machine is.
    async with hosted({"WorkerService": workers, "JobService": jobs}, limits=Limits(first_message_s=60)) as running:
        yield running


def watch(*ids: str) -> bytes:
    return job_service_pb2.WatchJobsRequest(ids=ids).SerializeToString()


def token_of(raw: object) -> str:
    assert isinstance(raw, bytes)
    return job_service_pb2.WatchJobsResponse.FromString(raw).resume_token


def session_of(raw: object) -> str:
    assert isinstance(raw, bytes)
    return worker_service_pb2.ConnectResponse.FromString(raw).welcome.session_id


async def test_messages_are_heard_and_answered_one_by_one(server: Hosted) -> None:
    call = server.stream(CONNECT, await server.bearer(Role.WORKER))
    for number in ("1", "2", "3"):
        await call.write(HELLO)
        assert session_of(await call.read()) == number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_message_that_breaks_rules_is_handed_over_and_the_stream_lives(
    server: Hosted, workers: Workers
) -> None:
    call = server.stream(CONNECT, await server.bearer(Role.WORKER))
    await call.write(BAD_HELLO)
    await call.write(HELLO)
    assert session_of(await call.read()) == "1"
    (bad,) = workers.bad
    assert {violation.field for violation in bad.violations} == {"hello.worker_id", "hello.queues[0]", "hello.slots"}
    call.cancel()


async def test_a_malformed_message_ends_the_stream(server: Hosted, workers: Workers) -> None:
    call = server.stream(CONNECT, await server.bearer(Role.WORKER))
    await call.write(HELLO)
    await call.read()
    await call.write(b"\xff\xff\xff")
    ended = await end_of(call)
    assert (ended.code, ended.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")
    assert workers.ended.is_set()


async def test_a_stream_that_never_speaks_is_ended(workers: Workers) -> None:
    async with hosted({"WorkerService": workers}, limits=Limits(first_message_s=0.2)) as server:
        ended = await end_of(server.stream(CONNECT, await server.bearer(Role.WORKER)))
    assert (ended.code, ended.reason) == ("DEADLINE_EXCEEDED", "REQUEST_NOT_RECEIVED")
    assert workers.ended.is_set()


async def test_a_stream_that_has_spoken_may_be_silent(workers: Workers) -> None:
    async with hosted({"WorkerService": workers}, limits=Limits(first_message_s=2)) as server:
        call = server.stream(CONNECT, await server.bearer(Role.WORKER))
        await call.write(HELLO)
        await call.read()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):  # more than the limit for the first message
                await workers.ended.wait()
        await call.write(HELLO)
        assert session_of(await call.read()) == "2"
        call.cancel()


async def test_a_peer_that_goes_ends_the_service(server: Hosted, workers: Workers) -> None:
    call = server.stream(CONNECT, await server.bearer(Role.WORKER))
    await call.write(HELLO)
    await call.read()
    call.cancel()
    async with asyncio.timeout(10):
        await workers.ended.wait()


async def test_a_stream_that_is_not_built_says_so(server: Hosted) -> None:
    ended = await end_of(server.stream(SHIP, await server.bearer(Role.WORKER)))
    assert (ended.code, ended.reason) == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")


async def test_responses_come_in_order_and_the_call_ends(server: Hosted, jobs: Jobs) -> None:
    call = server.stream(WATCH, await server.bearer(Role.USER))
    await call.write(watch("three"))
    assert [token_of(await call.read()) for _ in range(3)] == ["0", "1", "2"]
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert jobs.closed.is_set()


async def test_a_refusal_in_the_middle_ends_the_stream_with_its_reason(server: Hosted) -> None:
    call = server.stream(WATCH, await server.bearer(Role.USER))
    await call.write(watch("refuse"))
    assert token_of(await call.read()) == "1"
    ended = await end_of(call)
    assert (ended.code, ended.reason) == ("DATA_LOSS", "LOG_REGRESSED")


async def test_a_watch_without_a_message_is_refused(server: Hosted) -> None:
    call = server.stream(WATCH, await server.bearer(Role.USER))
    await call.done_writing()
    assert (await end_of(call)).reason == "REQUEST_MISSING"


async def test_a_peer_that_does_not_read_is_given_up(jobs: Jobs) -> None:
    limits = Limits(first_message_s=60, send_s=0.3, goodbye_s=0.2)
    async with hosted({"JobService": jobs}, limits=limits) as server:
        call = server.stream(WATCH, await server.bearer(Role.USER))
        await call.write(watch("flood"))
        async with asyncio.timeout(20):
            await jobs.closed.wait()
        # Others are served, and who reads on finds the reason behind what it had been sent.
        other = server.stream(WATCH, await server.bearer(Role.USER))
        await other.write(watch("three"))
        assert token_of(await other.read()) == "0"
        other.cancel()
        ended = await end_of(call)
        assert (ended.code, ended.reason) == ("RESOURCE_EXHAUSTED", "SLOW_CONSUMER")


async def test_a_stream_can_be_ended_at_any_moment(server: Hosted) -> None:
    bearer = await server.bearer(Role.USER)
    for turns in range(60):
        call = server.stream(WATCH, bearer)
        await call.write(watch())
        for _ in range(turns):
            await asyncio.sleep(0)
        ended = asyncio.ensure_future(end_of(call))
        while not ended.done():
            server.host.end_streams()  # more than once: the call may not have arrived yet
            await asyncio.sleep(0)
        assert (await ended).reason == "DRAINING"


async def test_a_revoked_token_ends_its_streams(server: Hosted, jobs: Jobs) -> None:
    row, secret = await server.tokens.create(role=Role.USER, subject="alice")
    kept = server.stream(WATCH, await server.bearer(Role.USER, "alice"))
    call = server.stream(WATCH, (("authorization", f"Bearer {secret}"),))
    for one in (kept, call):
        await one.write(watch())
        assert token_of(await one.read()) == "open"
    assert await server.tokens.revoke(row.id)
    ended = await end_of(call)
    assert (ended.code, ended.reason) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    assert not kept.done()
    kept.cancel()


async def test_a_server_that_drains_ends_its_streams(server: Hosted, workers: Workers, jobs: Jobs) -> None:
    watching = server.stream(WATCH, await server.bearer(Role.USER))
    await watching.write(watch())
    await watching.read()
    working = server.stream(CONNECT, await server.bearer(Role.WORKER))
    await working.write(HELLO)
    await working.read()
    server.host.drain()
    for call in (watching, working):
        ended = await end_of(call)
        assert (ended.code, ended.reason) == ("UNAVAILABLE", "DRAINING")
    assert workers.ended.is_set()
    assert jobs.closed.is_set()


async def test_more_streams_than_the_limit_are_refused(workers: Workers) -> None:
    async with hosted({"WorkerService": workers}, limits=Limits(streams=1)) as server:
        first = server.stream(CONNECT, await server.bearer(Role.WORKER))
        await first.write(HELLO)
        await first.read()
        ended = await end_of(server.stream(CONNECT, await server.bearer(Role.WORKER)))
        assert (ended.code, ended.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
        first.cancel()


class Tidying:
    """Takes its time to let go of a stream."""

    def __init__(self) -> None:
        self.tidying = asyncio.Event()
        self.go_on = asyncio.Event()

    async def connect(self, messages: Messages[worker_service_pb2.ConnectRequest], call: StreamCall) -> None:
        try:
            await anext(aiter(messages))
        finally:
            self.tidying.set()
            await self.go_on.wait()


async def test_a_stream_that_is_being_ended_already_holds_up_no_drain() -> None:
    service = Tidying()
    async with hosted({"WorkerService": service}, limits=Limits(first_message_s=0.05)) as server:
        call = server.stream(CONNECT, await server.bearer(Role.WORKER))
        async with asyncio.timeout(10):
            await service.tidying.wait()
        server.host.drain()
        service.go_on.set()
        assert (await end_of(call)).reason == "DRAINING"
