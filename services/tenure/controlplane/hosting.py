"""Serves service objects over grpc.aio: one explicit pipeline for every call, in this order.

Known method → token → role → (the service method is built) → limit of calls → the request arrives in time → it is a
message → it keeps the rules → the service method → its answer, or a `google.rpc.Status` with a reason.

Two things are unlike what gRPC does by itself. Token and role are decided from the metadata, before any message, and
calls are refused by a handler that waits for none; and unary methods are hosted as if they took a stream of requests,
because gRPC waits for ever for the message of a unary call, and such a call holds its place all the while.

No exception's text leaves: what is not a refusal becomes INTERNAL with a reference that the server's log explains.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tenure.controlplane import status, tokens
from tenure.controlplane.call import BadMessage
from tenure.controlplane.permissions import OPEN, Role, rule
from tenure.controlplane.status import Status
from tenure.controlplane.tokens import ANONYMOUS, Identity, Tokens
from tenure.controlplane.validation import Validator, parse
from tenure.domain.errors import Reason, Refused
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.store import StoreError

_log = get_logger("rpc")

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how many. Seconds; `calls` are unary ones, `streams` all others.

    `deadline_s` is given to unary calls that bring no deadline, `max_deadline_s` to those whose deadline is longer.
    """

    first_message_s: float = 5.0
    deadline_s: float = 30.0
    max_deadline_s: float = 300.0
    send_s: float = 10.0
    goodbye_s: float = 5.0
    calls: int = 10_000
    streams: int = 20_000


class _Kind(Enum):
    UNARY = 1
    RESPONSES = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class _Method:
    """One RPC. `function` is None where the service does not have it."""

    rpc: str
    roles: frozenset[Role]
    kind: _Kind
    request_class: type[Message]
    function: Callable[..., Any] | None
    deadline_s: float


class Host(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The one handler of a server: all services, and an answer for everything else.

    Args:
        known: knows tokens.
        ids: makes the references of internal errors.
        limits: how long and how many.
    """

    def __init__(self, known: Tokens, ids: Ids, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.tokens = known
        self.validator = Validator()
        self.draining = False
        self._ids = ids
        self._methods: dict[str, _Method] = {}
        self._calls = 0
        self._streams: set[_StreamCall] = set()
        self._refusals: dict[tuple[Reason, str], _Refusal] = {}
        known.on_revoked(self._end_streams_of)

    def add(self, descriptor: ServiceDescriptor, servicer: object, *, patient: Iterable[str] = ()) -> None:
        """Serve a service.

        Args:
            descriptor: the service; every method of it is found in the servicer by its name in snake case, and those
                that are not there answer UNIMPLEMENTED.
            servicer: unary methods are `async def name(request, call) -> response`; methods that answer with a stream
                are `async def name(request, call) -> AsyncIterator[response]`; methods with streams both ways are
                `async def name(messages, call) -> None` and use `call.send`.
            patient: names of methods that take long and get the longest deadline when they bring none.

        Raises:
            LookupError: a method has no line in the table of permissions.
        """
        service = descriptor.full_name
        short = service.removeprefix("tenure.v1.")
        slow = frozenset(patient)
        for method in descriptor.methods:
            self._methods[f"/{service}/{method.name}"] = _Method(
                rpc=f"{short}.{method.name}",
                roles=rule(service, method.name),
                kind=_kind(method),
                request_class=GetMessageClass(method.input_type),
                function=getattr(servicer, snake_case(method.name), None),
                deadline_s=self.limits.max_deadline_s if method.name in slow else self.limits.deadline_s,
            )

    def prepare(self) -> None:
        """Compile the rules of all requests; once, after everything was added."""
        self.validator.prepare({method.request_class for method in self._methods.values()})

    def drain(self) -> None:
        """Take no more calls (health excepted) and end the streams; unary calls in flight go on."""
        self.draining = True
        for call in list(self._streams):
            if call.method.roles is not OPEN:
                call.end(_draining())

    def _end_streams_of(self, token_id: str) -> None:
        for call in list(self._streams):
            if call.identity.token_id == token_id:
                call.end(tokens.invalid())

    # --- the way in -------------------------------------------------------------------------------------------------

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """What is to handle a call; decided from its metadata alone."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return self._refusal(Refused(Reason.NOT_IMPLEMENTED, "there is no such method"))
        identity: Identity | None = ANONYMOUS
        secret = ""
        if method.roles is not OPEN:
            if self.draining:
                return self._refusal(_draining())
            try:
                secret = tokens.secret_of(handler_call_details.invocation_metadata)
                identity = self.tokens.known(secret)
                if identity is not None:
                    authorise(identity, method.roles)
            except Refused as refused:
                return self._refusal(refused)
        if method.kind is _Kind.UNARY:
            return _Handler(stream_unary=_UnaryCall(self, method, identity, secret).run)
        return _Handler(stream_stream=_StreamCall(self, method, identity, secret).run)

    def _refusal(self, refused: Refused) -> _Handler:
        key = refused.reason, refused.message
        known = self._refusals.get(key)
        if known is None:
            known = self._refusals[key] = _Refusal(status.of_refusal(refused))
        return _Handler(stream_stream=known.run)

    # --- shared by the calls ----------------------------------------------------------------------------------------

    def begin_call(self) -> None:
        """Count a unary call in. Raises LIMIT_EXCEEDED."""
        if self._calls >= self.limits.calls:
            raise Refused(Reason.LIMIT_EXCEEDED, "the server has too many calls to answer; try again later")
        self._calls += 1

    def end_call(self) -> None:
        """Count a unary call out."""
        self._calls -= 1

    def begin_stream(self, call: _StreamCall) -> None:
        """Count a stream in. Raises LIMIT_EXCEEDED, DRAINING."""
        if self.draining and call.method.roles is not OPEN:
            raise _draining()
        if len(self._streams) >= self.limits.streams:
            raise Refused(Reason.LIMIT_EXCEEDED, "the server has too many open streams; try again later")
        self._streams.add(call)

    def end_stream(self, call: _StreamCall) -> None:
        """Count a stream out."""
        self._streams.discard(call)

    def explain(self, error: Exception, rpc: str) -> Status:
        """The status for what came out of a service method."""
        refused = refusal_in(error)
        if refused is not None:
            return status.of_refusal(refused)
        if isinstance(error, status.Plain):
            return Status(error.code, error.message)
        reference = self._ids.new()
        _log.error("call_failed", rpc=rpc, reference=reference, exc_info=error)
        return status.build(
            Reason.INTERNAL, f"something went wrong in the server; its log says what, under reference {reference}"
        )


def authorise(identity: Identity, roles: frozenset[Role]) -> None:
    """Check a role.

    Raises:
        Refused: ROLE_NOT_ALLOWED.
    """
    if identity.role not in roles:
        who = " or ".join(sorted(roles))
        raise Refused(Reason.ROLE_NOT_ALLOWED, f"a token of role {identity.role} may not call this; it is for {who}")


def refusal_in(error: BaseException) -> Refused | None:
    """The refusal that an error is, holds (a group of a task group) or, from the store, means."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StoreError):
        return status.of_store_error(error)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if (refused := refusal_in(one)) is not None:
                return refused
    return None


def snake_case(name: str) -> str:
    """`CreateJobs` → `create_jobs`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _kind(method: MethodDescriptor) -> _Kind:
    if method.client_streaming:
        return _Kind.BOTH
    return _Kind.RESPONSES if method.server_streaming else _Kind.UNARY


def _draining() -> Refused:
    return Refused(Reason.DRAINING, "the server is stopping; try again in a moment")


def _not_implemented() -> Refused:
    return Refused(Reason.NOT_IMPLEMENTED, "this method is not built yet")


def _not_received(limit_s: float) -> Refused:
    return Refused(Reason.REQUEST_NOT_RECEIVED, f"no request message arrived within {limit_s:g} s")


class _Handler(grpc.RpcMethodHandler[Any, Any]):
    """What gRPC asks of a handler: raw bytes in, raw bytes out, requests always as a stream."""

    __slots__ = ("response_streaming", "stream_stream", "stream_unary")

    request_streaming = True
    request_deserializer = None
    response_serializer = None
    unary_unary = None
    unary_stream = None

    def __init__(
        self,
        stream_unary: Callable[..., Awaitable[bytes]] | None = None,
        stream_stream: Callable[..., Awaitable[None]] | None = None,
    ) -> None:
        self.response_streaming = stream_stream is not None
        self.stream_unary = stream_unary
        self.stream_stream = stream_stream


class _Refusal:
    """Refuses a call without waiting for a message."""

    __slots__ = ("_status",)

    def __init__(self, answer: Status) -> None:
        self._status = answer

    async def run(self, _requests: object, context: _Context) -> None:
        await context.abort(self._status.code, self._status.message, self._status.trailers)


class _UnaryCall:
    """One call with one request and one response."""

    __slots__ = ("_context", "_host", "_method", "_received", "_secret", "deadline", "identity", "rpc")

    def __init__(self, host: Host, method: _Method, identity: Identity | None, secret: str) -> None:
        self._host = host
        self._method = method
        self._secret = secret
        self._received = False
        self._context: _Context | None = None
        self.identity = identity or ANONYMOUS
        self.rpc = method.rpc
        self.deadline: float | None = None

    @property
    def peer(self) -> str:
        return self._context.peer() if self._context is not None else ""

    async def run(self, _requests: object, context: _Context) -> bytes:
        self._context = context
        host = self._host
        counted = False
        scope: asyncio.Timeout | None = None
        try:
            host.begin_call()
            counted = True
            async with asyncio.timeout(host.limits.first_message_s) as scope:
                return await self._answer(context, scope)
        except Exception as error:  # noqa: BLE001 - `explain` logs what is not a refusal
            if scope is not None and isinstance(error, TimeoutError) and scope.expired():
                error = self._late()
            answer = host.explain(error, self.rpc)
        finally:
            if counted:
                host.end_call()
        await context.abort(answer.code, answer.message, answer.trailers)
        return b""

    async def _answer(self, context: _Context, scope: asyncio.Timeout) -> bytes:
        method = self._method
        if self.identity is ANONYMOUS and method.roles is not OPEN:
            self.identity = await self._host.tokens.identify(self._secret)
            authorise(self.identity, method.roles)
        if method.function is None:
            raise _not_implemented()
        raw = await context.read()
        if raw is grpc.aio.EOF:
            raise Refused(Reason.REQUEST_MISSING, "the call ended without a request message")
        self._received = True
        self._limit(context, scope)
        request = self._host.validator.decode(method.request_class, cast(bytes, raw))
        response = await method.function(request, self)
        return _encode(response)

    def _limit(self, context: _Context, scope: asyncio.Timeout) -> None:
        now = asyncio.get_running_loop().time()
        longest = self._host.limits.max_deadline_s
        remaining = context.time_remaining()
        if remaining is not None and remaining <= longest:
            # gRPC ends the call by itself then.
            self.deadline = now + remaining
            scope.reschedule(None)
            return
        self.deadline = now + (self._method.deadline_s if remaining is None else longest)
        scope.reschedule(self.deadline)

    def _late(self) -> Refused:
        if not self._received:
            return _not_received(self._host.limits.first_message_s)
        return Refused(
            Reason.COMMIT_OUTCOME_UNKNOWN,
            "the call took longer than the server gives it; whether it has changed anything is unknown",
        )


class _StreamCall:
    """One call that answers with many messages, and perhaps takes many."""

    __slots__ = (
        "_context",
        "_ending",
        "_host",
        "_received",
        "_scope",
        "_secret",
        "_sending",
        "deadline",
        "identity",
        "method",
        "rpc",
    )

    def __init__(self, host: Host, method: _Method, identity: Identity | None, secret: str) -> None:
        self._host = host
        self._secret = secret
        self._context: _Context | None = None
        self._scope: asyncio.Timeout | None = None
        self._ending: Refused | None = None
        self._received = False
        self._sending = asyncio.Lock()
        self.method = method
        self.identity = identity or ANONYMOUS
        self.rpc = method.rpc
        self.deadline: float | None = None

    @property
    def peer(self) -> str:
        return self._context.peer() if self._context is not None else ""

    def end(self, refused: Refused) -> None:
        """End the call with this refusal, from outside and soon."""
        if self._scope is not None and self._ending is None:
            self._ending = refused
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def send(self, message: Message) -> None:
        """Send a message; see `StreamCall`."""
        assert self._context is not None
        raw = _encode(message)
        limit_s = self._host.limits.send_s
        try:
            async with asyncio.timeout(limit_s), self._sending:
                await self._context.write(raw)
        except TimeoutError:
            text = f"the caller has not read what was sent to it for {limit_s:g} s"
            raise Refused(Reason.SLOW_CONSUMER, text) from None

    async def read(self) -> bytes | None:
        """The next message as it came; None: no more will come."""
        assert self._context is not None
        raw = await self._context.read()
        if raw is grpc.aio.EOF:
            return None
        if not self._received:
            self._received = True
            # From here on the call may last.
            if self._scope is not None and self._ending is None:
                self._scope.reschedule(None)
        return cast(bytes, raw)

    async def run(self, _requests: object, context: _Context) -> None:
        self._context = context
        host = self._host
        scope = asyncio.timeout(host.limits.first_message_s)
        try:
            host.begin_stream(self)
            async with scope:
                self._scope = scope
                try:
                    await self._serve()
                finally:
                    self._scope = None
        except Exception as error:  # noqa: BLE001 - `explain` logs what is not a refusal
            if isinstance(error, TimeoutError) and scope.expired():
                error = self._ending or _not_received(host.limits.first_message_s)
            answer = host.explain(error, self.rpc)
        else:
            return
        finally:
            host.end_stream(self)
        await self._abort(context, answer)

    async def _abort(self, context: _Context, answer: Status) -> None:
        # The status waits behind what the caller has not read; a caller that reads nothing must not keep us.
        try:
            async with asyncio.timeout(self._host.limits.goodbye_s):
                await context.abort(answer.code, answer.message, answer.trailers)
        except TimeoutError:
            _log.warning("stream_abandoned", rpc=self.rpc, peer=self.peer, code=answer.code.name)

    async def _serve(self) -> None:
        method = self.method
        if self.identity is ANONYMOUS and method.roles is not OPEN:
            self.identity = await self._host.tokens.identify(self._secret)
            authorise(self.identity, method.roles)
        if method.function is None:
            raise _not_implemented()
        if method.kind is _Kind.BOTH:
            await method.function(_Messages(self, self._host.validator, method.request_class), self)
            return
        raw = await self.read()
        if raw is None:
            raise Refused(Reason.REQUEST_MISSING, "the call ended without a request message")
        request = self._host.validator.decode(method.request_class, raw)
        responses: AsyncIterator[Message] = method.function(request, self)
        try:
            async for response in responses:
                await self.send(response)
        finally:
            # Not left to the garbage collector: what the service holds for the caller is let go of now.
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()


class _Messages:
    """The messages of a stream, decoded and checked."""

    __slots__ = ("_call", "_request_class", "_validator")

    def __init__(self, call: _StreamCall, validator: Validator, request_class: type[Message]) -> None:
        self._call = call
        self._validator = validator
        self._request_class = request_class

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Message | BadMessage:
        raw = await self._call.read()
        if raw is None:
            raise StopAsyncIteration
        message = parse(self._request_class, raw)
        violations = self._validator.violations(message, len(raw))
        return BadMessage(tuple(violations)) if violations else message


def _encode(response: Message) -> bytes:
    raw = response.SerializeToString()
    if len(raw) > MAX_MESSAGE_BYTES:
        raise Refused(
            Reason.LIMIT_EXCEEDED, f"the answer has {len(raw)} bytes, more than {MAX_MESSAGE_BYTES}; ask for less"
        )
    return raw


class _Context:
    """What is used of grpc.aio's context, for the type checker: with raw bytes both ways."""

    def peer(self) -> str:
        raise AssertionError

    def time_remaining(self) -> float | None:
        raise AssertionError

    async def read(self) -> object:
        raise AssertionError

    async def write(self, message: bytes) -> None:
        raise AssertionError

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Iterable[tuple[str, bytes]]) -> None:
        raise AssertionError


_ = Mapping
