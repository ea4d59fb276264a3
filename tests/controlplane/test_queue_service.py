"""QueueService over a whole server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from tenure.controlplane.config import parse_config
from tenure.v1 import job_pb2, job_service_pb2
from tenure.v1 import queue_service_pb2 as pb
from tests.controlplane.callers import Caller, channel_to, refused
from tests.controlplane.harness import RunningServer, running_server
from tests.fakes import FakeClock

GPU = "[queues.gpu]\nmax_time_allocation = '2h'\nproducts = [{id = 'a100', category = 'gpu', provider = 'here'}]"


@pytest_asyncio.fixture
async def clock() -> FakeClock:
    return FakeClock(pause_s=0.001)


@pytest_asyncio.fixture
async def server(clock: FakeClock) -> AsyncIterator[RunningServer]:
    async with running_server(clock=clock, configuration=parse_config(GPU)) as running:
        yield running


@pytest_asyncio.fixture
async def admin(server: RunningServer) -> AsyncIterator[Caller]:
    async with channel_to(server.address) as channel:
        yield Caller(channel, server.admin_secret)


async def browse(caller: Caller) -> dict[str, pb.Queue]:
    response = await caller.ask(caller.queues.BrowseQueues, pb.BrowseQueuesRequest())
    return {queue.specification.name: queue for queue in response.queues}


async def upsert(caller: Caller, *items: pb.QueueSpecification, request_id: str = "") -> pb.UpsertQueuesResponse:
    request = pb.UpsertQueuesRequest(items=items, request_id=request_id)
    response = await caller.ask(caller.queues.UpsertQueues, request)
    assert isinstance(response, pb.UpsertQueuesResponse)
    return response


def product(name: str) -> pb.QueueProduct:
    return pb.QueueProduct(product=job_pb2.ProductReference(id=name, category="c", provider="p"))


async def test_a_fresh_server_has_the_default_queue_with_the_example_and_those_of_the_file(admin: Caller) -> None:
    queues = await browse(admin)
    assert sorted(queues) == ["default", "gpu"]
    default, gpu = queues["default"], queues["gpu"]
    features = default.specification.features
    assert all((features.time_extension, features.logs, features.sync, features.compression))
    assert not features.suspension
    (example,) = default.specification.products
    assert (example.product.provider, example.product.category, example.product.id) == (
        "example",
        "example-compute",
        "example-compute",
    )
    assert example.basis == job_pb2.TIME_ALLOCATION_BASIS_CREATED
    assert default.specification.basis == job_pb2.TIME_ALLOCATION_BASIS_STARTED
    assert (default.read_only, gpu.read_only) == (False, True)
    assert gpu.specification.max_time_allocation == Duration(seconds=7200)


async def test_queues_are_made_and_changed(admin: Caller) -> None:
    wanted = pb.QueueSpecification(
        name="new",
        features=pb.QueueFeatures(sync=True),
        products=[product("x")],
        max_time_allocation=Duration(seconds=60),
        default_time_allocation=Duration(seconds=30),
        basis=job_pb2.TIME_ALLOCATION_BASIS_CREATED,
    )
    assert (await upsert(admin, wanted, pb.QueueSpecification(name="plain"))).resume_token
    queues = await browse(admin)
    assert queues["new"].specification == wanted
    assert queues["plain"].specification.features.time_extension
    wanted.ClearField("products")
    await upsert(admin, wanted)
    assert (await browse(admin))["new"].specification == wanted


async def test_the_same_again_writes_nothing(admin: Caller, server: RunningServer) -> None:
    await upsert(admin, pb.QueueSpecification(name="new"))
    position = server.plane.store.head().position
    await upsert(admin, pb.QueueSpecification(name="new"))
    assert server.plane.store.head().position == position


@pytest.mark.parametrize(
    ("items", "reason", "field"),
    [
        ([pb.QueueSpecification(name="gpu")], "QUEUE_READ_ONLY", "items[1].name"),
        ([pb.QueueSpecification(name="first")], "INVALID_FIELD", "items[1].name"),
        ([pb.QueueSpecification(name="no good")], "INVALID_FIELD", "items[1].name"),
        (
            [pb.QueueSpecification(name="x", features=pb.QueueFeatures(suspension=True))],
            "UNSUPPORTED_FIELD",
            "items[1].features.suspension",
        ),
        (
            [
                pb.QueueSpecification(
                    name="x",
                    max_time_allocation=Duration(seconds=1),
                    default_time_allocation=Duration(seconds=1, nanos=1000),
                )
            ],
            "INVALID_FIELD",
            "items[1].default_time_allocation",
        ),
        (
            [pb.QueueSpecification(name="x", max_time_allocation=Duration(seconds=5, nanos=-1))],
            "INVALID_FIELD",
            "items[1].max_time_allocation",
        ),
        (
            [
                pb.QueueSpecification(
                    name="x",
                    products=[
                        pb.QueueProduct(product=job_pb2.ProductReference(id="a100", category="gpu", provider="here"))
                    ],
                )
            ],
            "INVALID_FIELD",
            "items[1].products[0].product",
        ),
        (
            [pb.QueueSpecification(name="x", products=[product("y"), product("y")])],
            "INVALID_FIELD",
            "items[1].products[1].product",
        ),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_changed(
    admin: Caller, server: RunningServer, items: list[pb.QueueSpecification], reason: str, field: str
) -> None:
    position = server.plane.store.head().position
    answer = await refused(upsert(admin, pb.QueueSpecification(name="first"), *items))
    assert answer.reason == reason
    assert [path for path, _ in answer.fields] == [field]
    assert server.plane.store.head().position == position


async def test_a_repeat_is_answered_although_another_queue_has_the_product_by_now(
    admin: Caller, server: RunningServer
) -> None:
    mine = pb.QueueSpecification(name="a", products=[product("x")])
    await upsert(admin, mine, request_id="r-1")
    await upsert(admin, pb.QueueSpecification(name="a"), pb.QueueSpecification(name="b", products=[product("x")]))
    head = server.plane.store.head()
    await upsert(admin, mine, request_id="r-1")
    assert server.plane.store.head() == head
    assert (await refused(upsert(admin, mine, request_id="r-2"))).reason == "INVALID_FIELD"
    mine.products.append(product("y"))
    assert (await refused(upsert(admin, mine, request_id="r-1"))).reason == "REQUEST_ID_REUSED"


async def test_users_see_queues_and_do_not_change_them(server: RunningServer) -> None:
    async with channel_to(server.address) as channel:
        user = Caller(channel, await server.token())
        assert "default" in await browse(user)
        assert (await refused(upsert(user, pb.QueueSpecification(name="x")))).reason == "ROLE_NOT_ALLOWED"
        answer = await refused(user.ask(user.queues.PauseQueues, pb.PauseQueuesRequest()))
        assert answer.reason == "ROLE_NOT_ALLOWED"


async def test_how_full_a_queue_is(server: RunningServer, admin: Caller, clock: FakeClock) -> None:
    specification = job_pb2.JobSpecification(command="true", queue="gpu")
    items = [job_service_pb2.CreateJobsRequest.Item(specification=specification)] * 3
    await admin.ask(admin.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=items))
    await clock.advance(90)
    gpu = (await browse(admin))["gpu"]
    assert (gpu.depth, gpu.active, gpu.workers, gpu.free_slots) == (3, 0, 0, 0)
    assert gpu.oldest_age == Duration(seconds=90)
    assert not (await browse(admin))["default"].HasField("oldest_age")


async def test_a_queue_is_made_by_naming_it(admin: Caller) -> None:
    specification = job_pb2.JobSpecification(command="true", queue="8e78dce7-08b8-4854-b6ea-67a6bb6bcf03")
    item = job_service_pb2.CreateJobsRequest.Item(specification=specification)
    await admin.ask(admin.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=[item]))
    made = (await browse(admin))["8e78dce7-08b8-4854-b6ea-67a6bb6bcf03"]
    assert made.depth == 1
    assert not made.specification.products


async def test_a_job_that_is_refused_makes_no_queue(admin: Caller) -> None:
    good = job_pb2.JobSpecification(command="true", queue="one")
    bad = job_pb2.JobSpecification(queue="two")
    items = [job_service_pb2.CreateJobsRequest.Item(specification=one) for one in (good, bad)]
    answer = await refused(admin.ask(admin.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=items)))
    assert answer.reason == "INVALID_FIELD"
    assert {"one", "two"}.isdisjoint(await browse(admin))


async def test_pages(admin: Caller) -> None:
    await upsert(admin, *[pb.QueueSpecification(name=f"q{number:02}") for number in range(20)])
    names: list[str] = []
    token = ""
    for _ in range(4):
        response = await admin.ask(admin.queues.BrowseQueues, pb.BrowseQueuesRequest(page_size=7, page_token=token))
        names += [queue.specification.name for queue in response.queues]
        token = response.next_page_token
    assert token == ""
    assert names == ["default", "gpu", *[f"q{number:02}" for number in range(20)]]
    answer = await refused(admin.ask(admin.queues.BrowseQueues, pb.BrowseQueuesRequest(page_token="forged")))
    assert answer.reason == "PAGE_TOKEN_INVALID"


async def pause(caller: Caller, *names: str, paused: bool = True, request_id: str = "") -> pb.PauseQueuesResponse:
    items = [pb.PauseQueuesRequest.Item(name=name, paused=paused, reason="new disks") for name in names]
    request = pb.PauseQueuesRequest(items=items, request_id=request_id)
    response = await caller.ask(caller.queues.PauseQueues, request)
    assert isinstance(response, pb.PauseQueuesResponse)
    return response


async def test_queues_are_paused_and_resumed(admin: Caller, server: RunningServer) -> None:
    # One of the configuration file too: whether it gives out jobs is not part of what it is.
    assert (await pause(admin, "default", "gpu")).resume_token
    assert {name for name, queue in (await browse(admin)).items() if queue.paused} == {"default", "gpu"}
    await pause(admin, "gpu", paused=False)
    assert {name for name, queue in (await browse(admin)).items() if queue.paused} == {"default"}
    stream = await server.plane.store.read_stream("queue/gpu", 0, 10)
    assert [type(event.payload).__name__ for event in stream] == ["QueueConfigured", "QueuePaused", "QueueResumed"]
    assert stream[1].actor == "admin:local"


async def test_configuring_a_paused_queue_leaves_it_paused(admin: Caller) -> None:
    await pause(admin, "default")
    await upsert(admin, pb.QueueSpecification(name="default"))
    assert (await browse(admin))["default"].paused


async def test_pausing_twice_writes_once_and_a_repeat_changes_nothing(admin: Caller, server: RunningServer) -> None:
    await pause(admin, "default", request_id="r-1")
    position = server.plane.store.head().position
    await pause(admin, "default")
    await pause(admin, "default", request_id="r-1")
    assert server.plane.store.head().position == position
    await pause(admin, "default", paused=False)
    # The late repeat of a call that was answered long ago does not pause it again.
    await pause(admin, "default", request_id="r-1")
    assert not (await browse(admin))["default"].paused
    answer = await refused(pause(admin, "gpu", request_id="r-1"))
    assert answer.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("names", "reason", "field"),
    [(["nowhere"], "QUEUE_NOT_FOUND", "items[1].name"), (["default"], "INVALID_FIELD", "items[1].name")],
)
async def test_all_are_paused_or_none(admin: Caller, names: list[str], reason: str, field: str) -> None:
    answer = await refused(pause(admin, "default", *names))
    assert (answer.reason, [path for path, _ in answer.fields]) == (reason, [field])
    assert not (await browse(admin))["default"].paused
