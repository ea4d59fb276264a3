from __future__ import annotations

import grpc
import pytest

from tenure.cli.text import to_timestamp
from tenure.v1 import job_service_pb2
from tenure.v1 import webhook_service_pb2 as pb
from tenure.v1.job_pb2 import JobOwner
from tests.cli.conftest import Tenure
from tests.cli.examples import HOSTILE, T0_US
from tests.client.scripted import Refusal, ScriptedServer

Item = pb.UpsertWebhooksResponse.Item
URL = "https://a.example/hook"
HOOK = pb.Webhook(id="w-1", specification=pb.WebhookSpecification(url=URL), owner=JobOwner(created_by="alice"))
ALL = pb.BrowseWebhooksResponse(webhooks=[HOOK])


async def test_the_secret_of_a_new_webhook_is_alone_on_standard_output(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("UpsertWebhooks", pb.UpsertWebhooksResponse(responses=[Item(id="w-1", secret="whsec_x")]))
    result = await tenure("webhooks", "upsert", URL, "--event", "job.failed", "--event", "job.lost", "--project", "p")
    assert (result.code, result.out) == (0, "whsec_x\n")
    assert result.err == "tenure: webhook w-1 made. Its secret is shown this once.\n"
    [request] = server.asked["UpsertWebhooks"]
    assert (request.items[0].url, list(request.items[0].event_types)) == (URL, ["job.failed", "job.lost"])
    assert (request.items[0].disabled, request.project) == (False, "p")


async def test_what_is_there_is_changed(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("UpsertWebhooks", pb.UpsertWebhooksResponse(responses=[Item(id="w-1")]))
    result = await tenure("webhooks", "upsert", URL, "--disable")
    assert (result.code, result.out, result.err) == (0, "w-1 changed\n", "")
    assert server.asked["UpsertWebhooks"][0].items[0].disabled


async def test_what_the_server_refuses(server: ScriptedServer, tenure: Tenure) -> None:
    text = "its address is not a public one"
    server.answers("UpsertWebhooks", Refusal(grpc.StatusCode.INVALID_ARGUMENT, "WEBHOOK_TARGET_FORBIDDEN", text))
    result = await tenure("webhooks", "upsert", "https://127.0.0.1/")
    assert (result.code, result.out) == (1, "")
    assert "WEBHOOK_TARGET_FORBIDDEN" in result.err
    assert text in result.err


async def test_list(server: ScriptedServer, tenure: Tenure) -> None:
    off = pb.Webhook(
        id="w-2",
        specification=pb.WebhookSpecification(url="https://b.example/", event_types=["job.failed"]),
        owner=JobOwner(created_by=f"bob{HOSTILE}", project="p"),
        disabled_reason="the endpoint answered 410 Gone",
        dead=7,
    )
    server.answers("BrowseWebhooks", pb.BrowseWebhooksResponse(webhooks=[HOOK, off]))
    result = await tenure("webhooks", "list")
    heading, first, second = result.out.splitlines()
    assert heading.split() == ["ID", "URL", "EVENTS", "OWNER", "PENDING", "DEAD", "NOTES"]
    assert first.split() == ["w-1", URL, "usual", "alice", "0", "0"]
    assert second.split()[:3] == ["w-2", "https://b.example/", "job.failed"]
    assert "disabled: the endpoint answered 410 Gone" in second
    assert "\x1b" not in result.out


@pytest.mark.parametrize("named", ["w-1", URL])
async def test_rotate(server: ScriptedServer, tenure: Tenure, named: str) -> None:
    server.answers("BrowseWebhooks", ALL)
    server.answers("RotateWebhookSecret", pb.RotateWebhookSecretResponse(secret="whsec_y"))
    result = await tenure("webhooks", "rotate", named, "--overlap", "2h")
    assert (result.code, result.out) == (0, "whsec_y\n")
    assert result.err == "tenure: webhook w-1 has a new secret. Its secret is shown this once.\n"
    [request] = server.asked["RotateWebhookSecret"]
    assert (request.id, request.overlap.seconds) == ("w-1", 7200)


async def test_delete(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("BrowseWebhooks", ALL, ALL)
    server.answers("DeleteWebhooks", pb.DeleteWebhooksResponse())
    result = await tenure("webhooks", "delete", URL, "w-1")
    assert (result.code, result.out) == (0, "w-1 deleted\n")
    assert list(server.asked["DeleteWebhooks"][0].ids) == ["w-1"]


async def test_a_webhook_that_is_not_there(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("BrowseWebhooks", ALL)
    result = await tenure("webhooks", "delete", "https://other.example/")
    assert (result.code, result.out) == (1, "")
    assert "there is no webhook https://other.example/" in result.err
    assert "DeleteWebhooks" not in server.asked


async def test_a_url_that_several_have(server: ScriptedServer, tenure: Tenure) -> None:
    twin = pb.Webhook(id="w-2", specification=HOOK.specification, owner=JobOwner(created_by="bob"))
    server.answers("BrowseWebhooks", pb.BrowseWebhooksResponse(webhooks=[HOOK, twin]))
    result = await tenure("webhooks", "rotate", URL)
    assert result.code == 2
    assert "w-1 of alice" in result.err
    assert "w-2 of bob" in result.err


async def test_deliveries(server: ScriptedServer, tenure: Tenure) -> None:
    one = pb.Delivery(
        id="1-7-w-1",
        job_id="j",
        type="job.failed",
        sequence=3,
        state=pb.DELIVERY_STATE_DEAD,
        attempts=20,
        last_attempt_at=to_timestamp(T0_US),
        error="it answered 500",
    )
    server.answers("BrowseWebhooks", ALL)
    server.answers("BrowseDeliveries", pb.BrowseDeliveriesResponse(deliveries=[one, one, one]))
    result = await tenure("webhooks", "deliveries", "--webhook", URL, "--state", "dead", "--limit", "2")
    heading, *rows = result.out.splitlines()
    assert heading.split() == ["ID", "JOB", "TYPE", "SEQ", "STATE", "TRIES", "LAST", "NEXT", "MESSAGE"]
    assert len(rows) == 2
    assert rows[0].split()[:6] == ["1-7-w-1", "j", "job.failed", "3", "DEAD", "20"]
    assert "it answered 500" in rows[0]
    [request] = server.asked["BrowseDeliveries"]
    assert (request.webhook_id, request.state, request.page_size) == ("w-1", pb.DELIVERY_STATE_DEAD, 2)


async def test_replay(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("ReplayDeliveries", pb.ReplayDeliveriesResponse(replayed=1), pb.ReplayDeliveriesResponse(replayed=5))
    server.answers("BrowseWebhooks", ALL)
    result = await tenure("webhooks", "replay", "1-7-w-1")
    assert (result.code, result.out) == (0, "1 delivery made again\n")
    result = await tenure("webhooks", "replay", "--webhook", "w-1", "--job", "j", "--from-position", "7", "-o", "jsonl")
    assert result.json_lines == [{"replayed": "5"}]
    first, second = server.asked["ReplayDeliveries"]
    assert list(first.ids) == ["1-7-w-1"]
    assert (second.webhook_id, second.job_id, second.from_position) == ("w-1", "j", 7)


@pytest.mark.parametrize(
    "arguments",
    [[], ["1-7-w-1", "--webhook", "w-1"], ["1-7-w-1", "--job", "j"], ["--webhook", "w", "--state", "pending"]],
)
async def test_what_is_written_wrongly(server: ScriptedServer, tenure: Tenure, arguments: list[str]) -> None:
    result = await tenure("webhooks", "replay", *arguments)
    assert (result.code, result.out) == (2, "")
    assert not server.asked


async def test_a_job_is_created_with_a_webhook(server: ScriptedServer, tenure: Tenure) -> None:
    made = job_service_pb2.CreateJobsResponse.Item(id="j")
    server.answers("CreateJobs", job_service_pb2.CreateJobsResponse(responses=[made]))
    result = await tenure("jobs", "create", "--webhook", URL, "--", "true")
    assert (result.code, result.out) == (0, "j\n")
    assert server.asked["CreateJobs"][0].items[0].specification.webhook == URL
