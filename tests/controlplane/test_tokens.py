"""Tokens over a real server: what is refused before anything else, the roles, and revoking."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from tenure.controlplane import health, permissions, reflection
from tenure.controlplane.call import Call
from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.tokens import SECRET_PREFIX, Tokens, secret_of
from tenure.domain.errors import Refused
from tenure.runtime.ids import Uuid7Ids
from tenure.store.memory import MemoryStore
from tenure.store.store import TokenRow
from tenure.v1 import job_service_pb2
from tests.controlplane.hosted import OURS, Hosted, Refusal, end_of, hosted
from tests.fakes import FakeClock

RETRIEVE = "/tenure.v1.JobService/RetrieveJob"
WATCH = "/tenure.v1.JobService/WatchJobs"
CONNECT = "/tenure.v1.WorkerService/Connect"

RPCS = [(service, method) for service in OURS for method in service.methods]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Hosted]:
    async with hosted() as running:
        yield running


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


# --- before a message ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "CREDENTIALS_MISSING"),
        ((("x-api-key", "tnr_x"),), "CREDENTIALS_MISSING"),
        ((("authorization", ""),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer "),), "CREDENTIALS_INVALID"),
        ((("authorization", "Basic dXNlcjpwYXNz"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer tnr_unknown"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer " + "x" * 5000),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer a, Bearer b"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer a"), ("authorization", "Bearer b")), "CREDENTIALS_AMBIGUOUS"),
    ],
)
async def test_bad_tokens_are_refused(server: Hosted, metadata: tuple[tuple[str, str], ...], reason: str) -> None:
    answer = await server.unary(RETRIEVE, b"", metadata)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", reason)
    stream = await end_of(server.stream(CONNECT, metadata))
    assert (stream.code, stream.reason) == ("UNAUTHENTICATED", reason)


async def test_all_bad_tokens_get_the_same_words(server: Hosted) -> None:
    _, revoked = await server.tokens.create(role=Role.USER, subject="a")
    await server.tokens.revoke((await server.tokens.identify(revoked)).token_id)
    answers = {str(await server.unary(RETRIEVE, b"", bearer(secret))) for secret in ("tnr_unknown", "x", revoked)}
    assert len(answers) == 1


async def test_a_call_that_never_sends_is_refused_at_once_without_a_token() -> None:
    async with hosted(limits=Limits(first_message_s=60)) as server, asyncio.timeout(20):
        assert (await end_of(server.stream(RETRIEVE))).reason == "CREDENTIALS_MISSING"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_in_any_case(scheme: str) -> None:
    assert secret_of([("authorization", f"{scheme} tnr_x ")]) == "tnr_x"


def test_bytes_are_no_token() -> None:
    with pytest.raises(Refused):
        secret_of([("authorization", b"Bearer tnr_x")])


# --- roles ----------------------------------------------------------------------------------------------------------


def test_every_rpc_has_a_rule_and_every_rule_an_rpc() -> None:
    served: list[ServiceDescriptor] = [*OURS, health.DESCRIPTOR, reflection.V1ALPHA, reflection.v1()]
    there = {(service.full_name, method.name) for service in served for method in service.methods}
    ruled = {(service, method) for service, methods in permissions.RULES.items() for method in methods}
    assert there == ruled


def test_a_new_rpc_is_nobodys() -> None:
    with pytest.raises(LookupError):
        permissions.rule("tenure.v1.JobService", "EraseEverything")


def test_administrators_may_call_everything_and_only_health_and_reflection_are_open() -> None:
    for service, methods in permissions.RULES.items():
        for roles in methods.values():
            assert (roles == permissions.OPEN) == service.startswith("grpc.")
            assert roles == permissions.OPEN or Role.ADMIN in roles


@pytest.mark.parametrize(
    ("service", "method", "role"),
    [
        pytest.param(service, method, role, id=f"{method.name}-{role}")
        for (service, method), role in itertools.product(RPCS, Role)
    ],
)
async def test_the_table_is_kept(
    server: Hosted, service: ServiceDescriptor, method: MethodDescriptor, role: Role
) -> None:
    path = f"/{service.full_name}/{method.name}"
    call = server.stream(path, await server.bearer(role))
    await call.done_writing()
    ended = await end_of(call)
    may = role in permissions.RULES[service.full_name][method.name]
    assert (ended.code, ended.reason) == (
        ("UNIMPLEMENTED", "NOT_IMPLEMENTED") if may else ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
    )
    # The second call finds the token in the cache and goes another way.
    again = server.stream(path, await server.bearer(role))
    await again.done_writing()
    assert (await end_of(again)).reason == ended.reason


def test_workers_touch_no_jobs_and_users_no_workers() -> None:
    assert not any(Role.WORKER in roles for roles in permissions.RULES["tenure.v1.JobService"].values())
    for service in ("tenure.v1.WorkerService", "tenure.v1.AdminService", "tenure.v1.EventService"):
        assert not any(Role.USER in roles for roles in permissions.RULES[service].values())


# --- making, keeping, revoking --------------------------------------------------------------------------------------


class Watches:
    """Watches that say one thing and stay."""

    async def watch_jobs(
        self, _request: job_service_pb2.WatchJobsRequest, _call: Call
    ) -> AsyncIterator[job_service_pb2.WatchJobsResponse]:
        yield job_service_pb2.WatchJobsResponse(resume_token="open")
        await asyncio.get_running_loop().create_future()


class CountingStore(MemoryStore):
    """Counts look-ups, and lets a test do something in the middle of one."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up = 0
        self.pause: asyncio.Event | None = None
        self.paused = asyncio.Event()

    async def find_token(self, digest: bytes) -> TokenRow | None:
        self.looked_up += 1
        found = await super().find_token(digest)
        if self.pause is not None:
            self.paused.set()
            await self.pause.wait()
        return found


async def test_a_secret_is_random_and_only_its_digest_is_kept() -> None:
    store = CountingStore()
    tokens = Tokens(store, FakeClock(), Uuid7Ids())
    row, secret = await tokens.create(role=Role.WORKER, subject="w", project="p", queues=["a", "b"])
    _, other = await tokens.create(role=Role.WORKER, subject="w")
    assert secret.startswith(SECRET_PREFIX)
    assert len(secret) == len(SECRET_PREFIX) + 43
    assert secret != other
    assert secret not in str(await store.list_tokens())
    identity = await tokens.identify(secret)
    assert (identity.principal, identity.project, identity.queues, identity.token_id) == (
        "worker:w",
        "p",
        ("a", "b"),
        row.id,
    )


async def test_a_token_is_looked_up_once_and_again_after_a_while() -> None:
    store, clock = CountingStore(), FakeClock()
    tokens = Tokens(store, clock, Uuid7Ids())
    _, secret = await tokens.create(role=Role.USER, subject="a")
    assert tokens.known(secret) is None
    await tokens.identify(secret)
    assert tokens.known(secret) is not None
    assert store.looked_up == 1
    await clock.advance(29)
    assert tokens.known(secret) is not None
    await clock.advance(2)
    assert tokens.known(secret) is None


async def test_revoking_is_at_once_and_for_ever() -> None:
    store = CountingStore()
    tokens = Tokens(store, FakeClock(), Uuid7Ids())
    row, secret = await tokens.create(role=Role.USER, subject="a")
    told: list[str] = []
    tokens.on_revoked(told.append)
    await tokens.identify(secret)
    assert await tokens.revoke(row.id)
    assert tokens.known(secret) is None
    with pytest.raises(Refused):
        await tokens.identify(secret)
    assert await tokens.revoke(row.id)
    assert told == [row.id]
    assert not await tokens.revoke("nobody")


async def test_a_token_revoked_while_it_is_looked_up_is_refused() -> None:
    """Else what it opens would live on: at the time of the revocation it was not known whose it is."""
    store = CountingStore()
    tokens = Tokens(store, FakeClock(), Uuid7Ids())
    row, secret = await tokens.create(role=Role.USER, subject="a")
    store.pause = asyncio.Event()
    looking = asyncio.ensure_future(tokens.identify(secret))
    await store.paused.wait()
    await tokens.revoke(row.id)
    store.pause.set()
    with pytest.raises(Refused, match="revoked"):
        await looking
    assert tokens.known(secret) is None


class UnansweredStore(MemoryStore):
    """Revokes, and answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.revoked = asyncio.Event()
        self.answers = asyncio.Event()

    async def revoke_token(self, token_id: str, at_us: int) -> bool:
        changed = await super().revoke_token(token_id, at_us)
        self.revoked.set()
        await self.answers.wait()
        return changed


async def test_a_token_is_revoked_to_the_end_though_nobody_waits_any_more() -> None:
    """The store does it all the same: a repeat would find nothing to change, and nobody would end what is open."""
    store = UnansweredStore()
    tokens = Tokens(store, FakeClock(), Uuid7Ids())
    told: list[str] = []
    tokens.on_revoked(told.append)
    row, secret = await tokens.create(role=Role.USER, subject="a")
    async with hosted({"JobService": Watches()}, tokens=tokens) as server:
        watch = server.stream(WATCH, bearer(secret))
        await watch.write(b"")
        assert await watch.read() is not grpc.aio.EOF
        revoking = asyncio.ensure_future(tokens.revoke(row.id))
        await store.revoked.wait()
        revoking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await revoking
        store.answers.set()
        assert await tokens.revoke(row.id)
        assert told == [row.id]
        assert tokens.known(secret) is None
        assert (await end_of(watch)).reason == "CREDENTIALS_INVALID"


async def test_a_token_revoked_before_its_stream_begins_opens_none() -> None:
    """gRPC asks who handles a call, and runs that a moment later: between the two there is no stream to end."""
    tokens = Tokens(MemoryStore(), FakeClock(), Uuid7Ids())
    row, secret = await tokens.create(role=Role.USER, subject="a")
    await tokens.identify(secret)

    def revoking(rpc: str, metadata: object, run: Any, *, stream: bool) -> Any:
        async def revoke_first(requests: object, context: Any) -> Any:
            assert stream
            await tokens.revoke(row.id)
            return await run(requests, context)

        return revoke_first

    async with hosted({"JobService": Watches()}, tokens=tokens) as server:
        server.host.wrap = revoking
        watch = server.stream(WATCH, bearer(secret), within_s=5)
        await watch.write(b"")
        assert (await end_of(watch)).reason == "CREDENTIALS_INVALID"


async def test_a_revoked_token_is_refused_on_the_next_call(server: Hosted) -> None:
    row, secret = await server.tokens.create(role=Role.USER, subject="a")
    first = await server.unary(RETRIEVE, b"", bearer(secret))
    assert isinstance(first, Refusal)
    assert first.code == grpc.StatusCode.UNIMPLEMENTED.name
    await server.tokens.revoke(row.id)
    second = await server.unary(RETRIEVE, b"", bearer(secret))
    assert isinstance(second, Refusal)
    assert second.reason == "CREDENTIALS_INVALID"
