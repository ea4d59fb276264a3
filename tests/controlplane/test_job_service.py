"""JobService over a whole server: a repeat gets the answer of its first try, whatever has changed since."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from tenure.controlplane.config import Configuration
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.controlplane.webhooks.targets import TargetRules
from tenure.store.store import AnsweredRequest, StorageFull
from tenure.v1 import job_pb2, queue_service_pb2, webhook_service_pb2
from tenure.v1 import job_service_pb2 as pb
from tests.controlplane.callers import Caller, channel_to, refused
from tests.controlplane.harness import RunningServer, running_server
from tests.controlplane.webhooks.rig import LOOSE

HOUR_S = 3600
URL = "http://127.0.0.1:9/"
PRODUCT = job_pb2.ProductReference(id="a100", category="gpu", provider="here")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(configuration=Configuration(webhooks=WebhookSettings(targets=LOOSE))) as running:
        yield running


@pytest_asyncio.fixture
async def admin(server: RunningServer) -> AsyncIterator[Caller]:
    async with channel_to(server.address) as channel:
        yield Caller(channel, server.admin_secret)


async def configure(admin: Caller, name: str, *, hours: int = 9, products: tuple[str, ...] = ()) -> None:
    offers = [
        queue_service_pb2.QueueProduct(
            product=job_pb2.ProductReference(id=product, category=PRODUCT.category, provider=PRODUCT.provider)
        )
        for product in products
    ]
    item = queue_service_pb2.QueueSpecification(
        name=name, products=offers, max_time_allocation=Duration(seconds=hours * HOUR_S)
    )
    await admin.ask(admin.queues.UpsertQueues, queue_service_pb2.UpsertQueuesRequest(items=[item]))


def request(request_id: str = "x", *, count: int = 1, **more: object) -> pb.CreateJobsRequest:
    spec = job_pb2.JobSpecification(command="x", **more)  # type: ignore[arg-type]
    items = [pb.CreateJobsRequest.Item(specification=spec)] * count
    return pb.CreateJobsRequest(items=items, request_id=request_id)


async def create(caller: Caller, wanted: pb.CreateJobsRequest) -> list[str]:
    return [one.id for one in (await caller.ask(caller.jobs.CreateJobs, wanted)).responses]


async def webhooks(caller: Caller) -> list[webhook_service_pb2.Webhook]:
    asked = webhook_service_pb2.BrowseWebhooksRequest()
    return list((await caller.ask(caller.webhooks.BrowseWebhooks, asked)).webhooks)


async def delete_webhooks(caller: Caller) -> None:
    ids = [one.id for one in await webhooks(caller)]
    await caller.ask(caller.webhooks.DeleteWebhooks, webhook_service_pb2.DeleteWebhooksRequest(ids=ids))


async def test_a_repeat_is_answered_although_the_queue_now_gives_less_time(
    server: RunningServer, admin: Caller
) -> None:
    await configure(admin, "q", hours=9)
    wanted = request(queue="q", time_allocation=Duration(seconds=5 * HOUR_S))
    made = await create(admin, wanted)
    await configure(admin, "q", hours=1)
    head = server.plane.store.head()
    assert await create(admin, wanted) == made
    assert server.plane.store.head() == head
    # What was not made is refused as ever, and so is another request with the same id.
    wanted.request_id = "y"
    assert (await refused(create(admin, wanted))).reason == "TIME_ALLOCATION_CAP"
    another = request(queue="q", time_allocation=Duration(seconds=4 * HOUR_S))
    assert (await refused(create(admin, another))).reason == "REQUEST_ID_REUSED"
    # A check alone makes nothing, so it repeats nothing.
    another.validate_only = True
    assert (await refused(create(admin, another))).reason == "TIME_ALLOCATION_CAP"
    assert server.plane.store.head() == head


async def test_a_repeat_is_answered_although_nobody_serves_the_product_any_more(
    server: RunningServer, admin: Caller
) -> None:
    await configure(admin, "q", products=(PRODUCT.id,))
    made = await create(admin, wanted := request(product=PRODUCT, count=2))
    await configure(admin, "q")
    head = server.plane.store.head()
    assert await create(admin, wanted) == made
    assert server.plane.store.head() == head


async def test_a_repeat_is_answered_although_its_webhook_may_not_be_called_any_more(
    server: RunningServer, admin: Caller
) -> None:
    made = await create(admin, wanted := request(webhook=URL))
    server.plane.webhooks.endpoints.rules = TargetRules()
    assert await create(admin, wanted) == made


async def test_a_repeat_does_not_make_a_webhook_that_was_deleted_since(server: RunningServer, admin: Caller) -> None:
    made = await create(admin, wanted := request(webhook=URL))
    await delete_webhooks(admin)
    assert await create(admin, wanted) == made
    assert await webhooks(admin) == []
    assert await create(admin, request("y", webhook=URL)) != made
    assert len(await webhooks(admin)) == 1


async def test_another_request_with_the_same_id_makes_no_webhook(server: RunningServer, admin: Caller) -> None:
    await create(admin, request())
    assert (await refused(create(admin, request(webhook=URL)))).reason == "REQUEST_ID_REUSED"
    assert await webhooks(admin) == []


async def test_a_repeat_with_a_deleted_webhook_needs_no_room(
    server: RunningServer, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StorageFull("no room")

    made = await create(admin, wanted := request(webhook=URL))
    await delete_webhooks(admin)
    monkeypatch.setattr(server.plane.store.outbox, "put_endpoints", full)
    assert await create(admin, wanted) == made
    assert (await refused(create(admin, request("y", webhook=URL)))).reason == "STORAGE_FULL"


async def test_only_what_cannot_be_made_at_once_is_looked_up_first(
    server: RunningServer, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    find = server.plane.store.find_request

    async def counting(principal: str, rpc: str, request_id: str) -> AnsweredRequest | None:
        looked_up.append(request_id)
        return await find(principal, rpc, request_id)

    monkeypatch.setattr(server.plane.store, "find_request", counting)
    await create(admin, request("a"))
    await create(admin, request("b", webhook=URL))
    await create(admin, request("c", webhook=URL))
    await create(admin, request("c", webhook=URL))
    assert looked_up == ["b"]
