"""A server called from within its process: with any bytes, and in conversations of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tenure.controlplane.inprocess import InProcess
from tenure.runtime.calls import CallFailed, Metadata
from tenure.v1 import errors_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.harness import RunningServer
from tests.hostile.catalogue import CONNECT, RETRIEVE
from tests.hostile.outcome import Outcome, of_status
from tests.hostile.random_messages import with_lease
from tests.hostile.scene import METHODS, STANDING, caller_of, path_of, raw_of

# What answers with a stream has no end, if all is well.
WAIT_S = 0.01
ANSWERED_S = 10.0


class Raw:
    """Bytes in the place of a message."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages call it
        return self._raw


@dataclass
class House:
    """A server, called from within its process."""

    server: RunningServer
    channel: InProcess
    tokens: dict[str, str]

    @property
    def position(self) -> int:
        return self.server.plane.store.head().position

    def metadata(self, rpc: str) -> Metadata:
        return (("authorization", f"Bearer {self.tokens[caller_of(rpc)]}"),)

    async def call(self, rpc: str, raw: bytes) -> Outcome:
        """One request, and the first of what is answered."""
        response = GetMessageClass(METHODS[rpc].output_type)
        request = cast(Message, Raw(raw))
        try:
            if not METHODS[rpc].server_streaming:
                answer = await self.channel.unary(path_of(rpc), request, response, self.metadata(rpc))
                return Outcome(code="OK", answers=(answer.SerializeToString(),))
            stream = self.channel.stream(path_of(rpc), _once(request), response, self.metadata(rpc))
            async with aclosing(stream) as answers:
                async with asyncio.timeout(WAIT_S):
                    for _ in range(5):
                        await anext(answers)
        except CallFailed as failed:
            return of_status(failed.status)
        except (TimeoutError, StopAsyncIteration):
            pass
        return Outcome(code="OK")

    async def is_well(self) -> bool:
        """The next good call works, and the store goes on."""
        outcome = await self.call(RETRIEVE, raw_of(RETRIEVE, {"id": STANDING}))
        return outcome.code == "OK" and not self.server.fatal


async def _once(request: Message) -> AsyncIterator[Message]:
    yield request


class Conversation:
    """One stream of a worker, from within the process."""

    def __init__(self, house: House, rpc: str) -> None:
        self.lease_id = "none"
        self.heard: set[str] = set()
        self.refusals: list[pb.Refusal] = []
        self.ended: Outcome | None = None
        self.news = asyncio.Event()
        self._rpc = rpc
        self._house = house
        self._sent: asyncio.Queue[Message | None] = asyncio.Queue()

    def say(self, message: Message | None) -> None:
        """Send a message; None: no more."""
        self._sent.put_nowait(message)

    async def _requests(self) -> AsyncIterator[Message]:
        while (message := await self._sent.get()) is not None:
            yield message

    async def run(self) -> None:
        """Listen to the end."""
        response = GetMessageClass(METHODS[self._rpc].output_type)
        metadata = self._house.metadata(self._rpc)
        stream = self._house.channel.stream(path_of(self._rpc), self._requests(), response, metadata)
        self.ended = Outcome(code="OK")
        try:
            async with aclosing(stream) as answers:
                self.ended = None
                async for answer in answers:
                    self._hear(answer)
            self.ended = Outcome(code="OK")
        except CallFailed as failed:
            self.ended = of_status(failed.status)
        self.news.set()

    def _hear(self, answer: Message) -> None:
        if isinstance(answer, pb.ConnectResponse):
            for item in answer.assignments.items:
                self.lease_id = item.lease_id
            self.heard.update(item.lease_id for item in answer.accept_ack.items)
            self.refusals.append(answer.refusal)
        self.news.set()

    async def round_trip(self) -> None:
        """Return when everything that was said is answered, or the stream has ended."""
        # Acknowledgements may share a message; a lease that nobody has is told from all others.
        ping = f"ping-{len(self.heard)}"
        self.say(pb.ConnectRequest(accept=pb.Accept(lease_ids=[ping])))
        async with asyncio.timeout(ANSWERED_S):
            while ping not in self.heard and self.ended is None:
                self.news.clear()
                await self.news.wait()


async def talk(house: House, script: list[Message]) -> Outcome:
    """Say all this on one stream; how it ended, or OK when it did not."""
    conversation = Conversation(house, CONNECT)
    running = asyncio.get_running_loop().create_task(conversation.run())
    try:
        for message in script:
            conversation.say(with_lease(message, conversation.lease_id))
            await conversation.round_trip()
            if conversation.ended is not None:
                return conversation.ended
        if any(each.reason == errors_pb2.ERROR_REASON_INTERNAL for each in conversation.refusals):
            return Outcome(code="INTERNAL", said="a message is refused for a defect")
        return Outcome(code="OK")
    except TimeoutError:
        return Outcome(code="UNKNOWN", said="a message is not answered")
    finally:
        running.cancel()
        await asyncio.wait((running,))
