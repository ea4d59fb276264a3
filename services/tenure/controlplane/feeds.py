"""The output of one running attempt, shared by all who follow it: one shipping, one window of bytes, many readers.

A window holds the newest bytes that have come. Whoever reads fastest decides how fast more is taken from the worker;
who falls behind the window goes on where it begins, and sees the gap by the offset. Plain state, without waiting.
"""

from __future__ import annotations

import asyncio

from tenure.v1 import worker_service_pb2 as pb

# As much as a worker has.
WINDOW_BYTES = 256 * 1024
# More is taken from the worker once the fastest reader has left no more than this unread.
LOW_BYTES = 128 * 1024
PIECE_BYTES = 64 * 1024


class Bell:
    """Wakes everybody who listens, once. Listen before you look, then no change is missed."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Something has changed."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def listen(self) -> asyncio.Event:
        """Is set at the next ring."""
        return self._event


class Window:
    """The newest bytes of an output, without gaps: from `start` to before `end`."""

    __slots__ = ("_bytes", "_capacity", "end")

    def __init__(self, capacity: int = WINDOW_BYTES) -> None:
        self._capacity = capacity
        self._bytes = bytearray()
        self.end = 0

    @property
    def start(self) -> int:
        """Offset of the oldest byte."""
        return self.end - len(self._bytes)

    def move(self, offset: int) -> None:
        """Forget everything and go on at an offset."""
        self._bytes.clear()
        self.end = offset

    def put(self, offset: int, data: bytes) -> None:
        """Add bytes. After a gap only they are kept; what was there before them stays as it is."""
        if offset > self.end:
            self.move(offset)
        fresh = data[self.end - offset :]
        self._bytes += fresh
        self.end += len(fresh)
        del self._bytes[: -self._capacity]

    def read(self, offset: int, limit: int = PIECE_BYTES) -> tuple[int, bytes]:
        """Bytes from an offset on, or from the oldest one: where they begin, and at most `limit` of them."""
        first = min(max(offset, self.start), self.end)
        at = first - self.start
        return first, bytes(self._bytes[at : at + limit])


class Follower:
    """One who follows; `position` is the offset of the next byte that it wants."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


class Shipment:
    """One call that brings output; of several for a feed only the newest counts."""

    __slots__ = ()


class Feed:
    """One attempt that is followed.

    Attributes:
        lease_id, attempt: which.
        subject: of the token of the worker that was asked for it, who alone may bring it.
        followers: who follows; without any it is given up.
        shipment: the call that brings it; None: there is none.
        cursor: offset at which the next shipment is to begin.
        printed: bytes that the command had printed when last heard; None: not heard in this shipment.
        ended: the worker said that nothing more will come after `window.end`.
        asked_s, moved_s: when the worker was last asked for it, and when something last came or was taken, by the
            loop's clock.
        news: rung for the followers.
        room: rung when more may be taken from the worker.
        over: rung when the shipment may not be wanted any more.
    """

    def __init__(self, lease_id: str, attempt: int, news: Bell) -> None:
        self.lease_id = lease_id
        self.attempt = attempt
        self.subject = ""
        self.followers: set[Follower] = set()
        self.shipment: Shipment | None = None
        self.cursor = 0
        self.printed: int | None = None
        self.ended = False
        self.asked_s: float | None = None
        self.moved_s: float | None = None
        self.news = news
        self.room = Bell()
        self.over = Bell()
        self._window = Window()
        # The worker has nothing from before this offset.
        self._floor = 0

    def join(self, position: int) -> tuple[Follower, bool]:
        """Somebody follows from an offset on.

        Returns:
            The follower, and whether the worker has to be asked (again) for it to get what it wants.
        """
        follower = Follower(position)
        first = not self.followers
        self.followers.add(follower)
        start = self._window.start
        if first or max(position, self._floor) < start:
            # What is on its way comes from a shipment that does not count any more.
            self._move(position)
            return follower, True
        return follower, False

    def leave(self, follower: Follower) -> None:
        """Somebody follows no more."""
        self.followers.discard(follower)
        self.room.ring()
        if not self.followers:
            self.over.ring()

    def begin(self) -> Shipment:
        """A shipment begins, from `cursor` on."""
        self.lose()
        self.shipment = Shipment()
        return self.shipment

    def lose(self) -> None:
        """The shipment is over, or not to be counted on; the next one goes on behind what has come."""
        self.shipment = None
        self.printed = None
        self.over.ring()
        self.room.ring()

    def put(self, message: pb.ShipLogsRequest) -> None:
        """Take what came."""
        window = self._window
        if message.data:
            if message.offset > window.end:
                self._floor = message.offset
            window.put(message.offset, message.data)
            # A window that is full has let go of what its worker has let go of too.
            self._floor = max(self._floor, window.end - WINDOW_BYTES)
        self.cursor = window.end
        self.printed = message.printed
        self.ended = message.end
        self.news.ring()

    def take(self, follower: Follower) -> tuple[int, bytes]:
        """The next bytes for a follower, which has them then: where they begin, and none when there are none yet."""
        if follower.position >= self._window.end:
            return follower.position, b""
        offset, data = self._window.read(follower.position)
        follower.position = offset + len(data)
        self.room.ring()
        return offset, data

    def drained(self, follower: Follower) -> bool:
        """Nothing more will come for a follower."""
        return self.ended and follower.position >= self._window.end

    @property
    def roomy(self) -> bool:
        """More may be taken from the worker."""
        end = self._window.end
        unread = [end - one.position for one in self.followers if one.position <= end]
        return not unread or min(unread) <= LOW_BYTES

    def _move(self, position: int) -> None:
        self.lose()
        self.ended = False
        self.cursor = position
        self._window.move(position)
