"""No caller takes all of a server: half of the places, half of the memory, so many turns, and anonymous ones apart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from tenure.controlplane import health
from tenure.controlplane.call import Call
from tenure.controlplane.patience import Patience
from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.shares import Shares, Turns
from tenure.domain.errors import Refused
from tenure.v1 import job_pb2, job_service_pb2
from tests.acceptance.waiting import eventually
from tests.controlplane.hosted import Hosted, Refusal, hosted
from tests.hostile import h2_frames as h2
from tests.hostile.h2_attacker import Connection, Plan

RETRIEVE = "/tenure.v1.JobService/RetrieveJob"
WATCH = "/tenure.v1.JobService/WatchJobs"
CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
LARGE = 200_000


class Jobs:
    """Answers with as many bytes as the id says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.watching = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def retrieve_job(
        self, request: job_service_pb2.RetrieveJobRequest, call: Call
    ) -> job_service_pb2.RetrieveJobResponse:
        self.asked.append(call.identity.subject)
        await self.go_on.wait()
        return job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id="x" * int(request.id)))

    async def watch_jobs(
        self, request: job_service_pb2.WatchJobsRequest, call: Call
    ) -> AsyncIterator[job_service_pb2.WatchJobsResponse]:
        self.watching += 1
        try:
            while True:
                yield job_service_pb2.WatchJobsResponse(resume_token="x" * LARGE)
        finally:
            self.watching -= 1


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def asking(size: int) -> bytes:
    return job_service_pb2.RetrieveJobRequest(id=str(size)).SerializeToString()


@asynccontextmanager
async def raw_connection(server: Hosted, path: str, token: str = "") -> AsyncIterator[Connection]:
    """A connection that gives no credit for answers."""
    host, _, port = server.address.rpartition(":")
    plan = Plan(
        attack="", host=host, port=int(port), connections=1, times=1, seconds=20, path=path, token=token, message=""
    )
    connection = Connection(plan, Counter())
    await connection.connect(h2.PREFACE + h2.settings((h2.INITIAL_WINDOW_SIZE, 0)))
    try:
        yield connection
    finally:
        await connection.end()


async def ask_without_reading(connection: Connection, message: bytes, times: int) -> None:
    for _ in range(times):
        stream, opening = connection.headers()
        await connection.send(opening + h2.data_frames(stream, h2.message(message), end=True))


def secret_in(bearer: tuple[tuple[str, str], ...]) -> str:
    return bearer[0][1].removeprefix("Bearer ")


def test_half_of_it_is_the_most_that_one_may_have() -> None:
    places = Shares(5, "places")
    for _ in range(3):
        places.take("a")
    with pytest.raises(Refused, match="you have too many places"):
        places.take("a")
    with pytest.raises(Refused, match="you have too many places"):
        places.check("a")
    places.check("b")
    places.take("b", 2)
    with pytest.raises(Refused, match="the server has too many places"):
        places.take("c")
    places.give_back("a")
    places.take("c")
    places.check("a")


async def test_turns_are_taken_in_order_and_those_who_left_are_passed_over() -> None:
    turns = Turns(1)
    assert turns.free("a")
    assert turns.free("b")
    order: list[int] = []

    async def take(number: int) -> None:
        assert not turns.free("a")
        await turns.wait("a")
        order.append(number)

    waiting = [asyncio.ensure_future(take(number)) for number in range(4)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    turns.give_back("a")
    # The turn was handed over when it was cancelled: it goes on to the next.
    waiting[0].cancel()
    await asyncio.wait(waiting[:2])
    await asyncio.wait(waiting[2:3])
    assert order == [2]
    turns.give_back("a")
    await asyncio.wait(waiting)
    turns.give_back("a")
    assert turns.free("a")
    assert order == [2, 3]


async def test_those_who_gave_up_waiting_for_a_turn_are_not_remembered() -> None:
    turns = Turns(1)
    assert turns.free("a")
    for _ in range(3):
        waiting = [asyncio.ensure_future(turns.wait("a")) for _ in range(2)]
        await asyncio.sleep(0)
        assert len(turns) == 2
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        assert len(turns) == 0
    turns.give_back("a")
    assert turns.free("a")


async def test_one_callers_silent_calls_leave_room_for_others(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(calls=4, first_message_s=60)) as server:
        alice, bob = await server.bearer(Role.USER, "alice"), await server.bearer(Role.USER, "bob")
        for bearer in (alice, bob):  # known from now on
            assert isinstance(await server.unary(RETRIEVE, asking(1), bearer), bytes)
        held = [server.stream(RETRIEVE, alice) for _ in range(4)]

        async def refused() -> bool:
            return isinstance(await server.unary(RETRIEVE, asking(1), alice), Refusal)

        await eventually(refused)
        assert isinstance(await server.unary(RETRIEVE, asking(1), bob), bytes)
        for call in held:
            call.cancel()

        async def served() -> bool:
            return isinstance(await server.unary(RETRIEVE, asking(1), alice), bytes)

        await eventually(served)


async def test_calls_without_a_token_take_no_place_of_others(jobs: Jobs) -> None:
    service = health.HealthService()
    limits = Limits(calls=2, streams=2, open_calls=2, open_streams=2, first_message_s=60)
    others = ((health.DESCRIPTOR, service),)
    async with hosted({"JobService": jobs}, limits=limits, others=others) as server:
        silent = [server.stream(CHECK) for _ in range(5)]
        request = health_pb2.HealthCheckRequest().SerializeToString()
        watching = [server.stream(HEALTH_WATCH) for _ in range(5)]
        for call in watching:
            await call.write(request)

        async def refused() -> bool:
            try:
                await server.method(CHECK)(request, timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return False

        await eventually(refused)
        bearer = await server.bearer(Role.USER)
        assert isinstance(await server.unary(RETRIEVE, asking(1), bearer), bytes)
        stream = server.stream(WATCH, bearer)
        await stream.write(job_service_pb2.WatchJobsRequest().SerializeToString())
        assert await stream.read() is not grpc.aio.EOF
        for one in (*silent, *watching, stream):
            one.cancel()


async def test_an_answer_that_nobody_reads_keeps_its_place_until_its_caller_goes(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(calls=4)) as server:
        alice, bob = await server.bearer(Role.USER, "alice"), await server.bearer(Role.USER, "bob")
        async with raw_connection(server, RETRIEVE, secret_in(alice)) as connection:
            await ask_without_reading(connection, asking(10), 2)
            await eventually(lambda: _true(len(jobs.asked) == 2))
            answer = await server.unary(RETRIEVE, asking(1), alice)
            assert isinstance(answer, Refusal)
            assert answer.reason == "LIMIT_EXCEEDED"
            assert isinstance(await server.unary(RETRIEVE, asking(1), bob), bytes)

        async def served() -> bool:
            return isinstance(await server.unary(RETRIEVE, asking(1), alice), bytes)

        await eventually(served)


async def test_large_answers_that_nobody_reads_are_limited_in_bytes(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(unread_bytes=5 * LARGE)) as server:
        alice, bob = await server.bearer(Role.USER, "alice"), await server.bearer(Role.USER, "bob")
        async with raw_connection(server, RETRIEVE, secret_in(alice)) as connection:
            await ask_without_reading(connection, asking(LARGE), 2)
            await eventually(lambda: _true(len(jobs.asked) == 2))
            answer = await server.unary(RETRIEVE, asking(LARGE), alice)
            assert isinstance(answer, Refusal)
            assert answer.message.startswith("you have too many bytes of answers that were not read")
            assert isinstance(await server.unary(RETRIEVE, asking(10), alice), bytes)
            assert isinstance(await server.unary(RETRIEVE, asking(LARGE), bob), bytes)

        async def served() -> bool:
            return isinstance(await server.unary(RETRIEVE, asking(LARGE), alice), bytes)

        await eventually(served)


async def test_a_stream_that_nobody_reads_is_given_up_and_keeps_only_its_place(jobs: Jobs) -> None:
    limits = Limits(streams=2, send_s=0.2, goodbye_s=0.1)
    async with hosted({"JobService": jobs}, limits=limits) as server:
        alice, bob = await server.bearer(Role.USER, "alice"), await server.bearer(Role.USER, "bob")
        watch = job_service_pb2.WatchJobsRequest().SerializeToString()
        async with raw_connection(server, WATCH, secret_in(alice)) as connection:
            await ask_without_reading(connection, watch, 1)
            await eventually(lambda: _true(jobs.watching == 1))
            await eventually(lambda: _true(jobs.watching == 0))
            refused = server.stream(WATCH, alice)
            with pytest.raises(grpc.aio.AioRpcError, match="you have too many open streams"):
                await refused.read()
            other = server.stream(WATCH, bob)
            await other.write(watch)
            assert await other.read() is not grpc.aio.EOF
            other.cancel()

        async def served() -> bool:
            call = server.stream(WATCH, alice)
            await call.write(watch)
            try:
                return await call.read() is not grpc.aio.EOF
            except grpc.aio.AioRpcError:
                return False
            finally:
                call.cancel()

        await eventually(served)


async def test_a_caller_that_goes_before_reading_is_no_error(jobs: Jobs) -> None:
    watch = job_service_pb2.WatchJobsRequest().SerializeToString()
    with capture_logs() as logs:
        async with hosted({"JobService": jobs}) as server:
            token = secret_in(await server.bearer(Role.USER))
            for _ in range(5):
                async with raw_connection(server, WATCH, token) as connection:
                    await ask_without_reading(connection, watch, 20)
                    await eventually(lambda: _true(jobs.watching == 20))
                await eventually(lambda: _true(jobs.watching == 0))
    assert [line for line in logs if line["event"] == "call_failed"] == []


async def test_only_so_many_of_one_callers_calls_are_answered_at_once(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(at_once=2, first_message_s=60)) as server:
        alice, bob = await server.bearer(Role.USER, "alice"), await server.bearer(Role.USER, "bob")
        for bearer in (alice, bob):
            assert isinstance(await server.unary(RETRIEVE, asking(1), bearer), bytes)
        held = [server.stream(RETRIEVE, alice) for _ in range(2)]
        waiting = [asyncio.ensure_future(server.unary(RETRIEVE, asking(1), alice)) for _ in range(5)]
        assert isinstance(await server.unary(RETRIEVE, asking(1), bob), bytes)
        for call in held:
            call.cancel()
        answers = await asyncio.gather(*waiting)
        assert all(isinstance(answer, bytes) for answer in answers)


async def test_who_waits_too_long_for_a_turn_is_told(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(at_once=1, first_message_s=0.3)) as server:
        bearer = await server.bearer(Role.USER)
        assert isinstance(await server.unary(RETRIEVE, asking(1), bearer), bytes)
        jobs.go_on.clear()
        slow = asyncio.ensure_future(server.unary(RETRIEVE, asking(1), bearer))
        await eventually(lambda: _true(len(jobs.asked) == 2))
        answer = await server.unary(RETRIEVE, asking(1), bearer)
        assert isinstance(answer, Refusal)
        assert (answer.reason, answer.message[:8]) == ("LIMIT_EXCEEDED", "too many")
        jobs.go_on.set()
        assert isinstance(await slow, bytes)


class Counting(Patience):
    """Counts how often somebody begins to wait."""

    begun = 0

    def add(self, scope: asyncio.Timeout, now: float) -> None:
        self.begun += 1
        super().add(scope, now)


async def test_waiting_for_a_turn_takes_nothing_off_the_time_for_the_message(jobs: Jobs) -> None:
    async with hosted({"JobService": jobs}, limits=Limits(at_once=1)) as server:
        patience = server.host._pipeline.first_message = Counting(5.0)
        bearer = await server.bearer(Role.USER)
        jobs.go_on.clear()
        slow = asyncio.ensure_future(server.unary(RETRIEVE, asking(1), bearer))
        await eventually(lambda: _true(len(jobs.asked) == 1))
        queued = asyncio.ensure_future(server.unary(RETRIEVE, asking(1), bearer))
        await eventually(lambda: _true(len(server.host._pipeline.turns) == 1))
        assert patience.begun == 2
        jobs.go_on.set()
        assert all(isinstance(answer, bytes) for answer in await asyncio.gather(slow, queued))
        assert patience.begun == 3


async def _true(value: bool) -> bool:
    return value
