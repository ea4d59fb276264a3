"""What goes over a connection, and one direction of it: in order, with room for a number of items not yet taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.simulation.loop import Handle
from tests.simulation.process import Process

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.simulation.network import Connection


@dataclass(frozen=True, slots=True)
class Piece:
    """A message on its way: its bytes, and the message that they are (where somebody has it anyway)."""

    raw: bytes
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The last thing on its way in a direction: the client says no more, or the server's status.

    `code` is the name of the gRPC status; `details` the google.rpc.Status as bytes.
    """

    code: str = "OK"
    text: str = ""
    details: bytes = b""


Item = Piece | End


class Receiver(Protocol):
    """One end of a connection, as what arrives there is handed to it; runs in its process."""

    def arrived(self, item: Item) -> None:
        """The next message, or the end."""

    def broken(self) -> None:
        """The connection has broken; nothing arrives any more."""


class Direction:
    """One direction of a connection: in order, with room for a number of items that were not taken yet."""

    __slots__ = (
        "_arrived",
        "_last_ns",
        "_room",
        "_waiting",
        "connection",
        "held",
        "receiver",
        "sender",
        "target",
        "up",
    )

    def __init__(self, connection: Connection, *, up: bool, sender: Process, room: int) -> None:
        self.connection = connection
        self.up = up
        self.sender = sender
        self.target: Process | None = None
        self.receiver: Receiver | None = None
        self.held: deque[Item] = deque()
        self._arrived: deque[Item] = deque()
        self._room = room
        self._last_ns = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def send(self, item: Item) -> None:
        """Put an item on its way, once there is room."""
        while self._room <= 0:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        self._room -= 1
        self.put(item)

    def put(self, item: Item) -> None:
        """Put an item on its way."""
        network = self.connection.link.network
        self._last_ns = max(self._last_ns + 1, network.schedule.now_ns + self.connection.link.delay_ns())
        network.nature.at_virtual(self._last_ns, self._arrive, item)

    def taken(self) -> None:
        """The receiver took one: there is room for another."""
        self._room += 1
        if self._waiting:
            waiting = self._waiting.popleft()
            post(self.sender, _wake, waiting)

    def release(self) -> None:
        """Nothing is held back any more."""
        held, self.held = self.held, deque()
        network = self.connection.link.network
        # Now and in one go, so that nothing overtakes anything.
        network.nature.at_virtual(network.schedule.now_ns, self._arrive_all, held)

    def _arrive_all(self, items: deque[Item]) -> None:
        for item in items:
            self._arrive(item)

    def _arrive(self, item: Item) -> None:
        connection = self.connection
        if connection.dead:
            return
        open_ = connection.link.up if self.up else connection.link.down
        if self.held or not open_:
            self.held.append(item)
            return
        if self.up and connection.server is None and not connection.knock():
            return
        if self.target is not None:
            # The place in the line is kept here: callbacks of one instant may run in any order.
            self._arrived.append(item)
            post(self.target, self._hand_over)

    def _hand_over(self) -> None:
        while self._arrived and self.receiver is not None:
            self.receiver.arrived(self._arrived.popleft())

    def attach(self, receiver: Receiver) -> None:
        """From now on there is somebody at the end of it, who gets what has come already."""
        self.receiver = receiver
        self._hand_over()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def post(process: Process, callback: Callable[..., object], *args: object) -> None:
    """Have it run in a process, as soon as that can."""
    process.schedule.soon(Handle(process, callback, args, None, -1))
