"""The server's end of a call: what the real pipeline takes for gRPC's context, over a simulated connection.

As in grpc.aio: a peer that is gone reads as the clean end of its requests, and the handler is cancelled soon after; a
call that was answered lives on until its answer is taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from tenure.controlplane import status
from tests.simulation.history import Said
from tests.simulation.network import Connection
from tests.simulation.wire import End, Item, Piece

if TYPE_CHECKING:
    from tests.simulation.server import Server

CONNECT = "/tenure.v1.WorkerService/Connect"


class Aborted(Exception):
    """The pipeline has ended the call with a status."""

    def __init__(self, end: End) -> None:
        super().__init__(end.text)
        self.end = end


class Details(grpc.HandlerCallDetails):
    """What is known of a call before its first message."""

    def __init__(self, method: str, metadata: tuple[tuple[str, str], ...]) -> None:
        self.method = method
        self.invocation_metadata = metadata


class Context:
    """One call at the server; see `tenure.controlplane.pipeline.Context`."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._items: deque[Item] = deque()
        self._reading: asyncio.Future[None] | None = None
        self._gone = False
        self._callbacks: list[Callable[[Any], None]] = []
        self._task: asyncio.Task[End] | None = None
        self._unary = False
        # For the record of a worker's stream; known once Hello was read.
        self._tapped = connection.method == CONNECT
        self.worker_id = self.incarnation = ""

    # Of the network.

    def start(self) -> None:
        """Handle the call."""
        connection = self._connection
        handler = self._server.services.host.service(Details(connection.method, connection.metadata))
        self._unary = handler.stream_unary is not None
        run: Any = handler.stream_unary if self._unary else handler.stream_stream
        work = self._answer(run)
        self._task = self._server.process.create_task(work, name=connection.method)
        self._task.add_done_callback(self._over)
        self._server.calls[self] = None
        if connection.deadline_ns is not None:
            self._server.process.at_virtual(connection.deadline_ns, self._late)

    def arrived(self, item: Item) -> None:
        """See `network.Receiver`."""
        self._items.append(item)
        self._wake()

    def broken(self) -> None:
        """See `network.Receiver`."""
        self._gone = True
        self._wake()
        if self._task is not None and not self._task.done():
            # The end of the requests may be read first.
            self._server.process.call_soon(self._task.cancel)

    def _late(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _wake(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    async def _answer(self, run: Callable[[object, Context], Any]) -> End:
        try:
            raw = await run(None, self)
        except Aborted as aborted:
            if not self._gone:  # what is said to nobody may be anything, such as that there was no request
                self._server.answered(self._connection, aborted.end)
            return aborted.end
        if self._unary:
            self._server.answered(self._connection, raw)
            self._connection.down.put(Piece(raw))
        return End()

    def _over(self, task: asyncio.Task[End]) -> None:
        if task.cancelled():
            end = End(code="CANCELLED", text="the call was cancelled")
        elif (error := task.exception()) is not None:
            self._server.process.errors.append(f"{self._connection.method} broke: {error!r}")
            end = End(code="UNKNOWN")
        else:
            end = task.result()
        if not self._gone:
            self._connection.down.put(end)
            self._connection.hang_up(client=False)
        self._server.calls.pop(self, None)
        for callback in self._callbacks:
            callback(self)

    # Of the pipeline.

    def peer(self) -> str:
        """Where the caller is."""
        return "ipv4:10.0.0.1:50000"

    def time_remaining(self) -> float | None:
        """Seconds to the caller's deadline."""
        if self._connection.deadline_ns is None:
            return None
        return max(0.0, (self._connection.deadline_ns - self._server.process.schedule.now_ns) / 1e9)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called when nothing of the call is left."""
        self._callbacks.append(callback)

    async def read(self) -> object:
        """The bytes of the next message, or the end."""
        while not self._items:
            if self._gone:
                return grpc.aio.EOF
            self._reading = asyncio.get_running_loop().create_future()
            await self._reading
        item = self._items[0]
        if isinstance(item, End):
            return grpc.aio.EOF
        self._items.popleft()
        self._connection.up.taken()
        if self._tapped and item.message is not None:
            message: Any = item.message
            if not self.worker_id:
                self.worker_id, self.incarnation = message.hello.worker_id, message.hello.incarnation
            self._say("server-got", message)
            self._server.heard(self.worker_id, message)
        return item.raw

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        """There is no header."""

    async def write(self, message: bytes) -> None:
        """Send a message."""
        if self._gone:
            await asyncio.Event().wait()  # until the handler is cancelled
        if self._tapped:
            decoded = self._server.decode(message)
            self._say("server-sent", decoded)
            self._server.wrote(self.worker_id, self.incarnation, decoded)
            await self._connection.down.send(Piece(message, decoded))
        else:
            await self._connection.down.send(Piece(message))

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Iterable[tuple[str, bytes]]
    ) -> NoReturn:
        """End the call."""
        trailers = dict(trailing_metadata)
        raise Aborted(End(code=code.name, text=details, details=trailers.get(status.DETAILS_KEY, b"")))

    def _say(self, end: str, message: Any) -> None:
        world = self._server.world
        world.history.said.append(
            Said(
                end=end,
                at_ns=world.schedule.now_ns,
                durable=world.medium.head.position,
                boot=self._server.number,
                stream=self._connection.number,
                worker_id=self.worker_id,
                incarnation=self.incarnation,
                message=message,
                clock_ns=self._server.process.monotonic_ns(),
            )
        )
