"""Rows 21 to 27: who calls, and what they may."""

from __future__ import annotations

import asyncio
import base64
import json

import grpc
import grpc.aio

from tenure.controlplane.permissions import RULES, Role
from tests.hostile.catalogue import (
    BROWSE,
    CONNECT,
    CREATE,
    EVENTS,
    EXTEND,
    FOLLOW,
    HOOKS,
    REPLAY,
    RETRIEVE,
    STOP,
    TERMINATE,
    WATCH,
    Case,
    bad,
    bad_web,
    call,
    job,
    web,
)
from tests.hostile.catalogue_transport import credentials
from tests.hostile.outcome import Outcome, outcome_of
from tests.hostile.scene import METHODS, NOBODY, STANDING, Scene, Send, Sent, raw_of

UNKNOWN, FORBIDDEN = "CREDENTIALS_INVALID", "ROLE_NOT_ALLOWED"
HIDDEN, NO_HOOK = "JOB_NOT_FOUND", "WEBHOOK_NOT_FOUND"


def _jwt(header: dict[str, str]) -> str:
    parts = (header, {"sub": "admin", "aud": "tenure", "role": "admin"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


NO_TOKENS = {
    "empty": "",
    "no-scheme": "tnr_abc",
    "basic": "Basic YWRtaW46YWRtaW4=",
    "only-the-scheme": "Bearer",
    "nothing-after-it": "Bearer ",
    "unknown": "Bearer tnr_" + "A" * 43,
    "sql": "Bearer ' OR 1=1 --",
    "huge": "Bearer " + "A" * 6000,
    "blanks": "Bearer    ",
    "a-hash": "Bearer e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}
JWT = {
    "unsigned": _jwt({"alg": "none"}),
    "symmetric": _jwt({"alg": "HS256"}),
    "key-from-elsewhere": _jwt({"alg": "RS256", "jku": "http://127.0.0.1:1/keys"}),
}
HELLO: Sent = {"hello": {"worker_id": "w", "incarnation": "i", "protocol_version": 1, "queues": ["still"]}}
# Requests about a job, by the job's id.
ABOUT_A_JOB: dict[str, str] = {
    RETRIEVE: '{"id": "ID"}',
    "JobService.ExplainJob": '{"id": "ID"}',
    EXTEND: '{"items": [{"job_id": "ID", "requested_time": "60s"}]}',
    TERMINATE: '{"items": [{"id": "ID"}]}',
    WATCH: '{"ids": ["ID"]}',
    FOLLOW: '{"job_id": "ID"}',
}


def _forbidden() -> list[Case]:
    """Every RPC with every role that may not call it; the bytes are looked at by nobody."""
    return [
        Case(row=26, name=f"{who}-{rpc}", send=call(rpc, b"\xff", who=who), reason=FORBIDDEN)
        for rpc, method in METHODS.items()
        for who, role in (("owner", Role.USER), ("worker", Role.WORKER))
        if role not in RULES[method.containing_service.full_name][method.name]
    ]


def hidden(rpc: str, request: str) -> Send:
    """A job of somebody else is answered to the byte as one that does not exist."""

    async def send(scene: Scene) -> Outcome:
        there = await scene.call(rpc, json.loads(request.replace("ID", STANDING)), who="stranger")
        nowhere = await scene.call(rpc, json.loads(request.replace("ID", "nowhere")), who="stranger")
        assert there == nowhere, "it can be seen that the job exists"
        return there

    return send


def revoked_meanwhile(rpc: str, role: Role, sent: Sent) -> Send:
    """A stream whose token is revoked while it is open."""

    async def send(scene: Scene) -> Outcome:
        row, secret = await scene.plane.tokens.create(role=role, subject=scene.fresh("gone"))
        stream = scene.open(rpc, (("authorization", f"Bearer {secret}"),))
        await stream.write(raw_of(rpc, sent))
        await stream.read()
        await scene.ask("AdminService.RevokeToken", {"id": row.id})
        try:
            async with asyncio.timeout(10):
                while await stream.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return outcome_of(error)
        return Outcome(code=(await stream.code()).name)

    return send


async def revoked_before(scene: Scene) -> Outcome:
    """A token that was good a moment ago."""
    row, secret = await scene.plane.tokens.create(role=Role.USER, subject=scene.fresh("gone"))
    given = (("authorization", f"Bearer {secret}"),)
    assert (await scene.call(BROWSE, b"", who=NOBODY, extra=given)).code == "OK"
    await scene.ask("AdminService.RevokeToken", {"id": row.id})
    return await scene.call(BROWSE, b"", who=NOBODY, extra=given)


def _unknown(row: int, name: str, send: Send) -> Case:
    return Case(row=row, name=name, send=send, reason=UNKNOWN)


KELPIE_KEY = [("x-kelpie-key", "k")]
LATIN_KEY = [("x-kelpie-key", "\xe9\xff".encode("latin-1"))]
URL = "https://example.org/"

CASES: list[Case] = [
    *(
        Case(row=21, name=f"none-{rpc}", send=call(rpc, b"", who=NOBODY), reason="CREDENTIALS_MISSING")
        for rpc in METHODS
    ),
    *(_unknown(21, name, credentials(value)) for name, value in NO_TOKENS.items()),
    _unknown(21, "garbage-on-a-stream", call(CONNECT, HELLO, who="garbage")),
    bad_web(21, "none", web("GET", "/v1/jobs", who=NOBODY), reason="CREDENTIALS_MISSING", http=401),
    bad_web(21, "garbage", web("GET", "/v1/jobs", who="garbage"), reason=UNKNOWN, http=401),
    bad_web(21, "ucloud", web("GET", "/api/jobs/browse", who="garbage"), reason=UNKNOWN, http=401),
    bad_web(21, "kelpie", web("GET", "/jobs", who=NOBODY, headers=KELPIE_KEY), reason=UNKNOWN, http=401),
    bad_web(21, "latin", web("GET", "/jobs", who=NOBODY, headers=LATIN_KEY), reason=UNKNOWN, http=401),
    _unknown(22, "revoked", revoked_before),
    *(_unknown(23, name, credentials("Bearer " + token)) for name, token in JWT.items()),
    _unknown(24, "watch", revoked_meanwhile(WATCH, Role.USER, b"")),
    _unknown(24, "worker", revoked_meanwhile(CONNECT, Role.WORKER, HELLO)),
    _unknown(24, "log", revoked_meanwhile(EVENTS, Role.ADMIN, {"follow": True})),
    *(Case(row=25, name=rpc, send=hidden(rpc, request), reason=HIDDEN) for rpc, request in ABOUT_A_JOB.items()),
    bad(25, "operator", STOP, {"ids": ["nowhere"], "reason": "x"}, "ids[0]", reason=HIDDEN),
    bad(25, "webhook", "WebhookService.RotateWebhookSecret", {"id": "nowhere"}, "id", reason=NO_HOOK),
    bad(25, "webhooks", "WebhookService.DeleteWebhooks", {"ids": ["nowhere"]}, "ids[0]", reason=NO_HOOK),
    bad(25, "deliveries", "WebhookService.BrowseDeliveries", {"webhook_id": "a"}, "webhook_id", reason=NO_HOOK),
    bad(25, "replay", REPLAY, {"webhook_id": "nowhere"}, "webhook_id", reason=NO_HOOK),
    bad(25, "token", "AdminService.RevokeToken", {"id": "nowhere"}, "id"),
    bad_web(25, "native", web("GET", f"/v1/jobs/{STANDING}", who="stranger"), reason=HIDDEN, http=404),
    bad_web(25, "ucloud", web("GET", f"/api/jobs/retrieve?id={STANDING}", who="stranger"), reason=HIDDEN, http=404),
    bad_web(25, "kelpie", web("GET", f"/jobs/{STANDING}", who="stranger"), reason=HIDDEN, http=404),
    *_forbidden(),
    bad_web(26, "user", web("GET", "/v1/store"), reason=FORBIDDEN, http=403),
    bad_web(26, "worker", web("POST", "/v1/jobs", {}, who="worker"), reason=FORBIDDEN, http=403),
    bad(27, "project-of-others", CREATE, job() | {"project": "theirs"}, "project", reason=FORBIDDEN),
    bad(27, "webhook-for-others", HOOKS, {"project": "theirs", "items": [{"url": URL}]}, "project", reason=FORBIDDEN),
    bad(27, "user-with-queues", "AdminService.CreateToken", {"role": 1, "subject": "a", "queues": ["b"]}, "queues"),
]
