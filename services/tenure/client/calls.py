"""How the asyncio client calls: unary calls with their retries, streams over as many connections as it takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import grpc

from tenure.client.errors import TenureError, from_rpc_error
from tenure.client.resume import Cursor
from tenure.client.retry import Backoff, RetryPolicy, StreamBackoff, broken_off, limit_of
from tenure.runtime.clock import Clock

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")

# A server says something on a watch at least every 10 s: this long without a word, it or the way to it is gone.
SILENCE_S = 35.0

OnDrop = Callable[[TenureError, float], None]


class Calls:
    """Makes the calls of one client.

    Args:
        metadata: sent with every call.
        timeout_s: deadline of each try of a unary call.
        retry: how often and how long.
        clock: source of time.
        jitter: source of randomness for waits.
    """

    def __init__(
        self,
        *,
        metadata: tuple[tuple[str, str], ...],
        timeout_s: float,
        retry: RetryPolicy,
        clock: Clock,
        jitter: random.Random,
    ) -> None:
        self._metadata = metadata
        self._timeout_s = timeout_s
        self._retry = retry
        self._clock = clock
        self._jitter = jitter

    async def unary(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        request_id: str = "",
        timeout_s: float | None = None,
        repeat: bool = True,
    ) -> ResponseT:
        """One unary call with its retries; without `repeat`, which one needs that has no request id, tried once."""
        backoff = Backoff(self._retry, self._jitter)
        while True:
            try:
                return await rpc(request, timeout=limit_of(timeout_s, self._timeout_s), metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                refused = from_rpc_error(error, request_id=request_id)
            if not repeat:
                raise refused
            await self._clock.sleep(backoff.wait_s(refused))

    async def follow(
        self,
        rpc: grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT],
        cursor: Cursor[RequestT, ResponseT, ItemT],
        on_drop: OnDrop | None,
    ) -> AsyncGenerator[ItemT, None]:
        """One stream over as many connections as it takes."""
        backoff = StreamBackoff(self._retry, self._jitter, self._clock)
        while True:
            call = rpc(cursor.request(), metadata=self._metadata)
            try:
                # Where silence means that the server is gone, an open stream says nothing.
                if not cursor.has_marks:
                    await _opened(call)
                    backoff.opened()
                while (response := await _read(call)) is not None:
                    backoff.heard()
                    for item in cursor.take(response):
                        yield item
                    if cursor.complete():
                        return
                if cursor.ends():
                    return
                dropped = broken_off("the server ended the stream")
            except TimeoutError:
                if not cursor.has_marks:
                    continue  # There may be nothing to say; that the server is there shows in connecting again.
                dropped = broken_off(f"nothing was heard of the server for {SILENCE_S:.0f} s")
            except TenureError as error:
                dropped = error
            finally:
                # A call that is only let go of is served on until the channel closes.
                call.cancel()
            wait_s = backoff.wait_s(dropped)
            if on_drop is not None:
                on_drop(dropped, wait_s)
            await self._clock.sleep(wait_s)


async def _opened(call: grpc.aio.UnaryStreamCall[RequestT, ResponseT]) -> None:
    """Wait until the stream is open, or has ended before that.

    Raises:
        TimeoutError: neither came for `SILENCE_S`.
    """
    async with asyncio.timeout(SILENCE_S):
        await call.initial_metadata()


async def _read(call: grpc.aio.UnaryStreamCall[RequestT, ResponseT]) -> ResponseT | None:
    """The next response; None at the end.

    Raises:
        TenureError: the stream was refused or broke off.
        TimeoutError: nothing came for `SILENCE_S`.
    """
    try:
        async with asyncio.timeout(SILENCE_S):
            response = await call.read()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    return None if response is grpc.aio.EOF else response  # type: ignore[return-value]
