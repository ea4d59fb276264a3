"""A call with one request and one response.

gRPC itself waits for ever for the message of a unary call, and such a call holds its place all the while. So unary
methods are hosted as if they took a stream of requests: the first message has a time limit, further ones are not read.
"""

from __future__ import annotations

import asyncio
from typing import cast

import grpc

from tenure.controlplane.permissions import OPEN
from tenure.controlplane.pipeline import Context, Method, Pipeline, encode, missing, not_implemented, not_received
from tenure.controlplane.tokens import ANONYMOUS, Identity
from tenure.domain.errors import Reason, Refused


class RunningCall:
    """One call with one request and one response."""

    __slots__ = ("_context", "_method", "_pipeline", "_received", "_secret", "_waiting", "deadline", "identity", "rpc")

    def __init__(self, pipeline: Pipeline, method: Method, identity: Identity | None, secret: str) -> None:
        self._pipeline = pipeline
        self._method = method
        self._secret = secret
        self._received = False
        self._waiting = pipeline.first_message
        self._context: Context | None = None
        self.identity = identity or ANONYMOUS
        self.rpc = method.rpc
        self.deadline: float | None = None

    @property
    def peer(self) -> str:
        """Where the caller is."""
        return self._context.peer() if self._context is not None else ""

    async def run(self, _requests: object, context: Context) -> bytes:
        """Answer the call."""
        self._context = context
        pipeline = self._pipeline
        scope = asyncio.timeout(None)
        try:
            pipeline.begin_call()
            try:
                async with scope:
                    return await self._answer(context, scope)
            finally:
                pipeline.end_call()
                self._waiting.remove(scope)
                # gRPC's context must not be asked anything after the call: the process would crash.
                self._context = None
        except Exception as error:
            late = isinstance(error, TimeoutError) and scope.expired()
            answer = pipeline.explain(self._late() if late else error, self.rpc)
        await context.abort(answer.code, answer.message, answer.trailers)
        return b""

    async def _answer(self, context: Context, scope: asyncio.Timeout) -> bytes:
        method, pipeline = self._method, self._pipeline
        self._waiting.add(scope, asyncio.get_running_loop().time())
        if self.identity is ANONYMOUS and method.roles is not OPEN:
            self.identity = await pipeline.admit(self._secret, method)
        if method.function is None:
            raise not_implemented()
        raw = await context.read()
        if raw is grpc.aio.EOF:
            raise missing()
        self._received = True
        self._waiting.remove(scope)
        self._limit(context, scope)
        request = pipeline.validator.decode(method.request_class, cast(bytes, raw))
        return encode(await method.function(request, self))

    def _limit(self, context: Context, scope: asyncio.Timeout) -> None:
        now = asyncio.get_running_loop().time()
        pipeline = self._pipeline
        remaining = context.time_remaining()
        if remaining is not None and remaining <= pipeline.limits.max_deadline_s:
            # gRPC ends the call by itself then.
            self.deadline = now + remaining
            return
        longest = remaining is not None or self._method.patient
        self._waiting = pipeline.max_deadline if longest else pipeline.deadline
        self._waiting.add(scope, now)
        self.deadline = now + self._waiting.span_s

    def _late(self) -> Refused:
        if not self._received:
            return not_received(self._pipeline.limits.first_message_s)
        return Refused(
            Reason.COMMIT_OUTCOME_UNKNOWN,
            "the call took longer than the server gives it; whether it has changed anything is unknown",
        )
