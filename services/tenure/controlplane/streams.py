"""A call that answers with many messages, and perhaps takes many.

A stream has no deadline of its own. It ends when the service is done, when the caller goes, when the caller does not
read, and from outside: when the server stops or the token is revoked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import grpc
from google.protobuf.message import Message

from tenure.controlplane.call import BadMessage
from tenure.controlplane.permissions import OPEN
from tenure.controlplane.pipeline import (
    Context,
    Kind,
    Method,
    Pipeline,
    Place,
    caller_gone,
    encode,
    holder_of,
    missing,
    not_implemented,
    not_received,
)
from tenure.controlplane.status import Status
from tenure.controlplane.tokens import ANONYMOUS, Identity
from tenure.controlplane.validation import Validator, parse
from tenure.domain.errors import Reason, Refused
from tenure.runtime.logs import get_logger

_log = get_logger("rpc")


class RunningStream:
    """One call that answers with many messages, and perhaps takes many."""

    __slots__ = (
        "_begun",
        "_context",
        "_ending",
        "_pipeline",
        "_place",
        "_received",
        "_scope",
        "_secret",
        "_sending",
        "_waited_for",
        "deadline",
        "identity",
        "method",
        "rpc",
    )

    def __init__(self, pipeline: Pipeline, method: Method, identity: Identity | None, secret: str) -> None:
        self._pipeline = pipeline
        self._secret = secret
        self._context: Context | None = None
        self._scope: asyncio.Timeout | None = None
        self._ending: Refused | None = None
        self._place: Place | None = None
        self._begun = False
        self._received = False
        self._sending = asyncio.Lock()
        # Without a token every message has to come soon, not only the first.
        self._waited_for = method.roles is OPEN and method.kind is Kind.BOTH
        self.method = method
        self.identity = identity or ANONYMOUS
        self.rpc = method.rpc
        self.deadline: float | None = None

    @property
    def peer(self) -> str:
        """Where the caller is."""
        return self._context.peer() if self._context is not None else ""

    def end(self, refused: Refused) -> None:
        """End the call with this refusal, from outside and soon."""
        if self._ending is None:
            self._ending = refused
            if self._begun:
                self._expire_in(0)

    async def send(self, message: Message) -> None:
        """Send a message; see `StreamCall`."""
        raw = encode(message)
        limit_s = self._pipeline.limits.send_s
        try:
            async with asyncio.timeout(limit_s), self._sending:
                await self._write(raw)
        except TimeoutError:
            text = f"the caller has not read what was sent to it for {limit_s:g} s"
            raise Refused(Reason.SLOW_CONSUMER, text) from None

    async def _write(self, raw: bytes) -> None:
        place = self._place
        # Workers share what they call themselves, and are many.
        if place is None or self.method.kind is Kind.BOTH:
            await self._open().write(raw)
            return
        place.keep(len(raw))
        # When this is cut short the message stays where it is, and counted, until the call is over.
        await self._open().write(raw)
        place.taken(len(raw))

    async def read(self) -> bytes | None:
        """The next message as it came; None: no more will come."""
        if self._received and not self._waited_for:
            raw = await self._open().read()
        else:
            raw = await self._awaited()
        if raw is grpc.aio.EOF:
            return None
        if not self._received or self._waited_for:
            self._received = True
            # From here on the call may last.
            if self._ending is None:
                self._expire_in(self._pipeline.limits.first_message_s if self._waited_for else None)
        return cast(bytes, raw)

    def _expire_in(self, span_s: float | None) -> None:
        """Give the call so many seconds from now, None: any time; nothing where its time is over already."""
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(None if span_s is None else asyncio.get_running_loop().time() + span_s)

    async def _awaited(self) -> object:
        """A message that has to come soon. Only a few of one caller's are waited for at a time: each may be large."""
        turns, place = self._pipeline.first_turns, self._place
        if place is None or (self.method.kind is Kind.BOTH and not self._waited_for):
            return await self._open().read()
        if not turns.free(place.holder):
            await turns.wait(place.holder)
        try:
            return await self._open().read()
        finally:
            turns.give_back(place.holder)

    async def _begin(self) -> None:
        # gRPC sends the header with the first message, and forgets that it has done so when that message is cancelled
        # on its way; the status would then never arrive. So the header goes first, by itself, and nobody cuts in.
        await self._open().send_initial_metadata(())
        self._begun = True
        if self._ending is not None:
            raise self._ending

    def _open(self) -> Context:
        if self._context is None:
            message = "the call has ended"
            raise RuntimeError(message)
        return self._context

    async def run(self, _requests: object, context: Context) -> None:
        """Answer the call."""
        self._context = context
        pipeline = self._pipeline
        scope = asyncio.timeout(pipeline.limits.first_message_s)
        try:
            places = pipeline.open_streams if self.method.roles is OPEN else pipeline.streams
            self._place = Place(pipeline, places, holder_of(self.identity, self.method, context), context)
            pipeline.begin_stream(self)
            try:
                async with scope:
                    self._scope = scope
                    try:
                        await self._serve()
                    finally:
                        self._scope = None
            finally:
                pipeline.end_stream(self)
                # gRPC's context must not be asked anything after the call: the process would crash.
                self._context = None
        except Exception as error:
            if caller_gone(error):
                # gRPC would have cancelled us in a moment.
                raise asyncio.CancelledError from error
            late = isinstance(error, TimeoutError) and scope.expired()
            answer = pipeline.explain(self._late() if late else error, self.rpc)
        else:
            return
        await self._abort(context, answer)

    def _late(self) -> Refused:
        return self._ending or not_received(self._pipeline.limits.first_message_s)

    async def _abort(self, context: Context, answer: Status) -> None:
        # The status waits behind what the caller has not read, and gRPC keeps both for as long as the caller stays; so
        # the place is kept as well. Nothing else is: the service has let go of the call.
        telling = asyncio.get_running_loop().call_later(self._pipeline.limits.goodbye_s, self._tell, answer)
        try:
            await context.abort(answer.code, answer.message, answer.trailers)
        finally:
            telling.cancel()

    def _tell(self, answer: Status) -> None:
        _log.warning("stream_not_read", rpc=self.rpc, principal=self.identity.principal, code=answer.code.name)

    def _still_known(self) -> bool:
        # Asked anew: a token that was revoked since gRPC asked who is to handle the call has ended only what had begun.
        return self.identity is not ANONYMOUS and self._pipeline.tokens.known(self._secret) is not None

    async def _serve(self) -> None:
        method = self.method
        if method.roles is not OPEN and self._place is not None and not self._still_known():
            self.identity = await self._pipeline.admit(self._secret, method, self._place)
        if method.function is None:
            raise not_implemented()
        await self._begin()
        if method.kind is Kind.BOTH:
            await method.function(StreamMessages(self, self._pipeline.validator), self)
            return
        raw = await self.read()
        if raw is None:
            raise missing()
        request = self._pipeline.validator.decode(method.request_class, raw)
        responses: AsyncIterator[Message] = method.function(request, self)
        try:
            async for response in responses:
                await self.send(response)
        finally:
            # Not left to the garbage collector: what the service holds for the caller is let go of now.
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()


class StreamMessages:
    """The messages of a stream, decoded and checked; see `Messages`."""

    __slots__ = ("_call", "_validator")

    def __init__(self, call: RunningStream, validator: Validator) -> None:
        self._call = call
        self._validator = validator

    def __aiter__(self) -> StreamMessages:
        return self

    async def __anext__(self) -> Message | BadMessage:
        raw = await self._call.read()
        if raw is None:
            raise StopAsyncIteration
        message = parse(self._call.method.request_class, raw)
        violations = self._validator.violations(message, len(raw))
        return BadMessage(tuple(violations)) if violations else message
