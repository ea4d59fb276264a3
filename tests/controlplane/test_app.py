"""A whole server: its secrets, its socket, its start and its end."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from tenure.controlplane import app, listening
from tenure.controlplane.app import ControlPlane, ServerSettings
from tenure.controlplane.listening import CannotListen, Encryption
from tenure.controlplane.permissions import Role
from tenure.controlplane.secret_files import SecretFileError
from tenure.domain.job import Job
from tenure.runtime.clock import SystemClock
from tenure.runtime.ids import Uuid7Ids
from tenure.store.memory import MemoryStore
from tenure.store.store import Store, StoreDamaged
from tenure.v1 import admin_service_pb2, event_service_pb2, job_pb2, job_service_pb2
from tests.controlplane.callers import Caller, channel_to, refused
from tests.controlplane.harness import running_server

CERTIFICATES = Path(__file__).parents[1] / "data" / "tls"
BROWSE = job_service_pb2.BrowseJobsRequest()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def create(caller: Caller) -> job_service_pb2.CreateJobsResponse:
    item = job_service_pb2.CreateJobsRequest.Item(specification=job_pb2.JobSpecification(command="true"))
    response = await caller.ask(caller.jobs.CreateJobs, job_service_pb2.CreateJobsRequest(items=[item]))
    assert isinstance(response, job_service_pb2.CreateJobsResponse)
    return response


# --- secrets and the store ------------------------------------------------------------------------------------------


async def test_a_data_directory_keeps_jobs_tokens_and_keys_over_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    url = f"sqlite://{folder}"
    async with running_server(url) as server, channel_to(server.address) as channel:
        assert mode(folder) == 0o700
        assert (mode(folder / "admin.token"), mode(folder / "server.key")) == (0o600, 0o600)
        secret = (folder / "admin.token").read_text().strip()
        assert secret == server.admin_secret
        admin = Caller(channel, secret)
        created = await create(admin)
        user = await server.token(subject="alice")
    async with running_server(url) as server, channel_to(server.address) as channel:
        assert server.admin_secret == secret
        admin = Caller(channel, secret)
        jobs = await admin.ask(admin.jobs.BrowseJobs, BROWSE)
        assert [job.id for job in jobs.jobs] == [created.responses[0].id]
        # Tokens to resume from survive too; a position is where it was.
        request = event_service_pb2.ReadEventsRequest(resume_token=created.resume_token)
        responses = [response async for response in admin.open(admin.log.ReadEvents, request)]
        assert [event for response in responses for event in response.events] == []
        alice = Caller(channel, user)
        await alice.ask(alice.jobs.BrowseJobs, BROWSE)
        tokens = await admin.ask(admin.admin.BrowseTokens, admin_service_pb2.BrowseTokensRequest())
        assert [token.subject for token in tokens.tokens] == ["local", "alice"]


async def test_a_restart_writes_nothing(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'data'}"
    async with running_server(url) as server:
        position = server.plane.store.head().position
    async with running_server(url) as server:
        assert server.plane.store.head().position == position


async def test_an_administrators_token_that_was_revoked_is_made_anew(tmp_path: Path) -> None:
    store = MemoryStore()

    async def secret() -> str:
        plane = ControlPlane(ServerSettings(data_dir=tmp_path), store, SystemClock(), Uuid7Ids())
        await plane.prepare()
        await plane.stop()
        return plane.admin_secret

    first = await secret()
    assert await secret() == first
    (row,) = await store.list_tokens()
    await store.revoke_token(row.id, 1)
    second = await secret()
    assert second != first
    assert (tmp_path / "admin.token").read_text().strip() == second
    assert await secret() == second


async def test_a_secret_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("")
    with pytest.raises(SecretFileError, match=r"admin\.token is empty"):
        async with running_server(data_dir=tmp_path):
            pass
    (tmp_path / "server.key").write_text("no key")
    with pytest.raises(SecretFileError, match=r"server\.key is no key"):
        async with running_server(data_dir=tmp_path):
            pass


async def test_tokens_for_pages_and_resuming_are_of_one_server() -> None:
    async with (
        running_server() as one,
        running_server() as two,
        channel_to(one.address) as first,
        channel_to(two.address) as second,
    ):
        token = (await create(Caller(first, one.admin_secret))).resume_token
        admin = Caller(second, two.admin_secret)
        request = event_service_pb2.ReadEventsRequest(resume_token=token)
        answer = await refused(admin.open(admin.log.ReadEvents, request).read())
        assert answer.reason == "RESUME_TOKEN_INVALID"


# --- the socket -----------------------------------------------------------------------------------------------------


async def test_two_servers_do_not_share_a_port() -> None:
    async with running_server() as server:
        with pytest.raises(CannotListen, match="the port is taken"):
            async with running_server(listen=server.address):
                pass
        async with channel_to(server.address) as channel:
            admin = Caller(channel, server.admin_secret)
            await admin.ask(admin.jobs.BrowseJobs, BROWSE)


@pytest.mark.parametrize("listen", ["localhost", ":1", "127.0.0.1:99999", "1.2.3.4:x", "", "a b:1"])
async def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(CannotListen, match="write HOST:PORT"):
        async with running_server(listen=listen):
            pass


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("[::]", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert listening.is_loopback(host) == loopback


async def test_an_open_address_wants_encryption_or_a_word() -> None:
    with pytest.raises(CannotListen, match="--insecure"):
        async with running_server(listen="0.0.0.0:0"):
            pass
    async with running_server(listen="0.0.0.0:0", insecure=True) as server:
        port = server.address.split(":")[1]
        async with channel_to(f"127.0.0.1:{port}") as channel:
            admin = Caller(channel, server.admin_secret)
            await admin.ask(admin.jobs.BrowseJobs, BROWSE)
            # Reflection is for those on this machine.
            method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            )
            call = method(timeout=10)
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_encryption_and_its_renewal(tmp_path: Path) -> None:
    files = Encryption(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")

    def issue(name: str) -> None:
        shutil.copy(CERTIFICATES / f"{name}.key", files.key)
        shutil.copy(CERTIFICATES / f"{name}.pem", files.certificate)

    issue("first")
    credentials = grpc.ssl_channel_credentials((CERTIFICATES / "authority.pem").read_bytes())
    async with running_server(encryption=files, listen="localhost:0") as server:
        host, port = server.address.split(":")
        for name in ("first", "second"):
            issue(name)
            async with channel_to(server.address, credentials) as channel:
                admin = Caller(channel, server.admin_secret)
                await admin.ask(admin.jobs.BrowseJobs, BROWSE)
            shown = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
            assert shown.split() == (CERTIFICATES / f"{name}.pem").read_text().split()
        async with channel_to(server.address) as channel:
            admin = Caller(channel, server.admin_secret)
            with pytest.raises(grpc.aio.AioRpcError) as plain:
                await admin.ask(admin.jobs.BrowseJobs, BROWSE)
            assert plain.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_pair_that_does_not_fit_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    files = Encryption(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    shutil.copy(CERTIFICATES / "first.pem", files.certificate)
    shutil.copy(CERTIFICATES / "first.key", files.key)
    async with running_server(encryption=files, listen="localhost:0") as server:
        host, port = server.address.split(":")
        for renewed, name in ((files.certificate, "second.pem"), (files.key, "second.key")):
            shown = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
            assert shown.split() == (CERTIFICATES / "first.pem").read_text().split()
            shutil.copy(CERTIFICATES / name, renewed)
        shown = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
        assert shown.split() == (CERTIFICATES / "second.pem").read_text().split()


async def test_a_key_of_another_certificate_stops_the_start(tmp_path: Path) -> None:
    files = Encryption(certificate=CERTIFICATES / "first.pem", key=CERTIFICATES / "second.key")
    with pytest.raises(CannotListen, match=r"second\.key is not the key of .*first\.pem"):
        async with running_server(encryption=files):
            pass


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), ("nonsense", "holds no certificate")])
async def test_a_certificate_that_cannot_be_used_stops_the_start(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    files = Encryption(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    if content is not None:
        files.certificate.write_text(content)
        files.key.write_text(content)
    with pytest.raises(CannotListen, match=problem):
        async with running_server(encryption=files):
            pass


# --- the end --------------------------------------------------------------------------------------------------------


async def test_stopping_ends_watchers_with_a_reason_and_soon() -> None:
    async with running_server() as server, channel_to(server.address) as channel:
        admin = Caller(channel, server.admin_secret)
        watching = admin.open(admin.jobs.WatchJobs, job_service_pb2.WatchJobsRequest())
        await watching.read()
        server.stop()
        answer = await refused(_to_the_end(watching))
        assert (answer.code, answer.reason) == ("UNAVAILABLE", "DRAINING")


async def _to_the_end(call: grpc.aio.UnaryStreamCall[object, object]) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_defect_beside_the_calls_ends_the_server() -> None:
    class Broken(MemoryStore):
        async def leased(self, after_id: str, limit: int) -> list[Job]:
            raise RuntimeError("broken")

    plane = ControlPlane(ServerSettings(), Broken(), SystemClock(), Uuid7Ids())
    await plane.prepare()
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(20):
            await plane.run()
    await plane.stop()


async def test_what_breaks_while_it_serves_leaves_nobody_listening() -> None:
    planes: list[ControlPlane] = []

    @asynccontextmanager
    async def breaks(plane: ControlPlane) -> AsyncIterator[None]:
        planes.append(plane)
        if plane.address:
            raise RuntimeError("broken")
        yield

    with pytest.raises(ExceptionGroup):
        async with running_server(beside=breaks):
            pass
    host, _, port = planes[0].address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_a_start_on_damage_says_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(MemoryStore):
        async def leased(self, after_id: str, limit: int) -> list[Job]:
            raise StoreDamaged("the database is damaged")

    async def opened(*_: object, **__: object) -> Store:
        return Damaged()

    monkeypatch.setattr(app, "open_store", opened)
    with capture_logs() as logs, pytest.raises(StoreDamaged, match=r"^the database is damaged$"):
        async with running_server():
            pass
    assert "failed" not in [one["event"] for one in logs]


async def test_the_local_token_is_an_administrators() -> None:
    async with running_server() as server:
        (row,) = await server.plane.store.list_tokens()
        assert (row.role, row.subject) == (Role.ADMIN, app.LOCAL_ADMIN)
