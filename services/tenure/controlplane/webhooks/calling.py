"""One HTTP call to an endpoint: a POST, over a connection of its own, to an address that was vetted.

The name is resolved once and what was vetted is connected to, so that a name cannot lead elsewhere the second time; TLS
and the Host header still speak of the name. Redirects are answers like any other, proxies of the environment are not
asked, and of the answer only its status counts: its body is read, up to a limit, and forgotten.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import h11

from tenure import __version__
from tenure.controlplane.webhooks.targets import Target, TargetRules, vetted

LIMIT_S = 10.0
CONNECT_S = 4.0
MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 16 * 1024
# Names that can be looked up at the same time; a slow one keeps its thread.
RESOLVERS = 16
# Addresses of a name that are tried.
MAX_ADDRESSES = 4

USER_AGENT = f"tenure/{__version__} (webhooks)"


class NotAnswered(Exception):
    """There was no answer; the text says why, for people, and nothing of what is inside our network.

    `blocked` when it was not even tried, because it may not be.
    """

    def __init__(self, message: str, *, blocked: bool = False) -> None:
        super().__init__(message)
        self.blocked = blocked


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an endpoint answered. `retry_after_s` is how long it asked to be left alone, 0: it did not."""

    status: int
    retry_after_s: int = 0


class Resolver(Protocol):
    """Finds addresses."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """All addresses of a name.

        Raises:
            OSError: it has none, or that cannot be found out.
        """


class Connector(Protocol):
    """Opens connections."""

    async def connect(
        self, address: str, port: int, tls_name: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address; with TLS, where there is a name, to somebody who proves to have it.

        Raises:
            OSError: it cannot be made; `ssl.SSLError` when TLS is at fault.
        """


class SystemResolver:
    """The machine's resolver, in threads of its own: looking up a name may take long and cannot be given up."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=RESOLVERS, thread_name_prefix="tenure-resolver")

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """See `Resolver.resolve`."""
        found = await asyncio.get_running_loop().run_in_executor(self._pool, _lookup, host, port)
        return [str(address[0]) for *_, address in found]

    def close(self) -> None:
        """Take no more names; does not wait for those that are being looked up."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str, port: int) -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class SystemConnector:
    """Sockets of this machine; `context` is what TLS trusts, the machine's certificates where left out."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context

    async def connect(
        self, address: str, port: int, tls_name: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `Connector.connect`."""
        if tls_name is None:
            return await asyncio.open_connection(address, port)
        if self._context is None:
            # Not before it is needed: reading the machine's certificates takes a while.
            self._context = ssl.create_default_context()
        return await asyncio.open_connection(address, port, ssl=self._context, server_hostname=tls_name)


class Caller:
    """Makes the calls.

    Args:
        rules: which addresses may be called.
        resolver: finds them.
        connector: connects to them.
        limit_s: how long a call may take, all of it, in real seconds.
    """

    def __init__(
        self, rules: TargetRules, resolver: Resolver, connector: Connector, *, limit_s: float = LIMIT_S
    ) -> None:
        self._rules = rules
        self._resolver = resolver
        self._connector = connector
        self._limit_s = limit_s

    async def post(self, target: Target, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        """POST a body and take the answer.

        Raises:
            NotAnswered: there is none.
        """
        answer: Answer | None = None
        try:
            async with asyncio.timeout(self._limit_s):
                reader, writer = await self._connect(target)
                try:
                    exchange = _Exchange(reader, writer)
                    answer = await exchange.ask(target, headers, body)
                    # The status decides. The rest is read so that the endpoint may finish what it says.
                    with suppress(OSError, h11.RemoteProtocolError):
                        await exchange.rest()
                finally:
                    writer.transport.abort()
        except TimeoutError:
            if answer is None:
                raise NotAnswered(f"no answer within {self._limit_s:g} s") from None
        assert answer is not None
        return answer

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls_name = target.host if target.secure else None
        failure = NotAnswered("no connection could be made")
        for address in (await self._addresses(target))[:MAX_ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await self._connector.connect(address, target.port, tls_name)
            except ssl.SSLCertVerificationError:
                raise NotAnswered("its certificate is not trusted") from None
            except ssl.SSLError:
                raise NotAnswered("no encrypted connection could be made") from None
            except ConnectionRefusedError:
                failure = NotAnswered("it refuses connections")
            except TimeoutError:
                failure = NotAnswered("no connection could be made in time")
            except OSError:
                failure = NotAnswered("no connection could be made")
        raise failure

    async def _addresses(self, target: Target) -> list[str]:
        try:
            found = await self._resolver.resolve(target.host, target.port)
        except (OSError, UnicodeError):
            raise NotAnswered("its name has no address") from None
        if not found:
            raise NotAnswered("its name has no address")
        allowed = vetted(found, self._rules)
        if not allowed:
            raise NotAnswered("blocked: its name leads to an address that is not public", blocked=True)
        return allowed


class _Exchange:
    """A request and its answer over a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._room = MAX_HEAD_BYTES + MAX_BODY_BYTES

    async def ask(self, target: Target, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        """Send a request, and read the answer as far as its status and headers."""
        request = h11.Request(
            method="POST",
            target=target.path,
            headers=[
                ("host", target.authority),
                ("user-agent", USER_AGENT),
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("accept", "*/*"),
                ("connection", "close"),
                *headers,
            ],
        )
        # Who answers before having heard us out may close at once: the answer counts all the same.
        with suppress(ConnectionError):
            for part in (request, h11.Data(data=body), h11.EndOfMessage()):
                self._writer.write(self._http.send(part) or b"")
            await self._writer.drain()
        try:
            while True:
                event = await self._next()
                if isinstance(event, h11.Response):
                    return Answer(status=event.status_code, retry_after_s=_retry_after(event))
                if not isinstance(event, h11.InformationalResponse):
                    raise NotAnswered("it closed the connection without an answer")
        except h11.RemoteProtocolError:
            raise NotAnswered("what it answered is not HTTP") from None
        except OSError:
            raise NotAnswered("it closed the connection without an answer") from None

    async def rest(self) -> None:
        """Read the answer's body, and forget it."""
        while not isinstance(await self._next(), h11.EndOfMessage | h11.ConnectionClosed):
            pass

    async def _next(self) -> object:
        while True:
            event = self._http.next_event()
            if event is h11.PAUSED:
                return h11.ConnectionClosed()
            if event is not h11.NEED_DATA:
                return event
            if self._room <= 0:
                return h11.ConnectionClosed()
            data = await self._reader.read(min(self._room, MAX_HEAD_BYTES))
            self._room -= len(data)
            if not data and self._http.their_state is h11.SEND_RESPONSE:
                raise ConnectionResetError
            self._http.receive_data(data)


def _retry_after(response: h11.Response) -> int:
    for name, value in response.headers:
        if name == b"retry-after" and value.isdigit() and len(value) < 10:
            return int(value)
    return 0
