"""Streams over HTTP: server-sent events for browsers, a line of JSON for each message for everybody else.

Which of them is decided by `Accept: text/event-stream`. A stream that is refused before its first message is answered
with the error's status code; one that ends later says why in its last line, as the code has been sent by then. Browsers
never come back after an error's code: where that would be worth while, they are told in an event at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from google.protobuf.message import Message
from google.rpc import code_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tenure.runtime.calls import CallFailed
from tenure.runtime.groups import TaskGroup
from tenure.web.answers import json_bytes
from tenure.web.failures import status_value
from tenure.web.jsonproto import to_json

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

# So long is waited for the first message, which may be a refusal, before the response begins.
FIRST_SECONDS = 0.5
# Proxies cut connections on which nothing moves; a comment moves.
QUIET_SECONDS = 15.0
# A browser that has lost the connection comes back after this.
RETRY_MS = 1000
# What passes: a server that is stopping or has its hands full.
PASSING = frozenset({code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED})

Messages = AsyncGenerator[Message, None]


def wants_events(request: Request) -> bool:
    """Whether the caller takes server-sent events."""
    return SSE in request.headers.get("accept", "")


async def stream_response(request: Request, messages: Messages, token_of: Callable[[Message], str]) -> Response:
    """The response that carries a stream's messages for as long as both sides are there.

    Args:
        request: the request that it answers.
        messages: the stream; it is closed at the end.
        token_of: where a reader would go on after a message; "" for none.

    Raises:
        CallFailed: the stream was refused, and whoever asked is to see the code.
    """
    events = wants_events(request)
    waiting = asyncio.ensure_future(anext(messages, None))
    try:
        await asyncio.wait((waiting,), timeout=FIRST_SECONDS)
        if waiting.done() and not (events and _will_pass(waiting)):
            waiting.result()
    except BaseException:
        waiting.cancel()
        await messages.aclose()
        raise
    return _Streaming(_events(messages, waiting, token_of) if events else _lines(messages, waiting), events=events)


def _will_pass(waiting: asyncio.Future[Message | None]) -> bool:
    failed = waiting.exception()
    return isinstance(failed, CallFailed) and failed.status.code in PASSING


async def _events(
    messages: Messages, waiting: asyncio.Future[Message | None], token_of: Callable[[Message], str]
) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(_each(messages, waiting)) as each:
            yield f"retry: {RETRY_MS}\n\n".encode()
            async for message in each:
                if message is None:
                    yield b": still here\n\n"
                    continue
                token = token_of(message)
                yield (f"id: {token}\n".encode() if token else b"") + b"data: " + await to_json(message) + b"\n\n"
    except CallFailed as failed:
        yield b"event: failed\ndata: " + json_bytes(status_value(failed)) + b"\n\n"
    else:
        yield b"event: end\ndata: {}\n\n"


async def _lines(messages: Messages, waiting: asyncio.Future[Message | None]) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(_each(messages, waiting)) as each:
            async for message in each:
                if message is not None:
                    yield await to_json(message) + b"\n"
    except CallFailed as failed:
        yield json_bytes({"error": status_value(failed)}) + b"\n"


async def _each(messages: Messages, waiting: asyncio.Future[Message | None]) -> AsyncGenerator[Message | None, None]:
    """The messages; None now and then while nothing comes."""
    try:
        while True:
            await asyncio.wait((waiting,), timeout=QUIET_SECONDS)
            if not waiting.done():
                yield None
                continue
            message = waiting.result()
            if message is None:
                return
            waiting = asyncio.ensure_future(anext(messages, None))
            yield message
    finally:
        waiting.cancel()
        await asyncio.wait((waiting,))
        if not waiting.cancelled():
            waiting.exception()  # nobody is there any more to be told
        await messages.aclose()


class _Streaming(Response):
    """Sends pieces until they end or the caller has gone."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], *, events: bool) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(None, 200, headers, SSE if events else NDJSON)
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with TaskGroup() as group:
            gone = group.create_task(_until_gone(receive))
            sending = group.create_task(self._send(send))
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            sending.cancel()

    async def _send(self, send: Send) -> None:
        try:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._pieces.aclose()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
