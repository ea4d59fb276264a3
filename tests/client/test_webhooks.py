"""`client.webhooks` of both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tenure.client import Client, SyncClient, TenureError
from tenure.v1 import webhook_service_pb2 as pb
from tests.client.scripted import Refusal, ScriptedServer, serving

WANTED = pb.WebhookSpecification(url="https://a.example/", event_types=["job.failed"])


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with serving(ScriptedServer()) as script:
        made = pb.UpsertWebhooksResponse.Item(id="w", secret="whsec_x")
        script.answers("UpsertWebhooks", pb.UpsertWebhooksResponse(responses=[made]))
        script.answers(
            "BrowseWebhooks",
            pb.BrowseWebhooksResponse(webhooks=[pb.Webhook(id="a"), pb.Webhook(id="b")], next_page_token="n"),
            pb.BrowseWebhooksResponse(webhooks=[pb.Webhook(id="c")]),
        )
        script.answers("DeleteWebhooks", pb.DeleteWebhooksResponse())
        script.answers("RotateWebhookSecret", pb.RotateWebhookSecretResponse(secret="whsec_y"))
        script.answers(
            "BrowseDeliveries",
            pb.BrowseDeliveriesResponse(deliveries=[pb.Delivery(id="1-1-w")], next_page_token="n"),
            pb.BrowseDeliveriesResponse(deliveries=[pb.Delivery(id="1-2-w")]),
        )
        script.answers("ReplayDeliveries", pb.ReplayDeliveriesResponse(replayed=2))
        yield script


def asked(server: ScriptedServer) -> None:
    [upsert] = server.asked["UpsertWebhooks"]
    assert (list(upsert.items), upsert.project) == ([WANTED], "p")
    assert [each.page_token for each in server.asked["BrowseWebhooks"]] == ["", "n"]
    [delete] = server.asked["DeleteWebhooks"]
    assert list(delete.ids) == ["a"]
    [rotate] = server.asked["RotateWebhookSecret"]
    assert (rotate.id, rotate.HasField("overlap")) == ("a", False)
    assert [(each.page_token, each.job_id) for each in server.asked["BrowseDeliveries"]] == [("", "j"), ("n", "j")]
    [replay] = server.asked["ReplayDeliveries"]
    assert (replay.webhook_id, replay.state) == ("a", pb.DELIVERY_STATE_DEAD)


async def test_the_asyncio_client(server: ScriptedServer) -> None:
    async with Client(server.address) as client:
        webhooks = client.webhooks
        assert (await webhooks.upsert([WANTED], project="p")).responses[0].secret == "whsec_x"
        assert [each.id async for each in webhooks.browse(page_size=2)] == ["a", "b", "c"]
        await webhooks.delete(["a"])
        assert await webhooks.rotate("a") == "whsec_y"
        assert [each.id async for each in webhooks.deliveries(job_id="j")] == ["1-1-w", "1-2-w"]
        assert await webhooks.replay(webhook_id="a", state=pb.DELIVERY_STATE_DEAD) == 2
    asked(server)


async def test_the_client_for_threads(server: ScriptedServer) -> None:
    def use() -> None:
        with SyncClient(server.address) as client:
            webhooks = client.webhooks
            assert webhooks.upsert([WANTED], project="p").responses[0].secret == "whsec_x"
            assert [each.id for each in webhooks.browse(page_size=2)] == ["a", "b", "c"]
            webhooks.delete(["a"])
            assert webhooks.rotate("a") == "whsec_y"
            assert [each.id for each in webhooks.deliveries(job_id="j")] == ["1-1-w", "1-2-w"]
            assert webhooks.replay(webhook_id="a", state=pb.DELIVERY_STATE_DEAD) == 2

    await asyncio.to_thread(use)
    asked(server)


def carried_out_unheard(server: ScriptedServer) -> None:
    """The answer to the first call is lost; a second one finds everything done already."""
    server.forget()
    lost = Refusal(grpc.StatusCode.UNAVAILABLE)
    again = pb.UpsertWebhooksResponse.Item(id="w")
    server.answers("UpsertWebhooks", lost, pb.UpsertWebhooksResponse(responses=[again]))
    server.answers("DeleteWebhooks", lost, Refusal(grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND"))


async def test_no_secret_is_lost_behind_a_repeat_that_nobody_asked_for(server: ScriptedServer) -> None:
    carried_out_unheard(server)
    async with Client(server.address) as client:
        with pytest.raises(TenureError) as upserted:
            await client.webhooks.upsert([WANTED])
        with pytest.raises(TenureError) as deleted:
            await client.webhooks.delete(["a"])
    assert {upserted.value.code, deleted.value.code} == {grpc.StatusCode.UNAVAILABLE}
    assert (len(server.asked["UpsertWebhooks"]), len(server.asked["DeleteWebhooks"])) == (1, 1)


async def test_nor_by_the_client_for_threads(server: ScriptedServer) -> None:
    carried_out_unheard(server)

    def use() -> None:
        with SyncClient(server.address) as client:
            with pytest.raises(TenureError) as upserted:
                client.webhooks.upsert([WANTED])
            with pytest.raises(TenureError) as deleted:
                client.webhooks.delete(["a"])
        assert {upserted.value.code, deleted.value.code} == {grpc.StatusCode.UNAVAILABLE}

    await asyncio.to_thread(use)
    assert (len(server.asked["UpsertWebhooks"]), len(server.asked["DeleteWebhooks"])) == (1, 1)
