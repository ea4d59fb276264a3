"""A hostile HTTP/2 client: its plan, its connections, and what it has seen. The attacks are in `h2_attacks`."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.hostile import h2_frames as h2

# How much it sends before it lets others have their turn.
BURST = 100


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do: an attack by its name, over so many connections, so many times (calls, frames) on each."""

    attack: str
    host: str
    port: int
    connections: int
    times: int
    seconds: float
    path: str = ""
    token: str = ""
    message: str = ""

    @property
    def body(self) -> bytes:
        """The request message of its calls."""
        return base64.b64decode(self.message)

    @property
    def authority(self) -> str:
        """What its calls say they call."""
        return f"{self.host}:{self.port}"


class Connection:
    """A connection that answers pings, and gives no credit unless it is told to."""

    def __init__(self, plan: Plan, seen: Counter[str]) -> None:
        self.plan = plan
        self._seen = seen
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self.next_stream = 1
        self.ended = 0
        # How many bytes of DATA each stream may still send, the connection as stream 0, and what fresh ones may.
        self._credit: dict[int, int] = {0: 65_535}
        self._fresh_credit = 65_535
        self._credited = asyncio.Event()
        self.closed = asyncio.Event()

    async def connect(self, opening: bytes, *, listen: bool = True) -> None:
        """Connect and send this first."""
        self._reader, self._writer = await asyncio.open_connection(self.plan.host, self.plan.port)
        await self.send(opening)
        if listen:
            self._listening = asyncio.ensure_future(self._listen())

    async def send(self, data: bytes) -> None:
        """Send; waits while the other side reads nothing. A connection that is gone takes everything."""
        assert self._writer is not None
        if self.closed.is_set():
            return
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            self._close()

    def headers(self, *more: tuple[str, bytes], end: bool = False) -> tuple[int, bytes]:
        """The number of the next stream, and the frame that opens it."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        block = h2.header_block(h2.call_fields(self.plan.path, self.plan.authority, self.plan.token, *more))
        flags = h2.END_HEADERS | (h2.END_STREAM if end else 0)
        return stream, h2.frame(h2.HEADERS, flags, stream, block)

    def call(self, *, end: bool = True) -> bytes:
        """A whole call with the plan's message."""
        stream, opening = self.headers()
        return opening + h2.data_frames(stream, h2.message(self.plan.body), end=end)

    async def upload(self, stream: int, data: bytes) -> None:
        """Send DATA on a stream as fast as the other side gives credit."""
        sent = 0
        while sent < len(data) and not self.closed.is_set():
            credit = min(self._credit[0], self._credit.setdefault(stream, self._fresh_credit), h2.MOST_PAYLOAD)
            if credit <= 0:
                self._credited.clear()
                await self._credited.wait()
                continue
            piece = data[sent : sent + credit]
            self._credit[0] -= len(piece)
            self._credit[stream] -= len(piece)
            sent += len(piece)
            self._seen["bytes uploaded"] += len(piece)
            await self.send(h2.frame(h2.DATA, 0, stream, piece))

    async def end(self) -> None:
        """Hang up."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._writer is not None:
            self._writer.transport.abort()

    def _close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self._seen["connections closed by the server"] += 1

    async def _listen(self) -> None:
        assert self._reader is not None
        try:
            while True:
                head = await self._reader.readexactly(h2.HEAD_BYTES)
                length = int.from_bytes(head[:3], "big")
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                payload = await self._reader.readexactly(length)
                await self._note(kind, flags, stream, payload)
        except (OSError, asyncio.IncompleteReadError):
            self._close()

    async def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        name = h2.NAMES[kind] if kind < len(h2.NAMES) else "other"
        self._seen[name] += 1
        if kind == h2.HEADERS and flags & h2.END_STREAM:
            self.ended += 1
            self._seen["calls answered"] += 1
        elif kind == h2.RST_STREAM:
            self.ended += 1
            self._seen[f"RST_STREAM {struct.unpack('>I', payload)[0]}"] += 1
        elif kind == h2.GOAWAY:
            self._seen[f"GOAWAY {struct.unpack('>I', payload[4:8])[0]}"] += 1
        elif kind == h2.DATA:
            self._seen["bytes of DATA"] += len(payload)
        elif kind == h2.WINDOW_UPDATE:
            credit = self._credit.get(stream, self._fresh_credit)
            self._credit[stream] = credit + struct.unpack(">I", payload)[0]
            self._credited.set()
        elif kind == h2.SETTINGS and not flags & h2.ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == h2.INITIAL_WINDOW_SIZE:
                    self._fresh_credit = value
            await self.send(h2.frame(h2.SETTINGS, h2.ACK, 0))
        elif kind == h2.PING and not flags & h2.ACK:
            await self.send(h2.frame(h2.PING, h2.ACK, 0, payload))


class Attacker:
    """Carries a plan out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen: Counter[str] = Counter()
        self.connections: list[Connection] = []
        self.over = asyncio.Event()
        self._stands = False

    def stand(self) -> None:
        """Say that the attack stands; others may look at what it does from now on."""
        if not self._stands:
            self._stands = True
            print("ready", flush=True)

    async def connection(self, *settings: tuple[int, int], listen: bool = True) -> Connection:
        """One more connection with the preface and these settings."""
        return await self.raw(h2.PREFACE + h2.settings(*settings), listen=listen)

    async def raw(self, opening: bytes, *, listen: bool = True) -> Connection:
        """One more connection with these first bytes."""
        connection = Connection(self.plan, self.seen)
        self.connections.append(connection)
        try:
            await connection.connect(opening, listen=listen)
        except OSError:
            self.seen["connections refused"] += 1
            connection.closed.set()
        return connection

    async def repeat(self, connection: Connection, make: Callable[[], bytes]) -> None:
        """Send the same again and again, `times` in all; ends early with the connection."""
        for start in range(0, self.plan.times, BURST):
            if connection.closed.is_set():
                return
            count = min(BURST, self.plan.times - start)
            self.seen["sent"] += count
            await connection.send(b"".join(make() for _ in range(count)))
            await asyncio.sleep(0)

    async def everywhere(self, work: Callable[[Connection], Awaitable[None]], *settings: tuple[int, int]) -> None:
        """Open all connections and do the same on each."""
        opened = [await self.connection(*settings) for _ in range(self.plan.connections)]
        await asyncio.gather(*(work(one) for one in opened))
