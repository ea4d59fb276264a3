"""AdminService: tokens, jobs that are stopped, the check of the log, the state of the store and its backup."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tenure.domain.events import job_stream
from tenure.v1 import admin_service_pb2 as pb
from tenure.v1 import job_pb2, job_service_pb2
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
    assert shown.read_only_reason == ""
    server.plane.store.read_only_reason = "the disk is full"
    shown = await admin.ask(admin.admin.RetrieveStore, pb.RetrieveStoreRequest())
    assert shown.read_only_reason == "the disk is full"


async def create(caller: Caller, count: int = 1) -> list[str]:
    specification = job_pb2.JobSpecification(command="true", queue="default")
    items = [job_service_pb2.CreateJobsRequest.Item(specification=specification)] * count
    response = await caller.ask(caller.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=items))
    return [item.id for item in response.responses]


async def stop(caller: Caller, *ids: str, request_id: str = "") -> pb.StopJobsResponse:
    request = pb.StopJobsRequest(ids=ids, reason="the rack burns", request_id=request_id)
    response = await caller.ask(caller.admin.StopJobs, request)
    assert isinstance(response, pb.StopJobsResponse)
    return response


async def job_of(caller: Caller, job_id: str) -> job_pb2.Job:
    response = await caller.ask(caller.jobs.RetrieveJob, job_service_pb2.RetrieveJobRequest(id=job_id))
    job: job_pb2.Job = response.job
    return job


async def test_an_operator_ends_jobs_of_anybody(server: RunningServer, admin: Caller) -> None:
    async with channel_to(server.address) as channel:
        alice = Caller(channel, await server.token(subject="alice"))
        first, second = await create(alice, 2)
        assert (await stop(admin, first, second)).resume_token
        job = await job_of(alice, first)
        assert (job.status.state, job.status.outcome) == (job_pb2.JOB_STATE_FAILURE, job_pb2.JOB_OUTCOME_SYSTEM)
        assert job.updates[-1].status == "Your job has been stopped by the operator: the rack burns"
        stream = await server.plane.store.read_stream(job_stream(second), 0, 100)
        assert stream[-1].actor == "admin:local"
        answer = await refused(stop(alice, second))
        assert answer.reason == "ROLE_NOT_ALLOWED"


async def test_stopping_again_changes_nothing(server: RunningServer, admin: Caller) -> None:
    (job_id,) = await create(admin)
    await stop(admin, job_id, job_id, request_id="r-1")
    position = server.plane.store.head().position
    await stop(admin, job_id)
    await stop(admin, job_id, job_id, request_id="r-1")
    assert server.plane.store.head().position == position
    answer = await refused(stop(admin, job_id, request_id="r-1"))
    assert answer.reason == "REQUEST_ID_REUSED"


async def test_all_are_stopped_or_none(admin: Caller) -> None:
    (job_id,) = await create(admin)
    answer = await refused(stop(admin, job_id, "nobody"))
    assert (answer.code, answer.reason) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert answer.fields == (("ids[1]", "there is no job nobody"),)
    assert (await job_of(admin, job_id)).status.state == job_pb2.JOB_STATE_IN_QUEUE


async def test_a_store_in_memory_has_no_backup(admin: Caller) -> None:
    answer = await refused(admin.ask(admin.admin.BackupStore, pb.BackupStoreRequest(path="/x")))
    assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "BACKUP_FAILED")


async def test_a_backup_is_made_while_the_server_runs(tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    async with running_server(f"sqlite://{tmp_path / 'data'}") as server, channel_to(server.address) as channel:
        admin = Caller(channel, server.admin_secret)
        await create(admin, 3)
        made = await admin.ask(admin.admin.BackupStore, pb.BackupStoreRequest(path=str(target)))
        assert (made.position, made.bytes) == (server.plane.store.head().position, target.stat().st_size)
        answer = await refused(admin.ask(admin.admin.BackupStore, pb.BackupStoreRequest(path=str(target))))
        assert (answer.reason, "is there already" in answer.message) == ("BACKUP_FAILED", True)
        inside = str(tmp_path / "data" / "copy.db")
        answer = await refused(admin.ask(admin.admin.BackupStore, pb.BackupStoreRequest(path=inside)))
        assert "in the data directory" in answer.message
