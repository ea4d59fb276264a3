"""What a service knows of the call that it answers.

A service method takes the decoded and checked request and a `Call`; everything about the wire stays in `pipeline`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from tenure.controlplane.status import Violation
from tenure.controlplane.tokens import Identity

MessageT_co = TypeVar("MessageT_co", bound=Message, covariant=True)


class Call(Protocol):
    """One call, for as long as it lives.

    `identity` is who calls; `rpc` service and method, as in `JobService.CreateJobs`; `deadline` when its time is over,
    in seconds of the event loop's clock, None for a stream, which has no end of its own.
    """

    identity: Identity
    rpc: str
    deadline: float | None

    @property
    def peer(self) -> str:
        """Where the caller is, as gRPC names it (`ipv4:127.0.0.1:4711`)."""


class StreamCall(Call, Protocol):
    """A call that answers with many messages."""

    async def send(self, message: Message) -> None:
        """Send a message; several senders take turns.

        Raises:
            Refused: SLOW_CONSUMER, the caller has not read for a while; let it end the call.
        """


@dataclass(frozen=True, slots=True)
class BadMessage:
    """A message of a stream that breaks rules; `violations` says which."""

    violations: tuple[Violation, ...]


class Messages(Protocol[MessageT_co]):
    """What a stream brings, one after the other; its end says only that nothing more is heard.

    Iterating raises `Refused` (MALFORMED_REQUEST); let it end the call.
    """

    def __aiter__(self) -> AsyncIterator[MessageT_co | BadMessage]:
        """The messages."""
