"""How the client for threads calls: unary calls with their retries, streams over as many connections as it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

import grpc

from tenure.client.errors import TenureError, from_rpc_error
from tenure.client.resume import Cursor
from tenure.client.retry import Backoff, RetryPolicy, StreamBackoff, broken_off, limit_of
from tenure.runtime.clock import Clock

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")

# A stream is connected anew after so long, which shows that the server is still there: a blocking read has no
# deadline of its own.
STREAM_LIFE_S = 300.0

OnDrop = Callable[[TenureError, float], None]


class SyncCalls:
    """Makes the calls of one client.

    Args:
        metadata: sent with every call.
        timeout_s: deadline of each try of a unary call.
        retry: how often and how long.
        clock: source of time.
        sleep: waits so many seconds.
        jitter: source of randomness for waits.
    """

    def __init__(
        self,
        *,
        metadata: tuple[tuple[str, str], ...],
        timeout_s: float,
        retry: RetryPolicy,
        clock: Clock,
        sleep: Callable[[float], None],
        jitter: random.Random,
    ) -> None:
        self._metadata = metadata
        self._timeout_s = timeout_s
        self._retry = retry
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    def unary(
        self,
        rpc: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
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
                return rpc(request, timeout=limit_of(timeout_s, self._timeout_s), metadata=self._metadata)
            except grpc.RpcError as error:
                refused = from_rpc_error(error, request_id=request_id)
            if not repeat:
                raise refused
            self._sleep(backoff.wait_s(refused))

    def follow(
        self,
        rpc: grpc.UnaryStreamMultiCallable[RequestT, ResponseT],
        cursor: Cursor[RequestT, ResponseT, ItemT],
        on_drop: OnDrop | None,
    ) -> Generator[ItemT, None, None]:
        """One stream over as many connections as it takes."""
        backoff = StreamBackoff(self._retry, self._jitter, self._clock)
        while True:
            heard = False
            call = rpc(cursor.request(), timeout=STREAM_LIFE_S, metadata=self._metadata)
            try:
                # Where silence means that the server is gone, an open stream says nothing.
                if not cursor.has_marks:
                    call.initial_metadata()  # waits until the stream is open, or has ended before that
                    backoff.opened()
                for response in _responses(call):
                    heard = True
                    backoff.heard()
                    yield from cursor.take(response)
                    if cursor.complete():
                        return
                if cursor.ends():
                    return
                dropped = broken_off("the server ended the stream")
            except TenureError as error:
                dropped = error
            finally:
                call.cancel()
            if dropped.code is grpc.StatusCode.DEADLINE_EXCEEDED and not dropped.reason:
                if heard or not cursor.has_marks:
                    continue
                dropped = broken_off(f"nothing was heard of the server for {STREAM_LIFE_S:.0f} s")
            wait_s = backoff.wait_s(dropped)
            if on_drop is not None:
                on_drop(dropped, wait_s)
            self._sleep(wait_s)


def _responses(call: Iterable[ResponseT]) -> Iterator[ResponseT]:
    """The responses of a stream.

    Raises:
        TenureError: the stream was refused or broke off.
    """
    try:
        yield from call
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
