"""The contract over a real SeaweedFS, and what happens when a server refuses, stalls or breaks off."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tenure.agent.sync.objects import BLOCK, SHA256_METADATA, ObjectRefused, ObjectStore, StoreUnreachable
from tenure.agent.sync.s3 import S3Store
from tenure.agent.sync.s3_client import S3Clients
from tenure.runtime.clock import SystemClock
from tests.agent.conftest import Eventually
from tests.agent.sync.store_contract import StoreContract
from tests.agent.sync.stores import OpenGate, content, listing, put, stored
from tests.servers.seaweedfs import READER, SeaweedFS

pytestmark = pytest.mark.processes

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3: S3Store) -> ObjectStore:
        return s3

    @pytest.fixture
    def bucket(self, s3_bucket: str) -> str:
        return s3_bucket


@pytest.fixture
def other(executor: ThreadPoolExecutor, clock: SystemClock) -> Callable[..., S3Store]:
    """A store at another address, or with other credentials."""

    def make(environment: dict[str, str], read_timeout_s: float = 1.0) -> S3Store:
        clients = S3Clients(environment, connections=8)
        return S3Store(clients=clients, executor=executor, clock=clock, read_timeout_s=read_timeout_s)

    return make


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[dict[str, str]]:
    """The environment that leads to a server which answers so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(reader, writer)
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    async with running:
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }


@pytest.mark.parametrize("page_size", [1, 5, 12])
async def test_long_listings_come_in_pages(
    s3_bucket: str, clients: S3Clients, executor: ThreadPoolExecutor, clock: SystemClock, gate: OpenGate, page_size: int
) -> None:
    store = S3Store(clients=clients, executor=executor, clock=clock, page_size=page_size)
    keys = [f"many/{number:02}" for number in range(12)]
    for key in keys:
        await put(store, s3_bucket, key, b"", gate=gate)
    assert await listing(store, s3_bucket, "many/") == keys


async def test_wrong_credentials_are_refused(
    seaweedfs: SeaweedFS, other: Callable[..., S3Store], gate: OpenGate
) -> None:
    store = other({**seaweedfs.environment(), "AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(ObjectRefused, match="credentials are wrong"):
        await listing(store, "bucket")
    with pytest.raises(ObjectRefused, match="credentials are wrong"):
        await put(store, "bucket", "key", b"", gate=gate)


async def test_one_refused_object_is_refused(
    seaweedfs: SeaweedFS, s3: S3Store, other: Callable[..., S3Store], gate: OpenGate
) -> None:
    seaweedfs.create_bucket("guarded")
    for key in ("open/a", "closed/b"):
        await put(s3, "guarded", key, b"bytes", gate=gate)
    reader = other({**seaweedfs.environment(), **READER})
    assert await stored(reader, "guarded", "open/a") == b"bytes"
    [info] = [each async for each in s3.list("guarded", "closed/")]
    with pytest.raises(ObjectRefused, match="get s3://guarded/closed/b: the worker's credentials do not allow it"):
        await reader.get("guarded", "closed/b", content(b"")._file, expected=info)
    with pytest.raises(ObjectRefused, match="do not allow it"):
        await put(reader, "guarded", "open/c", b"bytes", gate=gate)


@pytest.mark.parametrize("size", [10, 2 * BLOCK + 10])
async def test_bytes_that_are_not_what_was_stored_are_refused(
    s3: S3Store, s3_bucket: str, gate: OpenGate, size: int
) -> None:
    body = content(b"y" * size)
    await s3.put(s3_bucket, "key", body, gate=gate, metadata={SHA256_METADATA: hashlib.sha256(b"z" * size).hexdigest()})
    body.close()
    with pytest.raises(ObjectRefused, match="do not have the object's checksum"):
        await stored(s3, s3_bucket, "key")


async def test_nobody_there_is_unreachable(other: Callable[..., S3Store], gate: OpenGate) -> None:
    async with server(lambda _reader, _writer: asyncio.sleep(0)) as environment:
        pass  # its port is free again
    with pytest.raises(StoreUnreachable, match="EndpointConnectionError"):
        await listing(other(environment), "bucket")
    with pytest.raises(StoreUnreachable, match="EndpointConnectionError"):
        await put(other(environment), "bucket", "key", b"", gate=gate)


@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Server Error", "429 Too Many Requests"])
async def test_an_error_of_the_server_is_unreachable(
    other: Callable[..., S3Store], gate: OpenGate, status: str
) -> None:
    requests = 0

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    async with server(busy) as environment:
        with pytest.raises(StoreUnreachable):
            await put(other(environment), "bucket", "key", b"", gate=gate)
        assert requests == 1  # boto3 repeats nothing by itself


async def test_half_an_object_is_unreachable(other: Callable[..., S3Store]) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 10\r\nConnection: close\r\n\r\n')
        writer.write(b"" if request.startswith(b"HEAD") else b"half")
        await writer.drain()

    async with server(half) as environment:
        with pytest.raises(StoreUnreachable, match=r"get s3://bucket/key"):
            await stored(other(environment), "bucket", "key")


async def test_a_server_that_says_nothing_is_unreachable(other: Callable[..., S3Store], clock: SystemClock) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as environment:
        store = other(environment)
        with pytest.raises(StoreUnreachable, match=r"ReadTimeoutError|longer than the lease"):
            await put(store, "bucket", "key", b"bytes", gate=OpenGate(clock, window_s=1.5))
        with pytest.raises(StoreUnreachable, match=r"ReadTimeoutError|longer than the lease"):
            await listing(store, "bucket")


async def test_a_body_that_is_not_sent_in_time_is_broken_off(other: Callable[..., S3Store], clock: SystemClock) -> None:
    """A server that takes the body a little at a time never gets all of it."""
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        while data := await reader.read(4096):
            received += len(data)
            await asyncio.sleep(0.01)

    size = 12_000_000
    async with server(slow) as environment:
        store = other(environment)
        with pytest.raises(StoreUnreachable, match=r"longer than the lease|Error"):
            await put(store, "bucket", "key", b"x" * size, gate=OpenGate(clock, window_s=1.5))
    assert received < size


async def test_a_cancelled_put_has_ended(other: Callable[..., S3Store], gate: OpenGate) -> None:
    """A request on its way may yet be carried out: until that is decided, whoever asked for it has not ended."""
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(len(b"bytes"))
        arrived.set()
        await answer.wait()
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        await writer.drain()

    async with server(late) as environment:
        putting = asyncio.create_task(put(other(environment), "bucket", "key", b"bytes", gate=gate))
        await asyncio.wait_for(arrived.wait(), 20)
        for _ in range(2):
            putting.cancel()
            await asyncio.wait({putting}, timeout=0.05)
            assert not putting.done()
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(putting, 20)


async def test_a_cancelled_put_ends_although_the_server_says_nothing(
    other: Callable[..., S3Store], gate: OpenGate, eventually: Eventually
) -> None:
    open_now = 0
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        await reader.readuntil(b"\r\n\r\n")
        open_now += 1
        arrived.set()
        await reader.read()
        open_now -= 1

    async with server(silent) as environment:
        store = other(environment)
        gate.window_s = 2.1
        putting = asyncio.create_task(put(store, "bucket", "key", b"bytes", gate=gate))
        await asyncio.wait_for(arrived.wait(), 20)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(putting, 20)
        await eventually(lambda: not open_now)


async def test_a_cancelled_get_does_not_wait_for_much_more_of_a_slow_object(other: Callable[..., S3Store]) -> None:
    sent = 0
    begun = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 100000000\r\nConnection: close\r\n\r\n')
        while not request.startswith(b"HEAD"):
            writer.write(b"x" * 4096)
            await writer.drain()
            sent += 4096
            begun.set()
            await asyncio.sleep(0.005)

    async with server(slow) as environment:
        getting = asyncio.create_task(stored(other(environment), "bucket", "key"))
        await asyncio.wait_for(begun.wait(), 20)
        getting.cancel()
        before = sent
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(getting, 20)
        assert sent - before < 500_000


def test_regions_and_addresses_come_from_the_environment() -> None:
    def meta(environment: dict[str, str]) -> Any:
        return S3Clients(environment, connections=1).get(connect_s=1.0, read_s=1.0).meta

    amazon = meta({"AWS_REGION": "eu-north-1"})
    assert amazon.region_name == "eu-north-1"
    assert amazon.endpoint_url == "https://s3.eu-north-1.amazonaws.com"
    assert amazon.config.s3 == {}
    own = meta({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
    assert own.endpoint_url == "http://127.0.0.1:1"
    assert own.config.s3 == {"addressing_style": "path"}
