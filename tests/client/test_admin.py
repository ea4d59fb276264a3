"""What an operator asks: the same calls by both clients, on a real server that is told what to answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import pytest

from tenure.client import Client, SyncClient, TenureError
from tenure.v1 import admin_service_pb2 as pb
from tenure.v1 import queue_service_pb2
from tests.client.scripted import CountingIds, FakeClock, Refusal, ScriptedServer


@asynccontextmanager
async def asking(server: ScriptedServer) -> AsyncIterator[Client]:
    async with Client(
        server.address, token="secret", clock=FakeClock(), ids=CountingIds(), jitter=random.Random(1)
    ) as made:
        yield made


@pytest.fixture
def sync_client(server: ScriptedServer) -> Iterator[SyncClient]:
    clock = FakeClock()
    with SyncClient(
        server.address,
        token="secret",
        clock=clock,
        sleep=clock.sleep_now,
        ids=CountingIds(),
        jitter=random.Random(1),
    ) as made:
        yield made


MADE = pb.CreateTokenResponse(token=pb.Token(id="t-1"), secret="tnr_x")
PAGES = (
    pb.BrowseTokensResponse(tokens=[pb.Token(id="a"), pb.Token(id="b")], next_page_token="next"),
    pb.BrowseTokensResponse(tokens=[pb.Token(id="c")]),
)


def script(server: ScriptedServer) -> None:
    server.answers("CreateToken", MADE)
    server.answers("BrowseTokens", *PAGES)
    server.answers("RevokeToken", pb.RevokeTokenResponse())
    server.answers("VerifyLog", pb.VerifyLogResponse(ok=True, events=7))
    server.answers("BackupStore", pb.BackupStoreResponse(position=7, bytes=4096))
    server.answers("RetrieveStore", pb.RetrieveStoreResponse(engine="sqlite"))
    server.answers("StopJobs", Refusal(grpc.StatusCode.UNAVAILABLE), pb.StopJobsResponse(resume_token="r"))
    server.answers("PauseQueues", queue_service_pb2.PauseQueuesResponse(resume_token="r"))


def check(server: ScriptedServer) -> None:
    [token] = server.asked["CreateToken"]
    assert (token.role, token.subject, token.project, list(token.queues)) == (pb.ROLE_WORKER, "w", "p", ["q"])
    assert [request.page_token for request in server.asked["BrowseTokens"]] == ["", "next"]
    assert [request.page_size for request in server.asked["BrowseTokens"]] == [2, 2]
    assert server.asked["RevokeToken"][0].id == "t-1"
    assert server.asked["BackupStore"][0].path == "/backups/one.db"
    stops = server.asked["StopJobs"]
    assert [list(request.ids) for request in stops] == [["a", "b"], ["a", "b"]]
    assert stops[0].reason == "why"
    assert stops[0].request_id == stops[1].request_id != ""
    [pause] = server.asked["PauseQueues"]
    assert pause.request_id == "mine"
    assert {metadata["authorization"] for metadata in server.metadata} == {"Bearer secret"}


PAUSE = queue_service_pb2.PauseQueuesRequest.Item(name="gpu", paused=True)


async def test_asyncio(server: ScriptedServer) -> None:
    script(server)
    async with asking(server) as client:
        admin = client.admin
        assert (await admin.create_token(pb.ROLE_WORKER, "w", project="p", queues=["q"])).secret == "tnr_x"
        assert [token.id async for token in admin.browse_tokens(page_size=2)] == ["a", "b", "c"]
        await admin.revoke_token("t-1")
        assert (await admin.verify_log()).events == 7
        assert (await admin.backup_store("/backups/one.db")).bytes == 4096
        assert (await admin.retrieve_store()).engine == "sqlite"
        assert (await admin.stop_jobs(["a", "b"], "why")).resume_token == "r"
        await client.pause_queues([PAUSE], request_id="mine")
    check(server)


async def test_threads(server: ScriptedServer, sync_client: SyncClient) -> None:
    script(server)

    def ask() -> None:
        admin = sync_client.admin
        assert admin.create_token(pb.ROLE_WORKER, "w", project="p", queues=["q"]).secret == "tnr_x"
        assert [token.id for token in admin.browse_tokens(page_size=2)] == ["a", "b", "c"]
        admin.revoke_token("t-1")
        assert admin.verify_log().events == 7
        assert admin.backup_store("/backups/one.db").bytes == 4096
        assert admin.retrieve_store().engine == "sqlite"
        assert admin.stop_jobs(["a", "b"], "why").resume_token == "r"
        sync_client.pause_queues([PAUSE], request_id="mine")

    await asyncio.to_thread(ask)
    check(server)


async def test_what_takes_long_is_waited_for(server: ScriptedServer, sync_client: SyncClient) -> None:
    script(server)
    async with asking(server) as client:
        await client.admin.retrieve_store()
        await client.admin.verify_log()
        await client.admin.backup_store("/x")
        await client.admin.backup_store("/x", timeout_s=100)
    await asyncio.to_thread(sync_client.admin.verify_log)
    assert [0 < left < 31 for left in server.time_left] == [True, False, False, False, False]
    assert [left == 0 for left in server.time_left] == [False, True, True, False, True]
    assert 90 < server.time_left[3] < 101


async def test_a_refusal_is_an_error(server: ScriptedServer) -> None:
    server.answers("BackupStore", Refusal(grpc.StatusCode.FAILED_PRECONDITION, "BACKUP_FAILED", "the disk is full"))
    async with asking(server) as client:
        with pytest.raises(TenureError) as caught:
            await client.admin.backup_store("/x")
    assert caught.value.reason == "BACKUP_FAILED"


async def test_no_second_token_is_made_that_nobody_knows_of(server: ScriptedServer, sync_client: SyncClient) -> None:
    server.answers("CreateToken", Refusal(grpc.StatusCode.UNAVAILABLE), MADE)
    async with asking(server) as client:
        with pytest.raises(TenureError) as caught:
            await client.admin.create_token(pb.ROLE_USER, "u")
    assert (caught.value.code, len(server.asked["CreateToken"])) == (grpc.StatusCode.UNAVAILABLE, 1)
    server.forget()
    server.answers("CreateToken", Refusal(grpc.StatusCode.UNAVAILABLE), MADE)
    with pytest.raises(TenureError) as caught:
        await asyncio.to_thread(sync_client.admin.create_token, pb.ROLE_USER, "u")
    assert (caught.value.code, len(server.asked["CreateToken"])) == (grpc.StatusCode.UNAVAILABLE, 1)
