"""The HTTP server: addresses, and callers who are slow on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tenure.runtime.certificates import read_pair
from tenure.web import reading, serving
from tenure.web.failures import Unacceptable, native
from tenure.web.serving import CannotServe, address_of, bind

PATIENCE_S = 20.0
TLS = Path(__file__).parent.parent / "data" / "tls"


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def echo(request: Request) -> Response:
    try:
        return Response(await reading.read_body(request))
    except Unacceptable as refused:
        return native(refused)


async def endless(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


APP = Starlette(routes=[Route("/", hello), Route("/echo", echo, methods=["POST"]), Route("/endless", endless)])


@contextlib.asynccontextmanager
async def served(**more: Path) -> AsyncIterator[str]:
    opened = bind("127.0.0.1", 0)
    async with serving.serving(APP, opened, **more):
        yield address_of(opened)


async def connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = address.rsplit(":", 1)
    return await asyncio.open_connection(host, int(port))


async def ends(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes the connection."""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def test_it_serves_and_leaves_signals_alone() -> None:
    async with served() as address, httpx.AsyncClient(trust_env=False) as client:
        for _ in range(3):
            assert (await client.get(f"http://{address}/")).text == "hello"
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"http://{address}/")


async def test_addresses_that_cannot_be_had() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotServe, match="taken"):
            bind("127.0.0.1", port)
    with pytest.raises(CannotServe):
        bind("192.0.2.1", 0)
    with pytest.raises(CannotServe):
        bind("no.such.host.invalid", 0)


async def test_ipv6() -> None:
    try:
        opened = bind("[::1]", 0)
    except CannotServe:
        pytest.skip("this machine has no IPv6")
    with opened:
        assert address_of(opened).startswith("[::1]:")


async def test_a_header_that_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 2 * PATIENCE_S)
    async with served() as address:
        reader, writer = await connected(address)
        # A whole request first: the time begins anew with the second one.
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert b" 200 " in await reader.readuntil(b"hello")
        monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.3)
        silent, silent_writer = await connected(address)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ")
        assert await ends(reader) == b""
        assert await ends(silent) == b""
        writer.close()
        silent_writer.close()


async def test_an_idle_connection_is_kept_and_a_body_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as address:
        reader, writer = await connected(address)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readuntil(b"hello")
        # From here on each header comes in one piece: only what is timed like one by mistake would be cut off.
        monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.2)
        writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
        await asyncio.sleep(0.5)  # longer than a header may take
        writer.write(b"cd")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readuntil(b"abcd")
        await asyncio.sleep(0.5)  # between two requests
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readuntil(b"hello")
        writer.close()


async def test_a_body_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_SECONDS", 0.2)
    async with served() as address:
        reader, writer = await connected(address)
        writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
        async with asyncio.timeout(PATIENCE_S):
            assert b" 408 " in await reader.readline()
        writer.close()


async def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STALLED_SECONDS", 0.3)
    was_cut = asyncio.Event()
    cut = serving._Protocol._cut

    def cutting(protocol: serving._Protocol, why: str) -> None:
        cut(protocol, why)
        was_cut.set()

    monkeypatch.setattr(serving._Protocol, "_cut", cutting)
    async with served() as address:
        host, port = address.rsplit(":", 1)
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                await was_cut.wait()  # reads nothing until then
                with contextlib.suppress(ConnectionError):
                    while await loop.sock_recv(client, 1 << 20):
                        pass


async def test_encrypted() -> None:
    context = ssl.create_default_context(cafile=str(TLS / "authority.pem"))
    async with served(certificate=TLS / "first.pem", key=TLS / "first.key") as address:
        port = address.rsplit(":", 1)[1]
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.get(f"https://localhost:{port}/")).text == "hello"


async def test_a_renewed_pair_is_taken_over_and_one_that_does_not_fit_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "CERTIFICATE_SECONDS", 0.02)
    looks = asyncio.Semaphore(0)

    def looking(certificate: Path, key: Path) -> tuple[bytes, bytes]:
        looks.release()
        return read_pair(certificate, key)

    monkeypatch.setattr(serving, "read_pair", looking)
    files = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}

    def issue(certificate: str, key: str) -> None:
        for path, name in ((files["certificate"], f"{certificate}.pem"), (files["key"], f"{key}.key")):
            shutil.copy(TLS / name, path.with_suffix(".new"))
            os.replace(path.with_suffix(".new"), path)

    issue("first", "first")
    async with served(**files) as address:
        host, port = address.rsplit(":", 1)

        async def shown() -> list[str]:
            return (await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))).split()

        first, second = ((TLS / f"{name}.pem").read_text().split() for name in ("first", "second"))
        assert await shown() == first
        issue("second", "first")
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):  # the start's own, and two of what does not fit
                await looks.acquire()
        assert await shown() == first
        issue("second", "second")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await asyncio.sleep(0.02)
                if await shown() == second:
                    break


async def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    opened = bind("127.0.0.1", 0)
    with opened, pytest.raises(CannotServe, match="holds no certificate"):
        async with serving.serving(APP, opened, certificate=tmp_path / "x.pem", key=tmp_path / "x.pem"):
            pass
