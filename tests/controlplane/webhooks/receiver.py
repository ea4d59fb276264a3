"""Somebody who is told of jobs: a real HTTP server on loopback, which answers as a test wants it to."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h11
from standardwebhooks import Webhook


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return str(self.json["type"])

    @property
    def job_id(self) -> str:
        return str(self.json["data"]["jobId"])

    def verified(self, secret: str) -> Any:
        """The body, once the signature was found good by the library that receivers use."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Reply:
    """An answer. `hang` gives none at all, `trickle` one byte now and then, `endless` a body without an end."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    hang: bool = False
    trickle: bool = False
    endless: bool = False
    raw: bytes = b""


Answering = Callable[[Seen], Reply | int]


class Receiver:
    """The server. `answer` decides on every request; 200 unless a test says otherwise."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.answer: Answering = lambda seen: 200
        self.port = 0
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """Its address, by a name that the tests' resolver knows."""
        return f"http://hooks.example:{self.port}/"

    def replies(self, *replies: Reply | int) -> None:
        """Answer the next requests so, and then with 200."""
        rest = list(replies)
        self.answer = lambda seen: rest.pop(0) if rest else 200

    async def until(self, count: int) -> list[Seen]:
        """What came, once it is so much."""
        async with asyncio.timeout(30):
            while len(self.seen) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.seen

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with suppress(ConnectionError, h11.RemoteProtocolError):
                seen = await _read(reader)
                if seen is not None:
                    self.seen.append(seen)
                    reply = self.answer(seen)
                    self._changed.set()
                    await _write(writer, Reply(status=reply) if isinstance(reply, int) else reply)
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own, with TLS if asked for."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    http = h11.Connection(our_role=h11.SERVER)
    request: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Seen(request.method.decode(), request.target.decode(), headers, body)
        else:
            return None


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    if reply.hang:
        await asyncio.sleep(30)
    if reply.raw:
        writer.write(reply.raw)
        await writer.drain()
        return
    lines = [f"HTTP/1.1 {reply.status} x", *(f"{name}: {value}" for name, value in reply.headers)]
    if not reply.endless:
        lines.append("content-length: 2")
    head = "\r\n".join([*lines, "", ""]).encode()
    if reply.trickle:
        for byte in head:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.05)
    writer.write(head + b"ok")
    await writer.drain()
    while reply.endless:
        writer.write(b"x" * 65536)
        await writer.drain()
