"""A call with one request and one response.

gRPC itself waits for ever for the message of a unary call, and such a call holds its place all the while. So unary
methods are hosted as if they took a stream of requests: the first message has a time limit, further ones are not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc

from tenure.controlplane.permissions import OPEN
from tenure.controlplane.pipeline import (
    Context,
    Method,
    Pipeline,
    Place,
    encode,
    holder_of,
    missing,
    not_implemented,
    not_received,
)
from tenure.controlplane.tokens import ANONYMOUS, Identity
from tenure.domain.errors import Reason, Refused


class RunningCall:
    """One call with one request and one response."""

    __slots__ = (
        "_context",
        "_method",
        "_pipeline",
        "_queued",
        "_received",
        "_secret",
        "_waiting",
        "deadline",
        "identity",
        "rpc",
    )

    def __init__(self, pipeline: Pipeline, method: Method, identity: Identity | None, secret: str) -> None:
        self._pipeline = pipeline
        self._method = method
        self._secret = secret
        self._queued = False
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
            place = self._place(context)
            try:
                async with scope:
                    return await self._answer(place, context, scope)
            finally:
                self._waiting.remove(scope)
                # gRPC's context must not be asked anything after the call: the process would crash.
                self._context = None
        except Exception as error:
            late = isinstance(error, TimeoutError) and scope.expired()
            answer = pipeline.explain(self._late() if late else error, self.rpc)
        await context.abort(answer.code, answer.message, answer.trailers)
        return b""

    def _place(self, context: Context) -> Place:
        pipeline = self._pipeline
        places = pipeline.open_calls if self._method.roles is OPEN else pipeline.calls
        return Place(pipeline, places, holder_of(self.identity, self._method, context), context)

    async def _answer(self, place: Place, context: Context, scope: asyncio.Timeout) -> bytes:
        method, pipeline = self._method, self._pipeline
        self._waiting.add(scope, asyncio.get_running_loop().time())
        if self.identity is ANONYMOUS and method.roles is not OPEN:
            self.identity = await pipeline.admit(self._secret, method, place)
        if (function := method.function) is None:
            raise not_implemented()
        # What waits for its turn holds no message: gRPC takes a large one in only when it is asked for.
        holder = place.holder
        if not pipeline.turns.free(holder):
            self._queued = True
            await pipeline.turns.wait(holder)
            self._queued = False
            # The message has all of its time from now on.
            self._waiting.remove(scope)
            self._waiting.add(scope, asyncio.get_running_loop().time())
        try:
            answer = await self._turn(function, place, context, scope)
        finally:
            pipeline.turns.give_back(holder)
        place.keep(len(answer))
        return answer

    async def _turn(
        self, function: Callable[..., Any], place: Place, context: Context, scope: asyncio.Timeout
    ) -> bytes:
        method, pipeline = self._method, self._pipeline
        raw = await context.read()
        if raw is grpc.aio.EOF:
            raise missing()
        self._received = True
        self._waiting.remove(scope)
        self._limit(context, scope)
        pipeline.unread.check(place.holder)
        request = pipeline.validator.decode(method.request_class, cast(bytes, raw))
        return encode(await function(request, self))

    def _limit(self, context: Context, scope: asyncio.Timeout) -> None:
        now = asyncio.get_running_loop().time()
        pipeline = self._pipeline
        remaining = context.time_remaining()
        patient = self._method.patient
        if remaining is not None and remaining <= 0:
            # The caller has its answer; nothing is changed behind its back.
            raise Refused(Reason.REQUEST_NOT_RECEIVED, "the request arrived when the call's deadline had passed")
        if remaining is not None and (patient or remaining <= pipeline.limits.max_deadline_s):
            # gRPC ends the call by itself then.
            self.deadline = now + remaining
            return
        if patient:
            return
        self._waiting = pipeline.max_deadline if remaining is not None else pipeline.deadline
        self._waiting.add(scope, now)
        self.deadline = now + self._waiting.span_s

    def _late(self) -> Refused:
        if self._queued:
            return Refused(Reason.LIMIT_EXCEEDED, "too many of your calls are being answered; try again later")
        if not self._received:
            return not_received(self._pipeline.limits.first_message_s)
        return Refused(
            Reason.COMMIT_OUTCOME_UNKNOWN,
            "the call took longer than the server gives it; whether it has changed anything is unknown",
        )
