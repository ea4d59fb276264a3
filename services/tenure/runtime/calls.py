"""Calling RPCs without knowing what carries them: over a socket, or straight into the services of this process.

A call that is refused ends, whoever carries it, with `CallFailed` and the same `google.rpc.Status`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol, TypeVar

from google.protobuf.message import Message
from google.rpc import status_pb2

MessageT = TypeVar("MessageT", bound=Message)

Metadata = tuple[tuple[str, str], ...]


class CallFailed(Exception):
    """A call was refused or broke off; `status` says why, fit for callers."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class Channel(Protocol):
    """Calls methods by their path, as in `/tenure.v1.JobService/CreateJobs`.

    Metadata are pairs of lower-case names and values; `authorization` says who calls.
    """

    async def unary(self, method: str, request: Message, response: type[MessageT], metadata: Metadata = ()) -> MessageT:
        """One request, one response.

        Raises:
            CallFailed: it was refused.
        """

    def stream(
        self,
        method: str,
        requests: Message | AsyncIterator[Message],
        response: type[MessageT],
        metadata: Metadata = (),
    ) -> AsyncGenerator[MessageT, None]:
        """One request or many, many responses. Close what is returned (`aclose`) to end the call.

        Raises:
            CallFailed: while iterating.
        """
