"""Output on its way to the server, while somebody there follows it: a call for each attempt that is asked for.

Nothing is sent unasked. What is sent is read from the attempt's ring as fast as the server takes it; when the command
prints faster, the ring overruns and the offsets jump. The command never waits for that, and neither does a heartbeat:
each call has a connection of its own.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from tenure.agent.holding import Holding
from tenure.agent.output import OutputRing
from tenure.agent.transport import StreamEnded
from tenure.agent.waiting import Changes, settle
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.logs import get_logger
from tenure.v1.worker_service_pb2 import ShipLogsRequest, ShipLogsResponse

log = get_logger("shipping")

PIECE_BYTES = 64 * 1024
# How long a server may take to say where to begin, and to end a call that has nothing more.
ANSWER_S = 30.0


class ShippingStream(Protocol):
    """One open call of `WorkerService.ShipLogs`; the methods are those of `transport.Stream`."""

    async def send(self, request: ShipLogsRequest) -> None:
        """Hand a message to the connection; waits while the peer does not read.

        Raises:
            StreamEnded: it is over.
        """

    async def receive(self) -> ShipLogsResponse:
        """The next message of the server.

        Raises:
            StreamEnded: there is none.
        """

    async def close(self) -> None:
        """Drop the call and its connection."""


class ShippingTransport(Protocol):
    """Opens such calls to one server."""

    async def open_shipping(self) -> ShippingStream:
        """A new call on a new connection; whether anybody answers shows in its use."""


class Shipping:
    """What a worker ships, by lease."""

    def __init__(self, transport: ShippingTransport, clock: Clock) -> None:
        """Nothing is opened before `follow`.

        Args:
            transport: opens the calls.
            clock: for waits.
        """
        self._transport = transport
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}

    def follow(self, holding: Holding, group: TaskGroup) -> None:
        """Ship the output of an attempt, by a new call in place of one that is open for it.

        It goes on by itself until the server ends it, also when the attempt has ended.
        """
        lease_id = holding.assignment.lease_id
        older = self._running.get(lease_id)
        if older is not None:
            older.cancel()
        task = group.create_task(self._ship(lease_id, holding.output), name=f"output {holding.assignment.name}")
        self._running[lease_id] = task
        task.add_done_callback(lambda ended: self._forget(lease_id, ended))

    def stop(self) -> None:
        """End all calls."""
        for task in list(self._running.values()):
            task.cancel()

    def _forget(self, lease_id: str, ended: asyncio.Task[None]) -> None:
        if self._running.get(lease_id) is ended:
            del self._running[lease_id]

    async def _ship(self, lease_id: str, output: OutputRing) -> None:
        try:
            stream = await self._transport.open_shipping()
            try:
                await self._converse(_Shipment(lease_id, output, stream, Changes(self._clock)))
            finally:
                await stream.close()
        except StreamEnded as ended:
            # The server asks again when somebody still wants it.
            if ended.code != "OK":
                log.info("shipping_ended", lease_id=lease_id, why=str(ended))
        except Exception:
            # Whoever follows is not worth the attempts that run beside it.
            log.exception("shipping_broke", lease_id=lease_id)

    async def _converse(self, shipment: _Shipment) -> None:
        reader = asyncio.ensure_future(shipment.obey())
        sender = asyncio.ensure_future(shipment.send())
        shipment.output.listener = shipment.changes.pulse
        try:
            await asyncio.wait((reader, sender), return_when=asyncio.FIRST_COMPLETED)
            # The reader knows the status of a call that has ended, so it is asked first.
            if reader.done():
                reader.result()
            if sender.done():
                sender.result()
        finally:
            await settle(reader, sender)
            # As in `waiting.within`: a call that has ended is to take its connection with it.
            del reader, sender


class _Shipment:
    """One call. `cursor` is the offset of what is sent next; None: the server has not said it yet."""

    def __init__(self, lease_id: str, output: OutputRing, stream: ShippingStream, changes: Changes) -> None:
        self.output = output
        self.changes = changes
        self._lease_id = lease_id
        self._stream = stream
        self._cursor: int | None = None

    async def obey(self) -> None:
        """Hear what the server wants; returns when it wants nothing more."""
        while True:
            response = await self._stream.receive()
            if response.stop:
                return
            if self._cursor is None:
                self._cursor = response.from_offset
                self.changes.pulse()

    async def send(self) -> None:
        """Name the lease, then send what there is; returns when the server does not answer."""
        await self._stream.send(ShipLogsRequest(lease_id=self._lease_id))
        if not await self.changes.until(lambda: self._cursor is not None, ANSWER_S):
            return
        while True:
            piece = self._piece()
            await self._stream.send(piece)
            if piece.end:
                # Closing now could overtake what was sent: the server ends the call.
                await self.changes.until(lambda: False, ANSWER_S)
                return
            await self.changes.until(self._more)

    def _piece(self) -> ShipLogsRequest:
        assert self._cursor is not None
        output = self.output
        offset, data = output.read(self._cursor, PIECE_BYTES)
        # Nobody wants what is before the cursor, even where that is still ahead.
        offset = max(offset, self._cursor)
        self._cursor = offset + len(data)
        end = output.closed and self._cursor >= output.end
        return ShipLogsRequest(lease_id=self._lease_id, offset=offset, data=data, end=end, printed=output.end)

    def _more(self) -> bool:
        assert self._cursor is not None
        return self.output.closed or self.output.end > self._cursor
