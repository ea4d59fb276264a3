"""What all calls of a server share: who is let in, how many at once, and how they end.

The way of a call is: token, role, limit of calls, request in time, a message, its rules, the service, the answer. It is
walked by `unary` and `streams`. No exception's text leaves: what is no refusal becomes INTERNAL with a reference that
the server's log explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from tenure.controlplane import status, tokens
from tenure.controlplane.patience import Patience
from tenure.controlplane.permissions import OPEN, Role
from tenure.controlplane.shares import Shares, Turns
from tenure.controlplane.status import Status
from tenure.controlplane.tokens import Identity, Tokens
from tenure.controlplane.validation import Validator
from tenure.domain.errors import Reason, Refused
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.store import StoreError

_log = get_logger("rpc")

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# Whoever reads nothing at all lets so much through; smaller answers are bounded by the number of calls.
SMALL_BYTES = 64 * 1024
# Those whose token has still to be looked up.
UNKNOWN = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how many. Seconds; `calls` are unary ones, `streams` all others. One caller may have half of each.

    `deadline_s` is given to unary calls that bring no deadline, `max_deadline_s` to those whose deadline is later. A
    caller that reads nothing is given up after `send_s`; when its status has not gone after `goodbye_s`, the log says
    so. Callers without a token have `open_calls` and `open_streams` of their own. So many unary calls of one caller are
    answered `at_once`, the others wait. `unread_bytes` of large answers may wait for their callers.
    """

    first_message_s: float = 5.0
    deadline_s: float = 30.0
    max_deadline_s: float = 300.0
    send_s: float = 10.0
    goodbye_s: float = 5.0
    calls: int = 10_000
    streams: int = 20_000
    open_calls: int = 200
    open_streams: int = 1000
    at_once: int = 64
    unread_bytes: int = 128 * 1024 * 1024


class Kind(Enum):
    """Who sends many messages: nobody, the server, both."""

    UNARY = 1
    RESPONSES = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. `function` is None where the service does not have it; a `patient` one may take as long as its caller
    waits.
    """

    rpc: str
    roles: frozenset[Role]
    kind: Kind
    request_class: type[Message]
    function: Callable[..., Any] | None
    patient: bool


class Context(Protocol):
    """What is used of grpc.aio's context, with raw bytes both ways."""

    def peer(self) -> str:
        """Where the caller is."""

    def time_remaining(self) -> float | None:
        """Seconds to the caller's deadline."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called when nothing of the call is left: its answer was taken, or the caller has gone."""

    async def read(self) -> object:
        """The bytes of the next message, or `grpc.aio.EOF`."""

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        """Send the header."""

    async def write(self, message: bytes) -> None:
        """Send a message."""

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Iterable[tuple[str, bytes]]) -> None:
        """End the call; always raises."""


class Stream(Protocol):
    """An open stream, as far as it can be ended from outside."""

    identity: Identity
    method: Method

    def end(self, refused: Refused) -> None:
        """End the call with this refusal, soon."""


class Pipeline:
    """What all calls of a server share.

    Args:
        known: knows tokens.
        ids: makes the references of internal errors.
        limits: how long and how many.
        validator: checks messages; None: a new one.
    """

    def __init__(self, known: Tokens, ids: Ids, limits: Limits, validator: Validator | None = None) -> None:
        self.limits = limits
        self.tokens = known
        self.validator = validator or Validator()
        self.first_message = Patience(limits.first_message_s)
        self.deadline = Patience(limits.deadline_s)
        self.max_deadline = Patience(limits.max_deadline_s)
        self.draining = False
        self.calls = Shares(limits.calls, "open calls")
        self.streams = Shares(limits.streams, "open streams")
        self.open_calls = Shares(limits.open_calls, "open calls without a token")
        self.open_streams = Shares(limits.open_streams, "open streams without a token")
        self.unread = Shares(limits.unread_bytes, "bytes of answers that were not read")
        self.turns = Turns(limits.at_once)
        self.first_turns = Turns(limits.at_once)
        self._ids = ids
        self._streams: dict[Stream, None] = {}  # in the order in which they began
        known.on_revoked(self._end_streams_of)

    def drain(self) -> None:
        """Take no more calls, except of open RPCs, and end the streams; unary calls in flight go on."""
        self.draining = True
        for call in list(self._streams):
            if call.method.roles is not OPEN:
                call.end(draining())

    def end_streams(self) -> None:
        """End all streams."""
        for call in list(self._streams):
            call.end(draining())

    def _end_streams_of(self, token_id: str) -> None:
        for call in list(self._streams):
            if call.identity.token_id == token_id:
                call.end(tokens.invalid())

    def begin_stream(self, call: Stream) -> None:
        """From now on a stream can be ended from outside.

        Raises:
            Refused: DRAINING.
        """
        if self.draining and call.method.roles is not OPEN:
            raise draining()
        self._streams[call] = None

    def end_stream(self, call: Stream) -> None:
        """It ends by itself."""
        self._streams.pop(call, None)

    async def admit(self, secret: str, method: Method, place: Place) -> Identity:
        """Look up who calls with a token that is not in the cache, and whether they may; the place is theirs then.

        Raises:
            Refused: CREDENTIALS_INVALID, ROLE_NOT_ALLOWED, LIMIT_EXCEEDED.
        """
        try:
            identity = await self.tokens.identify(secret)
            authorise(identity, method.roles)
        except Refused:
            # Not when gRPC is done with the call: those who do not take their refusals would hold the places that all
            # share whose token has still to be looked up.
            place.leave()
            raise
        place.known_as(identity.principal)
        return identity

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


class Place:
    """The place of one call, and the memory of its answer; given back when gRPC is done with the call.

    That may be long after it was answered: an answer stays in memory until its caller takes it or goes, and there is no
    way to take it back.
    """

    __slots__ = ("_bytes", "_pipeline", "_places", "holder")

    def __init__(self, pipeline: Pipeline, places: Shares, holder: str, context: Context) -> None:
        """Take it.

        Raises:
            Refused: LIMIT_EXCEEDED.
        """
        places.take(holder)
        self.holder = holder
        self._pipeline = pipeline
        self._places: Shares | None = places
        self._bytes = 0
        context.add_done_callback(lambda _context: self.leave())

    def known_as(self, holder: str) -> None:
        """It is now known who has it.

        Raises:
            Refused: LIMIT_EXCEEDED.
        """
        places, self._places = self._places, None
        if places is not None:
            places.give_back(self.holder)
            places.take(holder)
            self.holder, self._places = holder, places

    def keep(self, size: int) -> None:
        """Count so many bytes of an answer that is now handed to gRPC.

        Raises:
            Refused: LIMIT_EXCEEDED.
        """
        if size > SMALL_BYTES:
            self._pipeline.unread.take(self.holder, size)
            self._bytes += size

    def taken(self, size: int) -> None:
        """Those bytes were taken."""
        if size > SMALL_BYTES:
            self._pipeline.unread.give_back(self.holder, size)
            self._bytes -= size

    def leave(self) -> None:
        """Give all of it back."""
        places, self._places = self._places, None
        if places is not None:
            places.give_back(self.holder)
        if self._bytes:
            self._pipeline.unread.give_back(self.holder, self._bytes)
            self._bytes = 0


def holder_of(identity: Identity, method: Method, context: Context) -> str:
    """Who has the place of a call: a principal, or the address of a caller without a token."""
    if method.roles is OPEN:
        peer = context.peer()
        return peer.rpartition(":")[0] or peer
    return identity.principal or UNKNOWN


def authorise(identity: Identity, roles: frozenset[Role]) -> None:
    """Check a role.

    Raises:
        Refused: ROLE_NOT_ALLOWED.
    """
    if identity.role not in roles:
        who = " or ".join(sorted(roles))
        raise Refused(Reason.ROLE_NOT_ALLOWED, f"a token of role {identity.role} may not call this; it is for {who}")


def refusal_in(error: BaseException) -> Refused | None:
    """The refusal that an error is, holds (the group of a task group) or, from the store, means."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StoreError):
        return status.of_store_error(error)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if (refused := refusal_in(one)) is not None:
                return refused
    return None


def caller_gone(error: BaseException) -> bool:
    """Whether an error only says that nobody is there any more to be sent anything."""
    if isinstance(error, BaseExceptionGroup):
        return all(caller_gone(one) for one in error.exceptions)
    return isinstance(error, grpc.aio.InternalError)


def encode(response: Message) -> bytes:
    """The bytes of a message that is to be sent.

    Raises:
        Refused: LIMIT_EXCEEDED, it is larger than what clients take.
    """
    raw = response.SerializeToString()
    if len(raw) > MAX_MESSAGE_BYTES:
        text = f"the answer has {len(raw)} bytes, more than {MAX_MESSAGE_BYTES}; ask for less"
        raise Refused(Reason.LIMIT_EXCEEDED, text)
    return raw


def draining() -> Refused:
    """The answer of a server that is stopping."""
    return Refused(Reason.DRAINING, "the server is stopping; try again in a moment")


def not_implemented() -> Refused:
    """The answer for an RPC that is known and not built."""
    return Refused(Reason.NOT_IMPLEMENTED, "this method is not built yet")


def missing() -> Refused:
    """The answer for a call that ends before it began."""
    return Refused(Reason.REQUEST_MISSING, "the call ended without a request message")


def not_received(limit_s: float) -> Refused:
    """The answer for a call whose message does not come."""
    return Refused(Reason.REQUEST_NOT_RECEIVED, f"no request message arrived within {limit_s:g} s")
