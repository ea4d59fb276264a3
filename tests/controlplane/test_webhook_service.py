"""WebhookService over the wire: endpoints, their secrets, deliveries, and who may see what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration

from tenure.cli.documents import read_submission
from tenure.controlplane.config import Configuration
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.v1 import job_pb2, job_service_pb2
from tenure.v1 import webhook_service_pb2 as pb
from tests.acceptance.waiting import eventually
from tests.controlplane.callers import Caller, channel_to, refused
from tests.controlplane.harness import RunningServer, running_server
from tests.controlplane.webhooks.receiver import Receiver, receiving
from tests.controlplane.webhooks.rig import LOOSE

DATA = Path(__file__).parents[1] / "data"
PENDING, DELIVERED, DEAD = pb.DELIVERY_STATE_PENDING, pb.DELIVERY_STATE_DELIVERED, pb.DELIVERY_STATE_DEAD

# One try, so that what fails is dead at once, without waiting.
AT_ONCE = Configuration(webhooks=WebhookSettings(targets=LOOSE, schedule=Schedule(max_attempts=1)))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(configuration=AT_ONCE) as running:
        yield running


@pytest_asyncio.fixture
async def alice(server: RunningServer) -> AsyncIterator[Caller]:
    async with somebody(server, "alice", "p") as caller:
        yield caller


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@asynccontextmanager
async def somebody(server: RunningServer, subject: str, project: str = "", role: str = "user") -> AsyncIterator[Caller]:
    async with channel_to(server.address) as channel:
        yield Caller(channel, await server.token(role, subject, project))


async def test_a_span_that_is_none_is_refused_before_anything_is_looked_for(alice: Caller) -> None:
    request = pb.RotateWebhookSecretRequest(id="unknown", overlap=Duration(seconds=1, nanos=-1))
    answer = await refused(alice.ask(alice.webhooks.RotateWebhookSecret, request))
    assert (answer.reason, [field for field, _ in answer.fields]) == ("INVALID_FIELD", ["overlap"])


def url_of(receiver: Receiver, path: str = "/") -> str:
    return f"http://127.0.0.1:{receiver.port}{path}"


async def upsert(caller: Caller, *items: pb.WebhookSpecification) -> list[pb.UpsertWebhooksResponse.Item]:
    response = await caller.ask(caller.webhooks.UpsertWebhooks, pb.UpsertWebhooksRequest(items=items))
    return list(response.responses)


async def webhooks(caller: Caller) -> list[pb.Webhook]:
    response = await caller.ask(caller.webhooks.BrowseWebhooks, pb.BrowseWebhooksRequest())
    return list(response.webhooks)


async def create(caller: Caller, url: str, count: int = 1) -> list[str]:
    spec = job_pb2.JobSpecification(command="x", webhook=url)
    items = [job_service_pb2.CreateJobsRequest.Item(specification=spec)] * count
    response = await caller.ask(caller.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=items))
    return [one.id for one in response.responses]


async def deliveries(caller: Caller, **question: object) -> list[pb.Delivery]:
    request = pb.BrowseDeliveriesRequest(**question)  # type: ignore[arg-type]
    return list((await caller.ask(caller.webhooks.BrowseDeliveries, request)).deliveries)


async def until_settled(caller: Caller, count: int) -> list[pb.Delivery]:
    """All deliveries, newest first, once there are so many and none waits."""

    async def look() -> list[pb.Delivery]:
        found = await deliveries(caller)
        return found if len(found) >= count and all(one.state != PENDING for one in found) else []

    return await eventually(look, "deliveries that are settled")


async def test_a_job_is_announced_to_the_url_that_it_names(alice: Caller, receiver: Receiver) -> None:
    url = url_of(receiver, "/hook")
    [made] = await upsert(alice, pb.WebhookSpecification(url=url))
    assert made.secret.startswith("whsec_")
    [job_id] = await create(alice, url)
    item = job_service_pb2.TerminateJobsRequest.Item(id=job_id)
    await alice.ask(alice.jobs.TerminateJobs, job_service_pb2.TerminateJobsRequest(items=[item]))
    created, cancelled = await receiver.until(2)
    assert (created.type, cancelled.type) == ("job.created", "job.cancelled")
    assert cancelled.verified(made.secret)["data"]["job"]["owner"] == {"createdBy": "alice", "project": "p"}
    newest, oldest = await until_settled(alice, 2)
    assert (oldest.id, newest.id) == (created.id, cancelled.id)
    assert (newest.webhook_id, newest.job_id, newest.type, newest.sequence, newest.attempts, newest.status_code) == (
        made.id,
        job_id,
        "job.cancelled",
        2,
        1,
        200,
    )
    assert newest.position == int(cancelled.json["data"]["position"])
    assert newest.HasField("last_attempt_at")
    assert not newest.HasField("next_attempt_at")


async def test_the_payload_is_the_message_of_the_contract(alice: Caller, receiver: Receiver) -> None:
    [job_id] = await create(alice, url_of(receiver))
    [seen] = await receiver.until(1)
    payload = json_format.Parse(seen.body, pb.WebhookPayload())
    assert payload.data.job.id == payload.data.job_id == job_id
    assert payload.data.state == payload.data.job.status.state == job_pb2.JOB_STATE_IN_QUEUE
    job = (await alice.ask(alice.jobs.RetrieveJob, job_service_pb2.RetrieveJobRequest(id=job_id))).job
    for part in ("updates", "attempts"):
        job.ClearField(part)
    assert payload.data.job == job


async def test_a_kelpie_job_with_its_webhook_runs_as_printed(alice: Caller, receiver: Receiver) -> None:
    printed = (DATA / "kelpie-job.json.txt").read_text(encoding="utf-8")
    document = printed.replace('"webhook": null', f'"webhook": "{url_of(receiver, "/kelpie")}"')
    assert document != printed
    specifications = read_submission(document.encode()).specifications
    items = [job_service_pb2.CreateJobsRequest.Item(specification=one) for one in specifications]
    await alice.ask(alice.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=items))
    [seen] = await receiver.until(1)
    assert (seen.target, seen.type) == ("/kelpie", "job.created")


async def test_an_endpoint_is_made_with_the_job_and_its_secret_is_had_by_rotation(
    alice: Caller, receiver: Receiver
) -> None:
    receiver.answer = lambda seen: 500
    url = url_of(receiver)
    await create(alice, url, count=2)
    await until_settled(alice, 2)
    [made] = await webhooks(alice)
    assert (made.specification.url, made.owner.created_by, made.owner.project) == (url, "alice", "p")
    assert (made.pending, made.dead, list(made.specification.event_types)) == (0, 2, [])
    request = pb.RotateWebhookSecretRequest(id=made.id, overlap=Duration(seconds=60))
    secret = (await alice.ask(alice.webhooks.RotateWebhookSecret, request)).secret
    [rotated] = await webhooks(alice)
    assert rotated.old_secret_until.ToMicroseconds() == rotated.secret_created_at.ToMicroseconds() + 60_000_000
    assert secret not in str(rotated)
    receiver.answer = lambda seen: 200
    [job_id] = await create(alice, url)
    seen = (await receiver.until(3))[-1]
    assert seen.verified(secret)["data"]["jobId"] == job_id


async def test_a_check_alone_makes_no_endpoint(alice: Caller, receiver: Receiver) -> None:
    spec = job_pb2.JobSpecification(command="x", webhook=url_of(receiver))
    items = [job_service_pb2.CreateJobsRequest.Item(specification=spec)]
    request = job_service_pb2.CreateJobsRequest(items=items, validate_only=True)
    await alice.ask(alice.jobs.CreateJobs, request)
    items.append(job_service_pb2.CreateJobsRequest.Item(specification=job_pb2.JobSpecification()))
    await refused(alice.ask(alice.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=items)))
    assert await webhooks(alice) == []


async def test_an_upsert_changes_what_there_is(alice: Caller) -> None:
    url = "https://example.org/hook"
    [made] = await upsert(alice, pb.WebhookSpecification(url=url, event_types=["job.failed"]))
    [again] = await upsert(alice, pb.WebhookSpecification(url=url, event_types=["job.lost"], disabled=True))
    assert (again.id, again.secret) == (made.id, "")
    [found] = await webhooks(alice)
    assert (list(found.specification.event_types), found.disabled_reason) == (["job.lost"], "it was disabled")
    await upsert(alice, pb.WebhookSpecification(url=url))
    [found] = await webhooks(alice)
    assert (found.specification.disabled, found.disabled_reason) == (False, "")


async def test_upserts_that_cannot_be_are_refused(alice: Caller, server: RunningServer) -> None:
    wrong: dict[tuple[str, str], list[dict[str, Any]]] = {
        ("INVALID_FIELD", "items[1].url"): [{"url": "https://a.example/"}, {"url": "https://a.example/"}],
        ("INVALID_FIELD", "items[0].url"): [{"url": "a.example"}],
        ("INVALID_FIELD", "items[0].event_types[0]"): [{"url": "https://a.example/", "event_types": ["job.exploded"]}],
        ("WEBHOOK_TARGET_FORBIDDEN", "items[1].url"): [{"url": "https://a.example/"}, {"url": "https://10.0.0.1/"}],
    }
    for (reason, field), items in wrong.items():
        request = pb.UpsertWebhooksRequest(items=[pb.WebhookSpecification(**one) for one in items])
        answer = await refused(alice.ask(alice.webhooks.UpsertWebhooks, request))
        assert (answer.code, answer.reason, [path for path, _ in answer.fields]) == (
            "INVALID_ARGUMENT",
            reason,
            [field],
        )
    too_long = pb.UpsertWebhooksRequest(items=[pb.WebhookSpecification(url="https://a.example/" + "a" * 8192)])
    assert (await refused(alice.ask(alice.webhooks.UpsertWebhooks, too_long))).reason == "INVALID_FIELD"
    other = pb.UpsertWebhooksRequest(items=[pb.WebhookSpecification(url="https://a.example/")], project="other")
    assert (await refused(alice.ask(alice.webhooks.UpsertWebhooks, other))).reason == "ROLE_NOT_ALLOWED"
    assert await webhooks(alice) == []
    assert server.fatal == []


async def test_an_owner_has_so_many_and_no_more(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenure.controlplane.webhooks.endpoints.MAX_PER_OWNER", 3)
    await upsert(alice, *(pb.WebhookSpecification(url=f"https://a.example/{n}") for n in range(2)))
    await create(alice, "https://a.example/1")
    answer = await refused(upsert(alice, *(pb.WebhookSpecification(url=f"https://a.example/{n}") for n in range(5))))
    assert answer.reason == "LIMIT_EXCEEDED"
    await create(alice, "https://a.example/2")
    assert (await refused(create(alice, "https://a.example/3"))).reason == "LIMIT_EXCEEDED"
    assert len(await webhooks(alice)) == 3


async def test_a_removed_endpoint_is_told_nothing_more(alice: Caller, receiver: Receiver) -> None:
    url, other = url_of(receiver, "/a"), url_of(receiver, "/b")
    [job_id] = await create(alice, url)
    await create(alice, other)
    await until_settled(alice, 2)
    [one] = [found for found in await webhooks(alice) if found.specification.url == url]
    await alice.ask(alice.webhooks.DeleteWebhooks, pb.DeleteWebhooksRequest(ids=[one.id]))
    assert len(await webhooks(alice)) == 1
    assert len(await deliveries(alice)) == 1
    item = job_service_pb2.TerminateJobsRequest.Item(id=job_id)
    await alice.ask(alice.jobs.TerminateJobs, job_service_pb2.TerminateJobsRequest(items=[item]))
    await create(alice, other)
    await until_settled(alice, 2)
    assert sorted(seen.target for seen in receiver.seen) == ["/a", "/b", "/b"]


async def test_what_is_not_yours_is_as_if_it_were_not_there(server: RunningServer, alice: Caller) -> None:
    [made] = await upsert(alice, pb.WebhookSpecification(url="https://a.example/"))
    async with somebody(server, "bob", "q") as bob, somebody(server, "carol", "p") as carol:
        for webhook_id in (made.id, "nobody"):
            calls = {
                "ids[0]": bob.ask(bob.webhooks.DeleteWebhooks, pb.DeleteWebhooksRequest(ids=[webhook_id])),
                "id": bob.ask(bob.webhooks.RotateWebhookSecret, pb.RotateWebhookSecretRequest(id=webhook_id)),
                "webhook_id": bob.ask(bob.webhooks.BrowseDeliveries, pb.BrowseDeliveriesRequest(webhook_id=webhook_id)),
            }
            for field, call in calls.items():
                answer = await refused(call)
                assert (answer.code, answer.reason) == ("NOT_FOUND", "WEBHOOK_NOT_FOUND")
                assert answer.fields == ((field, "there is no such webhook, or you may not see it"),)
        assert await webhooks(bob) == []
        assert [one.id for one in await webhooks(carol)] == [made.id]
    async with channel_to(server.address) as channel:
        admin = Caller(channel, server.admin_secret)
        assert [one.id for one in await webhooks(admin)] == [made.id]
    async with somebody(server, "w", role="worker") as worker:
        assert (await refused(webhooks(worker))).reason == "ROLE_NOT_ALLOWED"


async def test_deliveries_of_others_are_not_shown_nor_replayed(
    server: RunningServer, alice: Caller, receiver: Receiver
) -> None:
    await create(alice, url_of(receiver))
    [mine] = await until_settled(alice, 1)
    async with somebody(server, "bob") as bob:
        assert await deliveries(bob) == []
        assert await deliveries(bob, job_id=mine.job_id) == []
        request = pb.ReplayDeliveriesRequest(ids=[mine.id])
        assert (await bob.ask(bob.webhooks.ReplayDeliveries, request)).replayed == 0
    assert len(receiver.seen) == 1


async def test_dead_deliveries_are_replayed_with_their_ids(alice: Caller, receiver: Receiver) -> None:
    receiver.answer = lambda seen: 500
    url = url_of(receiver)
    jobs = await create(alice, url, count=3)
    dead = await until_settled(alice, 3)
    assert {(one.state, one.error) for one in dead} == {(DEAD, "it answered 500")}
    receiver.answer = lambda seen: 200
    [endpoint] = await webhooks(alice)

    async def replay(**question: object) -> int:
        request = pb.ReplayDeliveriesRequest(**question)  # type: ignore[arg-type]
        return int((await alice.ask(alice.webhooks.ReplayDeliveries, request)).replayed)

    assert await replay(ids=[dead[0].id, "1-999-nobody"]) == 1
    assert (await receiver.until(4))[3].id == dead[0].id
    await until_settled(alice, 3)
    assert await replay(webhook_id=endpoint.id, job_id=dead[1].job_id) == 1
    await receiver.until(5)
    await until_settled(alice, 3)
    assert await replay(webhook_id=endpoint.id) == 1
    await receiver.until(6)
    assert {one.state for one in await until_settled(alice, 3)} == {DELIVERED}
    assert await replay(webhook_id=endpoint.id) == 0
    assert await replay(webhook_id=endpoint.id, state=DELIVERED, from_position=dead[0].position) == 1
    assert (await receiver.until(7))[6].id == dead[0].id
    assert {one.job_id for one in dead} == set(jobs)


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"ids": ["1-1-a"], "webhook_id": "a"},
        {"job_id": "a"},
        {"ids": ["nonsense"]},
        {"webhook_id": "a", "state": PENDING},
    ],
    ids=str,
)
async def test_replays_that_say_too_little_or_too_much(alice: Caller, question: dict[str, object]) -> None:
    request = pb.ReplayDeliveriesRequest(**question)  # type: ignore[arg-type]
    answer = await refused(alice.ask(alice.webhooks.ReplayDeliveries, request))
    assert answer.reason in ("INVALID_FIELD", "WEBHOOK_NOT_FOUND")


async def test_lists_come_in_pages(alice: Caller, receiver: Receiver) -> None:
    for number in range(3):
        await create(alice, url_of(receiver, f"/{number}"), count=2)
    await until_settled(alice, 6)
    seen: list[str] = []
    token = ""
    while True:
        request = pb.BrowseDeliveriesRequest(page_size=4, page_token=token)
        page = await alice.ask(alice.webhooks.BrowseDeliveries, request)
        seen += [one.id for one in page.deliveries]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 6
    first = await alice.ask(alice.webhooks.BrowseWebhooks, pb.BrowseWebhooksRequest(page_size=2))
    rest = await alice.ask(
        alice.webhooks.BrowseWebhooks, pb.BrowseWebhooksRequest(page_size=2, page_token=first.next_page_token)
    )
    urls = [one.specification.url for one in (*first.webhooks, *rest.webhooks)]
    assert urls == [url_of(receiver, f"/{number}") for number in range(3)]
    assert rest.next_page_token == ""
