"""One stream of WorkerService.Connect, as questions and answers.

`run` carries the stream and is somebody else's task; the rest is called by whoever speaks for the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message
from google.rpc import code_pb2

from tenure.runtime.calls import CallFailed, Channel, Metadata
from tenure.runtime.logs import get_logger
from tenure.v1 import errors_pb2
from tenure.v1 import worker_service_pb2 as pb
from tenure.web.failures import unacceptable

log = get_logger("machines")

METHOD = "/tenure.v1.WorkerService/Connect"
# An answer takes a commit at most; what takes longer is given up, and asked again by whoever wanted it.
ANSWER_S = 10.0
MAX_UNSAID = 1024

_Key = tuple[str, str]


class Conversation:
    """One stream.

    Args:
        channel: opens it.
        metadata: who speaks.
        told: given what the server says on its own account.

    Attributes:
        ended: it is over; nothing can be said any more.
    """

    def __init__(
        self, channel: Channel, metadata: Metadata, told: Callable[[Conversation, pb.ConnectResponse], None]
    ) -> None:
        self.ended = False
        self._channel = channel
        self._metadata = metadata
        self._told = told
        self._unsaid: asyncio.Queue[pb.ConnectRequest | None] = asyncio.Queue()
        self._waiting: dict[_Key, list[asyncio.Future[Any]]] = {}
        self._wanted: asyncio.Future[pb.Assignment] | None = None
        self._failed: CallFailed | None = None

    async def run(self) -> None:
        """Carry the stream to its end, whatever that is."""
        failed: CallFailed = _ended()
        try:
            stream = self._channel.stream(METHOD, self._requests(), pb.ConnectResponse, self._metadata)
            async with aclosing(stream) as messages:
                async for message in messages:
                    self._hear(message)
        except CallFailed as refused:
            failed = refused
        except Exception as error:
            # A defect here is one machine's trouble: it asks again, on a new stream.
            log.error("conversation_failed", exc_info=error)
        finally:
            self.ended = True
            self._failed = failed
            self._fail(failed)

    def say(self, message: pb.ConnectRequest) -> None:
        """Say something that is not answered.

        Raises:
            CallFailed: the stream is over, or the server does not read.
        """
        if self._failed is not None:
            raise self._failed
        if self._unsaid.qsize() >= MAX_UNSAID:
            raise unacceptable(code_pb2.UNAVAILABLE, "LIMIT_EXCEEDED", "the server is busy; try again later")
        self._unsaid.put_nowait(message)

    def close(self) -> None:
        """Say goodbye and end the stream; no harm if it is over."""
        if not self.ended:
            self._unsaid.put_nowait(pb.ConnectRequest(goodbye=pb.Goodbye(reason="it has not been heard of")))
            self._unsaid.put_nowait(None)
            self.ended = True

    async def hello(self, hello: pb.Hello) -> pb.Welcome:
        """Introduce the worker."""
        welcome: pb.Welcome = await self._ask(pb.ConnectRequest(hello=hello), ("welcome", ""))
        return welcome

    async def accept(self, lease_id: str) -> pb.LeaseState.ValueType:
        """Take an assignment; whether it is held."""
        message = pb.ConnectRequest(accept=pb.Accept(lease_ids=[lease_id]))
        item: pb.AcceptAck.Item = await self._ask(message, ("accept", lease_id))
        return item.state

    async def beat(self, beat: pb.Beat) -> pb.LeaseState.ValueType:
        """Beat for one attempt; whether its lease is held."""
        message = pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[beat]))
        item: pb.HeartbeatAck.Item = await self._ask(message, ("beat", beat.lease_id))
        return item.state

    async def report(self, report: pb.Report.Item) -> pb.ReportAck.Item:
        """Report what became of an attempt."""
        kind = report.WhichOneof("outcome") or ""
        message = pb.ConnectRequest(report=pb.Report(items=[report]))
        item: pb.ReportAck.Item = await self._ask(message, (kind, report.lease_id))
        return item

    async def assignment(self, wait_s: float) -> pb.Assignment | None:
        """The next job that is assigned within so many seconds; one that comes later is declined."""
        wanted: asyncio.Future[pb.Assignment] = asyncio.get_running_loop().create_future()
        self._wanted = wanted
        try:
            async with asyncio.timeout(wait_s):
                return await wanted
        except TimeoutError:
            return wanted.result() if wanted.done() and not wanted.cancelled() else None
        finally:
            self._wanted = None

    async def _ask(self, message: pb.ConnectRequest, key: _Key) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.say(message)
        waiting = self._waiting.setdefault(key, [])
        waiting.append(answer)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            text = f"the server did not answer within {ANSWER_S:g} s; try again"
            raise unacceptable(code_pb2.UNAVAILABLE, "COMMIT_OUTCOME_UNKNOWN", text) from None
        finally:
            if answer in waiting:
                waiting.remove(answer)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]

    async def _requests(self) -> AsyncIterator[Message]:
        while (message := await self._unsaid.get()) is not None:
            yield message

    def _hear(self, message: pb.ConnectResponse) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                self._answer(("welcome", ""), message.welcome)
            case "assignments":
                for assignment in message.assignments.items:
                    self._assigned(assignment)
            case "accept_ack":
                for accepted in message.accept_ack.items:
                    self._answer(("accept", accepted.lease_id), accepted)
            case "heartbeat_ack":
                for heard in message.heartbeat_ack.items:
                    self._answer(("beat", heard.lease_id), heard)
            case "report_ack":
                for ack in message.report_ack.items:
                    kind = pb.ReportKind.Name(ack.kind).removeprefix("REPORT_KIND_").lower()
                    self._answer((kind, ack.lease_id), ack)
            case "refusal":
                reason = errors_pb2.ErrorReason.Name(message.refusal.reason).removeprefix("ERROR_REASON_")
                self._fail(unacceptable(code_pb2.UNAVAILABLE, reason, message.refusal.message))
            case _:
                self._told(self, message)

    def _assigned(self, assignment: pb.Assignment) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(assignment)
            return
        # It came too late for who had asked; the next one is not to wait for a lease to run out.
        item = pb.Decline.Item(lease_id=assignment.lease_id, reason="its machine does not ask any more")
        self._unsaid.put_nowait(pb.ConnectRequest(decline=pb.Decline(items=[item])))

    def _answer(self, key: _Key, value: Message) -> None:
        for answer in self._waiting.pop(key, ()):
            if not answer.done():
                answer.set_result(value)

    def _fail(self, failed: CallFailed) -> None:
        waiting, self._waiting = self._waiting, {}
        wanted = [self._wanted] if self._wanted is not None else []
        for answer in (*wanted, *(each for answers in waiting.values() for each in answers)):
            if not answer.done():
                answer.set_exception(failed)


def _ended() -> CallFailed:
    return unacceptable(code_pb2.UNAVAILABLE, "DRAINING", "the machine's stream has ended; try again")
