"""A client's end of the network: calls that may be lost either way, and watches that go on from their token.

The real client's rules decide when a call is made again and how long that waits (`tenure.client.retry`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tenure.client.errors import TenureError
from tenure.client.retry import Backoff, RetryPolicy, StreamBackoff
from tenure.v1 import (
    admin_service_pb2,
    event_service_pb2,
    job_service_pb2,
    queue_service_pb2,
)
from tests.simulation.history import Call, Delivery, Refusal, Watch
from tests.simulation.history import Connection as WatchConnection
from tests.simulation.loop import NS
from tests.simulation.network import Connection, Link
from tests.simulation.plan import ClientPlan
from tests.simulation.wire import End, Item, Piece

if TYPE_CHECKING:
    from tests.simulation.world import World

_SERVICES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (
        job_service_pb2,
        ("JobService", "CreateJobs", "RetrieveJob", "BrowseJobs", "ExtendJobs", "TerminateJobs", "ExplainJob"),
    ),
    (queue_service_pb2, ("QueueService", "PauseQueues")),
    (admin_service_pb2, ("AdminService", "StopJobs")),
)
RPCS: dict[str, tuple[str, type[Message]]] = {
    rpc: (f"/tenure.v1.{names[0]}/{rpc}", getattr(module, f"{rpc}Response"))
    for module, names in _SERVICES
    for rpc in names[1:]
}
WATCH = "/tenure.v1.JobService/WatchJobs"
READ = "/tenure.v1.EventService/ReadEvents"
# Reasons with which the server says nothing about the call itself.
_UNSURE = frozenset({"COMMIT_OUTCOME_UNKNOWN", "DRAINING", "REQUEST_NOT_RECEIVED"})


class Caller:
    """One client: who it is, and its way to the server."""

    def __init__(
        self, world: World, link: Link, name: str, *, subject: str, secret: str, admin: bool, plan: ClientPlan
    ) -> None:
        self.world = world
        self.link = link
        self.name = name
        self.subject = subject
        self.admin = admin
        self.plan = plan
        self.random = Random(f"{world.plan.seed}/{name}")
        self.metadata = (("authorization", f"Bearer {secret}"),)
        self.process = world.client_machine.process(name)
        self.clock = world.client_machine.clock(self.process)

    async def wish(self, rpc: str, request: Any, *, tries: int | None = None) -> Message | Refusal | None:
        """Have a call made, again where that is right; its outcome, None: it is unknown."""
        self.world.wishing += 1
        try:
            return await self._wish(rpc, request, tries)
        finally:
            self.world.wishing -= 1

    async def _wish(self, rpc: str, request: Any, tries: int | None) -> Message | Refusal | None:
        operation = self.world.next_operation()
        policy = RetryPolicy(attempts=tries or self.plan.tries, initial_s=0.2, maximum_s=5.0)
        backoff = Backoff(policy, self.random)
        while True:
            call, code = await self._try(operation, rpc, request)
            if call.answer is not None and code is not grpc.StatusCode.UNAVAILABLE:
                return call.answer
            if not getattr(request, "request_id", "") and rpc in ("CreateJobs", "ExtendJobs"):
                return call.answer  # again would be once more
            late = code is grpc.StatusCode.DEADLINE_EXCEEDED
            error = TenureError(code=grpc.StatusCode.UNAVAILABLE if late else code, message="")
            try:
                wait_s = backoff.wait_s(error)
            except TenureError:
                return call.answer
            await asyncio.sleep(wait_s)

    async def _try(self, operation: int, rpc: str, request: Any) -> tuple[Call, grpc.StatusCode]:
        world = self.world
        method, kind = RPCS[rpc]
        request_id = getattr(request, "request_id", "")
        call = Call(
            operation=operation,
            client=self.name,
            subject=self.subject,
            admin=self.admin,
            rpc=rpc,
            request_id=request_id,
            request=request,
            sent_ns=world.schedule.now_ns,
        )
        world.history.calls.append(call)
        if request_id and self.random.random() < self.plan.repeats:
            self._again(operation, rpc, request)
        deadline_ns = world.schedule.now_ns + int(self.plan.patience_s * NS)
        pending = Pending(Connection(self.link, self.process, method, self.metadata, deadline_ns=deadline_ns))
        world.calls[pending.connection.number] = call
        try:
            async with asyncio.timeout(self.plan.patience_s):
                answer, end = await pending.unary(request)
        except TimeoutError:
            answer, end = None, End(code="DEADLINE_EXCEEDED")
        finally:
            pending.close()
        call.answered_ns = world.schedule.now_ns
        if answer is not None:
            call.answer = kind.FromString(answer)
            return call, grpc.StatusCode.OK
        refusal = refusal_of(end)
        if refusal is None:
            call.unknown_code = end.code
        else:
            call.answer = refusal
        return call, grpc.StatusCode[end.code]

    def _again(self, operation: int, rpc: str, request: Any) -> None:
        """The network brings the request once more, at any time; nobody hears the answer."""
        world = self.world
        call = Call(
            operation=operation,
            client=self.name,
            subject=self.subject,
            admin=self.admin,
            rpc=rpc,
            request_id=request.request_id,
            request=request,
            sent_ns=world.schedule.now_ns,
            twice=True,
        )

        world.wishing += 1

        def send() -> None:
            world.wishing -= 1
            call.sent_ns = world.schedule.now_ns
            world.history.calls.append(call)
            pending = Pending(Connection(self.link, self.process, RPCS[rpc][0], self.metadata))
            world.calls[pending.connection.number] = call
            pending.connection.up.put(Piece(request.SerializeToString()))

        self.process.at_virtual(world.schedule.now_ns + int(self.random.uniform(0, 2) * NS), send)

    async def watch(self, kind: str, job_id: str, *, pause_s: float, room: int) -> None:
        """Watch a job, or read the whole log, until the world ends; connects again with the last token.

        Args:
            kind: `job` or `events`.
            job_id: which, for `job`.
            pause_s: how long it takes over each message, at most.
            room: how many messages it lets wait.
        """
        watch = Watch(client=self.name, kind=kind, job_id=job_id)
        self.world.history.watches.append(watch)
        self.world.watching.append(watch)
        backoff = StreamBackoff(RetryPolicy(attempts=1000, stream_maximum_s=5.0), self.random, self.clock)
        token = ""
        while not self._closing():
            try:
                async with aclosing(self._connected(watch, token, room)) as deliveries:
                    async for delivery in deliveries:
                        backoff.heard()
                        token = delivery.resume_token or token
                        if self._closing():
                            break
                        if pause_s and not self.world.healed:
                            await asyncio.sleep(self.random.uniform(0, pause_s))
            except TenureError as error:
                watch.connections[-1].ended = error.reason or "lost"
                if error.reason in ("JOB_NOT_FOUND", "LOG_REGRESSED", "RESUME_TOKEN_INVALID"):
                    return
                try:
                    await asyncio.sleep(backoff.wait_s(error))
                except TenureError:
                    return
        watch.complete = True

    def _closing(self) -> bool:
        return self.world.closing

    async def _connected(self, watch: Watch, token: str, room: int) -> AsyncGenerator[Delivery, None]:
        """One connection of a watch."""
        world = self.world
        method, request, kind = _watch_of(watch, token)
        connection = Connection(self.link, self.process, method, self.metadata, room=room)
        pending = Pending(connection)
        entry = WatchConnection(opened_ns=world.schedule.now_ns, resume_token=token, boot=-1)
        watch.connections.append(entry)
        world.open_watches.append(pending)
        try:
            await connection.up.send(Piece(request.SerializeToString()))
            connection.up.put(End())
            while (item := await pending.next()) is not None:
                if isinstance(item, End):
                    raise _error(item)
                connection.down.taken()
                entry.boot = connection.server.number if connection.server is not None else -1
                message: Any = kind.FromString(item.raw)
                delivery = Delivery(
                    at_ns=world.schedule.now_ns,
                    message=message,
                    resume_token=message.resume_token,
                    durable=world.medium.head.position,
                    boot=entry.boot,
                )
                entry.deliveries.append(delivery)
                yield delivery
            entry.ended = "left"
        finally:
            entry.ended_ns = world.schedule.now_ns
            world.open_watches.remove(pending)
            pending.close()


class Pending:
    """The client's end of one call."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.client_end = connection.down.receiver = self
        self._items: deque[Item] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    async def unary(self, request: Message) -> tuple[bytes | None, End]:
        """Answer, or the status instead."""
        self.connection.up.put(Piece(request.SerializeToString()))
        answer: bytes | None = None
        while True:
            item = await self.next()
            if item is None:
                return None, End(code="CANCELLED")
            if isinstance(item, End):
                return (answer, item) if item.code == "OK" else (None, item)
            answer = item.raw

    async def next(self) -> Item | None:
        """What comes next; None: it was closed here."""
        while not self._items:
            if self._closed:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._items.popleft()

    def close(self) -> None:
        """Let go of the call."""
        if not self._closed:
            self._closed = True
            self.connection.hang_up(client=True)
            self._wake()

    def arrived(self, item: Item) -> None:
        """See `network.Receiver`."""
        self._items.append(item)
        self._wake()

    def broken(self) -> None:
        """See `network.Receiver`."""
        self._items.append(End(code="UNAVAILABLE", text="the connection is lost"))
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def refusal_of(end: End) -> Refusal | None:
    """What the server's no says; None: it does not say what became of the call."""
    reason = message = subject = ""
    if end.details:
        status = status_pb2.Status.FromString(end.details)
        message = status.message
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                reason = info.reason.removeprefix("ERROR_REASON_")
                subject = info.metadata.get("job_id", "")
    if not reason or reason in _UNSURE:
        return None
    return Refusal(code=end.code, reason=reason, message=message, subject=subject)


def _error(end: End) -> TenureError:
    if end.code == "OK":
        return TenureError(code=grpc.StatusCode.UNAVAILABLE, message="the stream ended")
    refusal = refusal_of(end)
    reason = refusal.reason if refusal is not None else ""
    return TenureError(code=grpc.StatusCode[end.code], message=end.text, reason=reason)


def _watch_of(watch: Watch, token: str) -> tuple[str, Message, type[Message]]:
    if watch.kind == "events":
        return (
            READ,
            event_service_pb2.ReadEventsRequest(resume_token=token, follow=True),
            event_service_pb2.ReadEventsResponse,
        )
    ids = [watch.job_id] if watch.job_id else []
    return WATCH, job_service_pb2.WatchJobsRequest(ids=ids, resume_token=token), job_service_pb2.WatchJobsResponse
