"""The HTTP server: uvicorn on the loop of the process, with limits on callers who are slow on purpose.

It takes a socket that is open already, so that an address that cannot be had is known before anything else begins; it
leaves signals alone and ends when it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tenure.runtime.certificates import CertificateUnusable, read_pair
from tenure.runtime.groups import TaskGroup
from tenure.runtime.logs import get_logger

log = get_logger("http")

BACKLOG = 1024
MAX_CONNECTIONS = 10_000
MAX_HEADER_BYTES = 32 * 1024
# A connection whose request is not complete, but for its body, within this is cut off.
REQUEST_SECONDS = 10.0
# And one whose reader takes nothing.
STALLED_SECONDS = 30.0
IDLE_SECONDS = 65
# What is being answered when the server stops is given so long.
STOP_SECONDS = 3
CERTIFICATE_SECONDS = 60.0


class CannotServe(Exception):
    """The address cannot be had, or the certificate cannot be used; the text is for the operator."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; port 0 is any free one.

    Raises:
        CannotServe: it is taken, or not of this machine.
    """
    plain = host.strip("[]")
    try:
        infos = socket.getaddrinfo(plain, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = infos[0]
        opened = socket.socket(family, kind, protocol)
    except OSError:
        raise CannotServe(f"cannot serve HTTP on {host}:{port}: it is no address of this machine") from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError:
        opened.close()
        text = f"cannot serve HTTP on {host}:{port}: the port is taken, or the address is not one of this machine"
        raise CannotServe(text) from None
    return opened


def address_of(opened: socket.socket) -> str:
    """`HOST:PORT` of a socket."""
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, opened: socket.socket, *, certificate: Path | None = None, key: Path | None = None
) -> AsyncIterator[None]:
    """Serve an application on a socket from here to the end of the context.

    Raises:
        CannotServe: the certificate cannot be used.
    """
    config = uvicorn.Config(
        cast(Any, app),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    if certificate is not None and key is not None:
        try:
            read_pair(certificate, key)
        except CertificateUnusable as error:
            raise CannotServe(str(error)) from None
    config.load()
    server = _Server(config)
    async with TaskGroup() as group:
        # The socket is asked for connections once this is done; until then they wait in its backlog.
        running = group.create_task(server.serve(sockets=[opened]))
        renewing = None
        if certificate is not None and key is not None and config.ssl is not None:
            renewing = group.create_task(_renew(config.ssl, certificate, key))
        try:
            yield
        finally:
            server.stop()
            if renewing is not None:
                renewing.cancel()
            await asyncio.wait((running,))


class _Server(uvicorn.Server):
    """uvicorn's server without its signals and its ticking."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stop.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not self.should_exit:
            self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stop.wait()


class _Protocol(H11Protocol):
    """Cuts off who does not finish a request's header, and who does not read a response."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._stalled: asyncio.TimerHandle | None = None
        self._unfinished: asyncio.TimerHandle | None = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm("_stalled")
        self._calm("_unfinished")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_SECONDS, self._cut, "it does not read")

    def resume_writing(self) -> None:
        self._calm("_stalled")
        super().resume_writing()

    def _watch(self) -> None:
        """Time the header of a request while one is being received: not while one is answered, nor between two."""
        answering = self.cycle is not None and not self.cycle.response_complete
        waiting = self.timeout_keep_alive_task is not None
        if answering or waiting or self.transport.is_closing():
            self._calm("_unfinished")
        elif self._unfinished is None:
            self._unfinished = self.loop.call_later(REQUEST_SECONDS, self._cut, "its request is not complete")

    def _calm(self, timer: str) -> None:
        handle = getattr(self, timer)
        if handle is not None:
            handle.cancel()
            setattr(self, timer, None)

    def _cut(self, why: str) -> None:
        log.info("connection_cut", why=why, client=self.client[0] if self.client else "")
        self.transport.abort()


async def _renew(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Take over certificates that were renewed, for new connections."""

    def stamps() -> tuple[int, int]:
        return certificate.stat().st_mtime_ns, key.stat().st_mtime_ns

    seen = stamps()
    while True:
        await asyncio.sleep(CERTIFICATE_SECONDS)
        # What is being replaced at this moment is read the next time.
        with contextlib.suppress(OSError, ssl.SSLError, CertificateUnusable):
            if (now := stamps()) != seen:
                # A context that was given a pair which does not fit has lost the one it had.
                read_pair(certificate, key)
                context.load_cert_chain(certificate, key)
                seen = now
