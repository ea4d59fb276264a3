"""The services of this process, called without sockets: what the web door calls through.

A call goes the way of every call (token, role, limits, rules of the message, the service), because it is handled by the
same `Host`; only bytes on a wire are missing. See `tenure.runtime.calls.Channel`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from tenure.controlplane import status
from tenure.controlplane.convert import job_message
from tenure.controlplane.handler import Handler
from tenure.controlplane.hosting import Host
from tenure.controlplane.pipeline import MAX_MESSAGE_BYTES
from tenure.controlplane.worker_service import WorkerService
from tenure.domain.errors import Reason, Refused
from tenure.runtime.calls import CallFailed, MessageT, Metadata
from tenure.store.store import Store
from tenure.v1 import job_pb2, job_service_pb2, worker_service_pb2

PEER = "inprocess"
# Responses that may wait for a caller who does not take them; then the pipeline's limit for slow readers counts.
ROOM = 16


class InProcess:
    """Calls the methods of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def unary(self, method: str, request: Message, response: type[MessageT], metadata: Metadata = ()) -> MessageT:
        """One request, one response.

        Raises:
            CallFailed: it was refused.
        """
        handler = self._handler(method, metadata)
        context = _Context(_Requests(request, None))
        try:
            if handler.stream_unary is None:
                await handler.stream_stream(None, context)
                raise _Aborted(_unspoken())
            return response.FromString(await handler.stream_unary(None, context))
        except _Aborted as aborted:
            raise CallFailed(aborted.status) from None
        finally:
            context.over()

    async def stream(
        self,
        method: str,
        requests: Message | AsyncIterator[Message],
        response: type[MessageT],
        metadata: Metadata = (),
    ) -> AsyncGenerator[MessageT, None]:
        """One request or many, many responses; closing the generator ends the call.

        Raises:
            CallFailed: it was refused or broke off.
        """
        handler = self._handler(method, metadata)
        pipe = _Pipe()
        one = _Requests(requests, None) if isinstance(requests, Message) else _Requests(None, requests)
        context = _Context(one, pipe)
        call = asyncio.get_running_loop().create_task(_carry(handler, context, pipe))
        try:
            while (raw := await pipe.take()) is not None:
                yield response.FromString(raw)
            await call
        except _Aborted as aborted:
            raise CallFailed(aborted.status) from None
        finally:
            call.cancel()
            await asyncio.wait((call,))
            if not call.cancelled():
                call.exception()  # whoever iterated has it; nobody else is to be told

    def _handler(self, method: str, metadata: Metadata) -> Any:
        return self._host.service(_Details(method, metadata))


class _Details(grpc.HandlerCallDetails):
    """What is known of a call before its first message."""

    def __init__(self, method: str, metadata: Metadata) -> None:
        self.method = method
        self.invocation_metadata = metadata


class _Aborted(Exception):
    """The pipeline has ended the call with a status."""

    def __init__(self, ended: status_pb2.Status) -> None:
        super().__init__(ended.message)
        self.status = ended


class _Context:
    """What the pipeline uses of a call; see `pipeline.Context`."""

    __slots__ = ("_callbacks", "_pipe", "_requests")

    def __init__(self, requests: _Requests, pipe: _Pipe | None = None) -> None:
        self._callbacks: list[Callable[[_Context], None]] = []
        self._requests = requests
        self._pipe = pipe

    def add_done_callback(self, callback: Callable[[_Context], None]) -> None:
        """Have it called when the call is over."""
        self._callbacks.append(callback)

    def over(self) -> None:
        """The call is over."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def peer(self) -> str:
        """Where the caller is."""
        return PEER

    def time_remaining(self) -> float | None:
        """Callers of this process bring no deadline; the pipeline gives one."""
        return None

    async def read(self) -> object:
        """The next request, or the end."""
        return await anext(self._requests, grpc.aio.EOF)

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        """There is no header."""

    async def write(self, message: bytes) -> None:
        """Hand on a response, once there is room for it."""
        assert self._pipe is not None
        await self._pipe.put(message)

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Iterable[tuple[str, bytes]]) -> None:
        """End the call."""
        for key, value in trailing_metadata:
            if key == status.DETAILS_KEY:
                raise _Aborted(status_pb2.Status.FromString(value))
        raise _Aborted(status_pb2.Status(code=code.value[0], message=details))


class _Pipe:
    """Responses on their way to the caller, a bounded number; `take` is for one taker."""

    __slots__ = ("_closed", "_filled", "_items", "_room")

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    async def put(self, item: bytes) -> None:
        while len(self._items) >= ROOM:
            self._room.clear()
            await self._room.wait()
        self._items.append(item)
        self._filled.set()

    async def take(self) -> bytes | None:
        """The next one; None: the call has ended."""
        while not self._items:
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        self._room.set()
        return self._items.popleft()

    def close(self) -> None:
        self._closed = True
        self._filled.set()


async def _carry(handler: Any, context: _Context, pipe: _Pipe) -> None:
    try:
        if handler.stream_stream is None:
            await pipe.put(await handler.stream_unary(None, context))
        else:
            await handler.stream_stream(None, context)
    finally:
        pipe.close()
        context.over()


class _Requests:
    """The bytes of requests: of the first, if there is one, and of those that follow."""

    __slots__ = ("_first", "_others")

    def __init__(self, first: Message | None, others: AsyncIterator[Message] | None) -> None:
        self._first = first
        self._others = others

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        if first is not None:
            return _bytes_of(first)
        if self._others is None:
            raise StopAsyncIteration
        return _bytes_of(await anext(self._others))


def _bytes_of(request: Message) -> bytes:
    # The rule of the wire, for whoever does not come over it.
    raw = request.SerializeToString()
    if len(raw) > MAX_MESSAGE_BYTES:
        text = f"the request has {len(raw)} bytes, more than {MAX_MESSAGE_BYTES}"
        raise Refused(Reason.LIMIT_EXCEEDED, text)
    return raw


def _unspoken() -> status_pb2.Status:
    answer = status.of_refusal(Refused(Reason.NOT_IMPLEMENTED, "this method answers with a stream"))
    return status_pb2.Status.FromString(answer.trailers[0][1])


class Records:
    """What the web door reads besides calling RPCs, for workers whose protocol knows less than ours.

    Whoever asks must have shown before that the worker may serve the queue.
    """

    def __init__(self, handler: Handler, store: Store, workers: WorkerService) -> None:
        self._handler = handler
        self._store = store
        self._workers = workers

    async def job(self, job_id: str, queue: str) -> job_pb2.Job | None:
        """A job of this queue, with its updates and attempts."""
        view = (await self._store.view_jobs([job_id])).get(job_id)
        if view is None or view.stored.job.origin.queue != queue:
            return None
        return job_message(view, job_service_pb2.JobFlags(include_application=True))

    async def unclaimed(self, worker_id: str, queue: str) -> list[worker_service_pb2.HeldLease]:
        """Leases of this queue that a worker of that id held before the server was started."""
        found = []
        for held in self._workers.unclaimed_leases(worker_id):
            job = await self._handler.get(held.job_id)
            if job is not None and job.origin.queue == queue:
                found.append(held)
        return found
