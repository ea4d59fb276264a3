"""EventService: the log in order, from any place, whole or filtered, with a way to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest
import pytest_asyncio

from tenure.controlplane import event_service
from tenure.controlplane.call import Call
from tenure.controlplane.event_service import EventService
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.watch import Tail
from tenure.events.v1 import event_pb2
from tenure.v1 import event_service_pb2 as pb
from tenure.v1 import job_pb2, job_service_pb2
from tests.controlplane.callers import Caller, channel_to, refused
from tests.controlplane.harness import RunningServer, running_server


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server() as running:
        yield running


@pytest_asyncio.fixture
async def admin(server: RunningServer) -> AsyncIterator[Caller]:
    async with channel_to(server.address) as channel:
        yield Caller(channel, server.admin_secret)


async def create(caller: Caller, number: int, *, size: int = 0) -> list[str]:
    specification = job_pb2.JobSpecification(command="true", arguments=["x" * size])
    items = [job_service_pb2.CreateJobsRequest.Item(specification=specification)] * number
    response = await caller.ask(caller.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=items))
    return [one.id for one in response.responses]


async def read(caller: Caller, request: pb.ReadEventsRequest) -> list[pb.ReadEventsResponse]:
    return [response async for response in caller.open(caller.log.ReadEvents, request)]


def positions(responses: list[pb.ReadEventsResponse]) -> list[int]:
    return [event.position for response in responses for event in response.events]


async def test_the_whole_log_in_order_ends_with_where_it_ends(admin: Caller) -> None:
    ids = await create(admin, 3)
    responses = await read(admin, pb.ReadEventsRequest())
    assert positions(responses) == [1, 2, 3, 4]
    assert [event.stream for response in responses for event in response.events] == [
        "queue/default",
        *[f"job/{job_id}" for job_id in ids],
    ]
    assert responses[-1].position == 4
    assert responses[-1].resume_token


async def test_from_a_position_and_from_a_token(admin: Caller) -> None:
    await create(admin, 3)
    assert positions(await read(admin, pb.ReadEventsRequest(after_position=2))) == [3, 4]
    first = await read(admin, pb.ReadEventsRequest(limit=2))
    assert positions(first) == [1, 2]
    rest = await read(admin, pb.ReadEventsRequest(resume_token=first[-1].resume_token))
    assert positions(rest) == [3, 4]
    nothing = await read(admin, pb.ReadEventsRequest(resume_token=rest[-1].resume_token))
    assert positions(nothing) == []
    assert nothing[-1].position == 4


async def test_filters(admin: Caller) -> None:
    first, _, third = await create(admin, 3)
    only = pb.EventFilter(job_ids=[first, third])
    assert positions(await read(admin, pb.ReadEventsRequest(filter=only))) == [2, 4]
    only = pb.EventFilter(job_ids=[first], queues=["default"])
    assert positions(await read(admin, pb.ReadEventsRequest(filter=only))) == [1, 2]
    only = pb.EventFilter(types=["QueueConfigured"])
    responses = await read(admin, pb.ReadEventsRequest(filter=only))
    assert positions(responses) == [1]
    assert responses[-1].position == 4, "everything up to the end has been looked at"
    only = pb.EventFilter(job_ids=["nobody"])
    assert positions(await read(admin, pb.ReadEventsRequest(filter=only))) == []


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (pb.ReadEventsRequest(after_position=99), "INVALID_FIELD", "after_position"),
        (pb.ReadEventsRequest(after_position=-1), "INVALID_FIELD", "after_position"),
        (pb.ReadEventsRequest(after_position=1, resume_token="x"), "INVALID_FIELD", "after_position"),
        (pb.ReadEventsRequest(resume_token="x"), "RESUME_TOKEN_INVALID", "resume_token"),
        (pb.ReadEventsRequest(filter=pb.EventFilter(types=["Nonsense"])), "INVALID_FIELD", "filter.types[0]"),
    ],
)
async def test_nonsense_is_refused(admin: Caller, request_: pb.ReadEventsRequest, reason: str, field: str) -> None:
    answer = await refused(read(admin, request_))
    assert answer.reason == reason
    assert [path for path, _ in answer.fields] == [field]


async def test_the_log_is_for_administrators(server: RunningServer) -> None:
    async with channel_to(server.address) as channel:
        for role in ("user", "worker"):
            caller = Caller(channel, await server.token(role=role))
            assert (await refused(read(caller, pb.ReadEventsRequest()))).reason == "ROLE_NOT_ALLOWED"


async def test_following_goes_on_as_events_come(admin: Caller) -> None:
    call = admin.open(admin.log.ReadEvents, pb.ReadEventsRequest(follow=True, after_position=1))
    for number in range(3):
        await create(admin, 1)
        response = await call.read()
        assert positions([response]) == [number + 2]
    call.cancel()


async def test_many_and_large_events_come_in_bounded_messages(admin: Caller) -> None:
    for _ in range(3):
        await create(admin, 400)
    await create(admin, 40, size=90_000)
    responses = await read(admin, pb.ReadEventsRequest())
    assert positions(responses) == list(range(1, 1242))
    assert max(len(response.events) for response in responses) == 500
    assert max(response.ByteSize() for response in responses) <= event_service.PAGE_BYTES * 1.1
    assert [response.position for response in responses] == sorted({response.position for response in responses})
    middle = responses[len(responses) // 2]
    rest = await read(admin, pb.ReadEventsRequest(resume_token=middle.resume_token))
    assert positions(rest) == list(range(middle.position + 1, 1242))


async def test_types_are_those_of_the_log() -> None:
    assert len(event_service.EVENT_TYPES) == len(event_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields)
    assert {"JobCreated", "JobTerminated", "QueueConfigured"} <= event_service.EVENT_TYPES


async def test_who_follows_a_silent_log_hears_how_far_it_is(server: RunningServer, admin: Caller) -> None:
    store = server.plane.store
    service = EventService(store, ResumeTokens(store, b"k"), Tail(store), mark_seconds=0.05)
    stream = service.read_events(pb.ReadEventsRequest(follow=True, filter=pb.EventFilter(job_ids=["nobody"])), _call())
    marks: list[pb.ReadEventsResponse] = []
    async with asyncio.timeout(20):
        async for response in stream:
            marks.append(response)
            if len(marks) == 2:
                await create(admin, 2)  # they do not match, and still the position moves
            if response.position == 3:
                break
    assert positions(marks) == []
    assert [mark.position for mark in marks[:2]] == [1, 1]


def _call() -> Call:
    class Nobody:
        identity = None
        rpc = "EventService.ReadEvents"
        deadline = None
        peer = ""

    return Nobody()  # type: ignore[return-value]


async def test_who_goes_away_is_forgotten(server: RunningServer, admin: Caller) -> None:
    call = admin.open(admin.log.ReadEvents, pb.ReadEventsRequest(follow=True))
    await call.read()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert isinstance(call, grpc.aio.UnaryStreamCall)
