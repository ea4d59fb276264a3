"""AdminService: tokens, the check of the log, the state of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tenure.v1 import admin_service_pb2 as pb
from tenure.v1 import job_service_pb2
from tests.controlplane.callers import Caller, channel_to, refused
from tests.controlplane.harness import RunningServer, running_server
from tests.fakes import FakeClock

T0_US = 1_633_329_776_235_000


@pytest_asyncio.fixture
async def clock() -> FakeClock:
    return FakeClock(T0_US, pause_s=0.001)


@pytest_asyncio.fixture
async def server(clock: FakeClock) -> AsyncIterator[RunningServer]:
    async with running_server(clock=clock) as running:
        yield running


@pytest_asyncio.fixture
async def admin(server: RunningServer) -> AsyncIterator[Caller]:
    async with channel_to(server.address) as channel:
        yield Caller(channel, server.admin_secret)


async def test_a_token_is_made_used_and_revoked(server: RunningServer, admin: Caller) -> None:
    made: pb.CreateTokenResponse = await admin.ask(
        admin.admin.CreateToken, pb.CreateTokenRequest(role=pb.ROLE_USER, subject="alice@example", project="p")
    )
    assert made.token.created_at.ToMicroseconds() == T0_US
    assert not made.token.HasField("revoked_at")
    async with channel_to(server.address) as channel:
        alice = Caller(channel, made.secret)
        await alice.ask(alice.jobs.BrowseJobs, job_service_pb2.BrowseJobsRequest())
        await admin.ask(admin.admin.RevokeToken, pb.RevokeTokenRequest(id=made.token.id))
        answer = await refused(alice.ask(alice.jobs.BrowseJobs, job_service_pb2.BrowseJobsRequest()))
        assert answer.reason == "CREDENTIALS_INVALID"
    await admin.ask(admin.admin.RevokeToken, pb.RevokeTokenRequest(id=made.token.id))
    answer = await refused(admin.ask(admin.admin.RevokeToken, pb.RevokeTokenRequest(id="nobody")))
    assert [field for field, _ in answer.fields] == ["id"]


async def test_tokens_are_listed_in_pages_without_their_secrets(admin: Caller, clock: FakeClock) -> None:
    secrets = []
    for number in range(5):
        await clock.advance(1)
        request = pb.CreateTokenRequest(role=pb.ROLE_WORKER, subject=f"w{number}", queues=["a", "b", "a"])
        secrets.append((await admin.ask(admin.admin.CreateToken, request)).secret)
    tokens: list[pb.Token] = []
    page_token = ""
    while True:
        page = await admin.ask(admin.admin.BrowseTokens, pb.BrowseTokensRequest(page_size=2, page_token=page_token))
        tokens += page.tokens
        page_token = page.next_page_token
        if not page_token:
            break
    assert [token.subject for token in tokens] == ["local", "w0", "w1", "w2", "w3", "w4"]
    assert tokens[0].role == pb.ROLE_ADMIN
    assert list(tokens[1].queues) == ["a", "b"]
    assert not any(secret in str(tokens) for secret in secrets)


async def test_tokens_that_cannot_be_are_refused(admin: Caller) -> None:
    wrong = {
        "role": pb.CreateTokenRequest(subject="a"),
        "subject": pb.CreateTokenRequest(role=pb.ROLE_USER),
        "queues": pb.CreateTokenRequest(role=pb.ROLE_USER, subject="a", queues=["default"]),
        "queues[0]": pb.CreateTokenRequest(role=pb.ROLE_WORKER, subject="a", queues=["no good"]),
    }
    for field, request in wrong.items():
        answer = await refused(admin.ask(admin.admin.CreateToken, request))
        assert (answer.reason, [path for path, _ in answer.fields]) == ("INVALID_FIELD", [field])


async def test_the_log_is_checked(server: RunningServer, admin: Caller) -> None:
    report = await admin.ask(admin.admin.VerifyLog, pb.VerifyLogRequest())
    head = server.plane.store.head()
    assert (report.ok, report.position, report.events, list(report.problems)) == (
        True,
        head.position,
        head.position,
        [],
    )


async def test_the_store_is_shown(server: RunningServer, admin: Caller) -> None:
    shown = await admin.ask(admin.admin.RetrieveStore, pb.RetrieveStoreRequest())
    head = server.plane.store.head()
    assert (shown.engine, shown.log_id, shown.epoch, shown.position) == (
        "memory",
        head.log_id,
        head.epoch,
        head.position,
    )
    assert shown.chain_hash == head.hash


async def test_what_is_not_built_says_so(admin: Caller) -> None:
    for rpc, request in (
        (admin.admin.BackupStore, pb.BackupStoreRequest(path="/x")),
        (admin.admin.StopJobs, pb.StopJobsRequest(ids=["a"], reason="r")),
    ):
        assert (await refused(admin.ask(rpc, request))).reason == "NOT_IMPLEMENTED"
