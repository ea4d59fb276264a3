"""Rows 21 to 27: who calls, and what they may."""

from __future__ import annotations

import asyncio
import base64
import json

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from tenure.controlplane.permissions import RULES
from tenure.v1 import admin_service_pb2, event_service_pb2, job_pb2, job_service_pb2, webhook_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.hostile.catalogue import Case, call, web, with_metadata
from tests.hostile.catalogue_transport import GOOD, METHODS, RETRIEVE, rpc_of
from tests.hostile.scene import STANDING, Outcome, Scene, Send, outcome_of


def _jwt(header: dict[str, str]) -> str:
    parts = (header, {"sub": "admin", "aud": "tenure", "role": "admin"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


INVALID = {
    "empty": "",
    "no-scheme": "tnr_abc",
    "basic": "Basic YWRtaW46YWRtaW4=",
    "only-the-scheme": "Bearer",
    "nothing-after-it": "Bearer ",
    "unknown": "Bearer tnr_" + "A" * 43,
    "sql": "Bearer ' OR 1=1 --",
    "huge": "Bearer " + "A" * 6000,
    "blanks": "Bearer    ",
    "unsigned": "Bearer " + _jwt({"alg": "none"}),
    "key-from-elsewhere": "Bearer " + _jwt({"alg": "RS256", "jku": "http://127.0.0.1:1/keys"}),
    "its-own-hash": "Bearer " + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}


def _role_of(who: str) -> str:
    return {"owner": "user"}.get(who, who)


def _forbidden() -> list[Case]:
    """Every RPC with every role that may not call it; the bytes are looked at by nobody."""
    return [
        Case(row=26, name=f"{who}-{rpc_of(method)}", send=call(rpc_of(method), b"\xff", who=who), reason="ROLE_NOT_ALLOWED")
        for method in METHODS
        for who in ("owner", "worker")
        if _role_of(who) not in RULES[method.containing_service.full_name][method.name]
    ]  # fmt: skip


def hidden(rpc: str, request: object, missing: object) -> Send:
    """A job of somebody else is answered to the byte as one that does not exist; the answer for the first is judged."""

    async def send(scene: Scene) -> Outcome:
        there = await scene.call(rpc, request.SerializeToString(), who="stranger")  # type: ignore[attr-defined]
        nowhere = await scene.call(rpc, missing.SerializeToString(), who="stranger")  # type: ignore[attr-defined]
        assert there == nowhere, "it can be seen that the job exists"
        return there

    return send


def _extend(job_id: str) -> job_service_pb2.ExtendJobsRequest:
    item = job_service_pb2.ExtendJobsRequest.Item(job_id=job_id, requested_time=Duration(seconds=60))
    return job_service_pb2.ExtendJobsRequest(items=[item])


def _terminate(job_id: str) -> job_service_pb2.TerminateJobsRequest:
    return job_service_pb2.TerminateJobsRequest(items=[job_service_pb2.TerminateJobsRequest.Item(id=job_id)])


HIDDEN = {
    "JobService.RetrieveJob": lambda job_id: job_service_pb2.RetrieveJobRequest(id=job_id),
    "JobService.ExplainJob": lambda job_id: job_service_pb2.ExplainJobRequest(id=job_id),
    "JobService.ExtendJobs": _extend,
    "JobService.TerminateJobs": _terminate,
    "JobService.WatchJobs": lambda job_id: job_service_pb2.WatchJobsRequest(ids=[job_id]),
    "JobService.FollowLogs": lambda job_id: job_service_pb2.FollowLogsRequest(job_id=job_id),
}


def revoked_meanwhile(rpc: str, message: bytes, role: str) -> Send:
    """A stream whose token is revoked while it is open."""

    async def send(scene: Scene) -> Outcome:
        _, secret = await scene.plane.tokens.create(role=role, subject=scene.fresh("gone"))  # type: ignore[arg-type]
        stream = scene.open(rpc, (("authorization", f"Bearer {secret}"),))
        await stream.write(message)
        await stream.read()
        rows = await scene.plane.store.list_tokens()
        revoke = admin_service_pb2.RevokeTokenRequest(id=rows[-1].id)
        await scene.ask("AdminService.RevokeToken", revoke, admin_service_pb2.RevokeTokenResponse, who="admin")
        try:
            async with asyncio.timeout(10):
                while await stream.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return outcome_of(error)
        return Outcome(code=(await stream.code()).name)

    return send


async def revoked_before(scene: Scene) -> Outcome:
    row, secret = await scene.plane.tokens.create(role="user", subject=scene.fresh("gone"))  # type: ignore[arg-type]
    given = (("authorization", f"Bearer {secret}"),)
    assert (await scene.call("JobService.BrowseJobs", b"", who="nobody", extra=given)).code == "OK"
    await scene.plane.tokens.revoke(row.id)
    return await scene.call("JobService.BrowseJobs", b"", who="nobody", extra=given)


def _created(**changes: str) -> job_service_pb2.CreateJobsRequest:
    request = job_service_pb2.CreateJobsRequest(**changes)
    request.items.add(specification=job_pb2.JobSpecification(command="true", queue="still"))
    return request


HELLO = pb.ConnectRequest(hello=pb.Hello(worker_id="w", incarnation="i", protocol_version=1, queues=["still"]))

CASES: list[Case] = [
    *(
        Case(row=21, name=f"none-{rpc_of(method)}", send=call(rpc_of(method), b"", who="nobody"), reason="CREDENTIALS_MISSING")
        for method in METHODS
    ),
    *(
        Case(row=21, name=name, send=with_metadata(RETRIEVE, GOOD, ("authorization", value)), reason="CREDENTIALS_INVALID")
        for name, value in INVALID.items()
    ),
    Case(row=21, name="garbage-on-a-stream", send=call("WorkerService.Connect", HELLO, who="garbage"), reason="CREDENTIALS_INVALID"),
    Case(row=21, name="web-none", send=web("GET", "/v1/jobs", who="nobody"), reason="CREDENTIALS_MISSING", http=401),
    Case(row=21, name="web-garbage", send=web("GET", "/v1/jobs", who="garbage"), reason="CREDENTIALS_INVALID", http=401),
    Case(row=21, name="web-ucloud", send=web("GET", "/api/jobs/browse", who="garbage"), reason="CREDENTIALS_INVALID", http=401),
    Case(row=21, name="web-kelpie", send=web("GET", "/jobs", who="nobody", headers=[("x-kelpie-key", "k")]), reason="CREDENTIALS_INVALID", http=401),
    Case(row=21, name="web-two", send=web("GET", "/v1/jobs", headers=[("authorization", "Bearer x")]), reason="CREDENTIALS_AMBIGUOUS", http=401),
    Case(row=21, name="web-latin", send=web("GET", "/jobs", who="nobody", headers=[("x-kelpie-key", "\xe9\xff")]), reason="CREDENTIALS_INVALID", http=401),
    Case(row=22, name="revoked", send=revoked_before, reason="CREDENTIALS_INVALID"),
    Case(row=24, name="watch", send=revoked_meanwhile("JobService.WatchJobs", b"", "user"), reason="CREDENTIALS_INVALID"),
    Case(row=24, name="worker", send=revoked_meanwhile("WorkerService.Connect", HELLO.SerializeToString(), "worker"), reason="CREDENTIALS_INVALID"),
    Case(
        row=24,
        name="log",
        send=revoked_meanwhile("EventService.ReadEvents", event_service_pb2.ReadEventsRequest(follow=True).SerializeToString(), "admin"),
        reason="CREDENTIALS_INVALID",
    ),
    *(
        Case(row=25, name=rpc.partition(".")[2], send=hidden(rpc, make(STANDING), make("nowhere")), reason="JOB_NOT_FOUND")
        for rpc, make in HIDDEN.items()
    ),
    Case(row=25, name="operator-finds-none", send=call("AdminService.StopJobs", admin_service_pb2.StopJobsRequest(ids=["nowhere"], reason="x"), who="admin"), reason="JOB_NOT_FOUND", fields=("ids[0]",)),
    Case(row=25, name="webhook", send=call("WebhookService.RotateWebhookSecret", webhook_service_pb2.RotateWebhookSecretRequest(id="nowhere")), reason="WEBHOOK_NOT_FOUND"),
    Case(row=25, name="webhooks", send=call("WebhookService.DeleteWebhooks", webhook_service_pb2.DeleteWebhooksRequest(ids=["nowhere"])), reason="WEBHOOK_NOT_FOUND", fields=("ids[0]",)),
    Case(row=25, name="deliveries", send=call("WebhookService.BrowseDeliveries", webhook_service_pb2.BrowseDeliveriesRequest(webhook_id="nowhere")), reason="WEBHOOK_NOT_FOUND"),
    Case(row=25, name="replay", send=call("WebhookService.ReplayDeliveries", webhook_service_pb2.ReplayDeliveriesRequest(webhook_id="nowhere")), reason="WEBHOOK_NOT_FOUND"),
    Case(row=25, name="token", send=call("AdminService.RevokeToken", admin_service_pb2.RevokeTokenRequest(id="nowhere"), who="admin"), reason="INVALID_FIELD", fields=("id",)),
    Case(row=25, name="web", send=web("GET", f"/v1/jobs/{STANDING}", who="stranger"), reason="JOB_NOT_FOUND", http=404),
    Case(row=25, name="web-ucloud", send=web("GET", f"/api/jobs/retrieve?id={STANDING}", who="stranger"), reason="JOB_NOT_FOUND", http=404),
    Case(row=25, name="web-kelpie", send=web("GET", f"/jobs/{STANDING}", who="stranger"), reason="JOB_NOT_FOUND", http=404),
    *_forbidden(),
    Case(row=26, name="web", send=web("GET", "/v1/store"), reason="ROLE_NOT_ALLOWED", http=403),
    Case(row=26, name="web-worker", send=web("POST", "/v1/jobs", json={}, who="worker"), reason="ROLE_NOT_ALLOWED", http=403),
    Case(row=27, name="project-of-others", send=call("JobService.CreateJobs", _created(project="theirs")), reason="ROLE_NOT_ALLOWED", fields=("project",)),
    Case(
        row=27,
        name="webhook-for-others",
        send=call("WebhookService.UpsertWebhooks", webhook_service_pb2.UpsertWebhooksRequest(project="theirs", items=[webhook_service_pb2.WebhookSpecification(url="https://example.org/")])),
        reason="ROLE_NOT_ALLOWED",
        fields=("project",),
    ),
    Case(row=27, name="queues-for-a-user", send=call("AdminService.CreateToken", admin_service_pb2.CreateTokenRequest(role=admin_service_pb2.ROLE_USER, subject="a", queues=["b"]), who="admin"), reason="INVALID_FIELD", fields=("queues",)),
]  # fmt: skip
