"""Serves service objects over grpc.aio: finds the method of a call and decides from its metadata whether it may go on.

Token and role are decided before any message has arrived, and calls are refused by a handler that waits for none, so
that nobody holds a place without a token. What happens to the others is in `unary` and `streams`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from tenure.controlplane import status, tokens
from tenure.controlplane.call import BadMessage as BadMessage
from tenure.controlplane.call import Call as Call
from tenure.controlplane.call import Messages as Messages
from tenure.controlplane.call import StreamCall as StreamCall
from tenure.controlplane.permissions import OPEN, rule
from tenure.controlplane.pipeline import (
    Context,
    Kind,
    Limits,
    Method,
    Pipeline,
    authorise,
    draining,
)
from tenure.controlplane.streams import RunningStream
from tenure.controlplane.tokens import ANONYMOUS, Identity, Tokens
from tenure.controlplane.unary import RunningCall
from tenure.controlplane.validation import Validator
from tenure.domain.errors import Reason, Refused
from tenure.runtime.ids import Ids


class Wrap(Protocol):
    """Makes what is run instead of a handler's function, to watch calls from outside."""

    def __call__(self, rpc: str, metadata: Iterable[tuple[str, str | bytes]], run: Any, *, stream: bool) -> Any:
        """The function to run; it is given what `run` takes and returns what it returns."""


class Host(grpc.GenericRpcHandler):
    """The one handler of a server: all services, and an answer for everything else.

    Args:
        known: knows tokens.
        ids: makes the references of internal errors.
        limits: how long and how many.
        validator: checks messages; None: a new one, which `prepare` makes ready.

    Attributes:
        wrap: put around the handling of every call, refused ones included; None: nothing is.
    """

    def __init__(
        self, known: Tokens, ids: Ids, limits: Limits | None = None, validator: Validator | None = None
    ) -> None:
        self._pipeline = Pipeline(known, ids, limits or Limits(), validator)
        self._methods: dict[str, Method] = {}
        self._refusals: dict[tuple[Reason, str], _Refusal] = {}
        self.service_names: list[str] = []
        self.wrap: Wrap | None = None

    def add(self, descriptor: ServiceDescriptor, servicer: object, *, patient: Iterable[str] = ()) -> None:
        """Serve a service.

        Args:
            descriptor: the service; each of its methods is found in the servicer by its name in snake case, and those
                that are not there answer UNIMPLEMENTED.
            servicer: unary methods are `async def name(request, call) -> response`; methods that answer with a stream
                are `def name(request, call) -> AsyncIterator[response]`; methods with streams both ways are
                `async def name(messages, call) -> None` and use `call.send`.
            patient: names of unary methods that may take as long as their callers wait, be it for hours.

        Raises:
            LookupError: a method has no line in the table of permissions.
        """
        service = descriptor.full_name
        short = service.removeprefix("tenure.v1.")
        slow = frozenset(patient)
        for method in descriptor.methods:
            self._methods[f"/{service}/{method.name}"] = Method(
                rpc=f"{short}.{method.name}",
                roles=rule(service, method.name),
                kind=_kind(method),
                request_class=GetMessageClass(method.input_type),
                function=getattr(servicer, snake_case(method.name), None),
                patient=method.name in slow,
            )
        self.service_names.append(service)

    def prepare(self) -> None:
        """Compile the rules of all requests; once, after everything was added."""
        self._pipeline.validator.prepare({method.request_class for method in self._methods.values()})

    def drain(self) -> None:
        """Take no more calls, except of health and reflection, and end the streams; unary calls in flight go on."""
        self._pipeline.drain()

    def end_streams(self) -> None:
        """End the streams that `drain` has left, those of open RPCs."""
        self._pipeline.end_streams()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """What is to handle a call; decided from its metadata alone."""
        method = self._methods.get(handler_call_details.method)
        handler = self._handler(method, handler_call_details)
        if self.wrap is None:
            return handler
        rpc = method.rpc if method is not None else "unknown"
        metadata = handler_call_details.invocation_metadata
        if handler.stream_unary is not None:
            return _Handler(stream_unary=self.wrap(rpc, metadata, handler.stream_unary, stream=False))
        # A unary call that is refused is hosted as a stream, and is none.
        stream = method is not None and method.kind is not Kind.UNARY
        return _Handler(stream_stream=self.wrap(rpc, metadata, handler.stream_stream, stream=stream))

    def _handler(self, method: Method | None, handler_call_details: grpc.HandlerCallDetails) -> _Handler:
        if method is None:
            return self._refusal(Refused(Reason.NOT_IMPLEMENTED, "there is no such method"))
        identity: Identity | None = ANONYMOUS
        secret = ""
        if method.roles is not OPEN:
            try:
                if self._pipeline.draining:
                    raise draining()
                secret = tokens.secret_of(handler_call_details.invocation_metadata)
                identity = self._pipeline.tokens.known(secret)
                if identity is not None:
                    authorise(identity, method.roles)
            except Refused as refused:
                return self._refusal(refused)
        if method.kind is Kind.UNARY:
            return _Handler(stream_unary=RunningCall(self._pipeline, method, identity, secret).run)
        return _Handler(stream_stream=RunningStream(self._pipeline, method, identity, secret).run)

    def _refusal(self, refused: Refused) -> _Handler:
        # A handful of texts, so that the flood of calls that are refused costs the least.
        key = refused.reason, refused.message
        known = self._refusals.get(key)
        if known is None:
            known = self._refusals[key] = _Refusal(status.of_refusal(refused))
        return _Handler(stream_stream=known.run)


def snake_case(name: str) -> str:
    """`CreateJobs` → `create_jobs`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _kind(method: MethodDescriptor) -> Kind:
    if method.client_streaming:
        return Kind.BOTH
    return Kind.RESPONSES if method.server_streaming else Kind.UNARY


if TYPE_CHECKING:
    _RpcMethodHandler = grpc.RpcMethodHandler[Any, Any]
else:
    _RpcMethodHandler = grpc.RpcMethodHandler  # generic in the stubs only


class _Handler(_RpcMethodHandler):
    """What gRPC asks of a handler: raw bytes in, raw bytes out, requests always as a stream."""

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
        # The stubs know the handlers of the synchronous server only.
        self.stream_unary: Any = stream_unary
        self.stream_stream: Any = stream_stream


class _Refusal:
    """Refuses a call without waiting for a message."""

    __slots__ = ("_status",)

    def __init__(self, answer: status.Status) -> None:
        self._status = answer

    async def run(self, _requests: object, context: Context) -> None:
        await context.abort(self._status.code, self._status.message, self._status.trailers)
