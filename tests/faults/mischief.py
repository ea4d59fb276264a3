"""A proxy before the server that plays tricks, all from one seed: it delays, stalls, hangs up and half closes.

It knows nothing of what it carries, so a reply may be lost whole or in the middle, after the request has gone through.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator

CHUNK = 64 * 1024
DELAY_S = 0.03
STALL_S = 1.5


class Mischief:
    """Forwards connections to `target`; `address` is where it listens, `played` how often each trick was played.

    Args:
        rate: the part of all pieces of data with which a trick is played.
    """

    def __init__(self, target: str, seed: int, *, rate: float) -> None:
        self.address = ""
        self.played: Counter[str] = Counter()
        self._target = target
        self._seed = seed
        self._rate = rate
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def faults(self) -> int:
        """Tricks played so far."""
        return self.played.total()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    def behave(self) -> None:
        """No more tricks."""
        self._rate = 0

    async def close(self) -> None:
        """End it."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            _hang_up(writer)
        if self._connections:
            await asyncio.wait(self._connections, timeout=2 * STALL_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        self._seed += 1
        generator = random.Random(self._seed)
        try:
            host, port = self._target.rsplit(":", 1)
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
            self._writers.add(there_writer)
            try:
                there = asyncio.ensure_future(self._pump(reader, there_writer, generator))
                back = asyncio.ensure_future(self._pump(there_reader, writer, generator))
                # A side that has said all may still be answered, for a while.
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait((there, back), timeout=STALL_S)
                for pump in (there, back):
                    pump.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
            finally:
                self._writers.discard(there_writer)
                _hang_up(there_writer)
        except OSError:
            pass
        finally:
            self._connections.discard(task)
            self._writers.discard(writer)
            _hang_up(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generator: random.Random) -> None:
        """Carry one direction until it ends, or until a trick ends it."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if generator.random() < self._rate and not await self._play(data, writer, generator):
                    return
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

    async def _play(self, data: bytes, writer: asyncio.StreamWriter, generator: random.Random) -> bool:
        """Play a trick; whether the data is carried after it."""
        trick = generator.choice(["delay", "delay", "stall", "cut", "cut", "cut in the middle", "half close"])
        self.played[trick] += 1
        match trick:
            case "delay":
                await asyncio.sleep(generator.uniform(0, DELAY_S))
                return True
            case "stall":
                await asyncio.sleep(generator.uniform(0, STALL_S))
                return True
            case "cut in the middle":
                writer.write(data[: len(data) // 2])
            case "half close":
                writer.write_eof()
                return False
            case _:
                pass
        _hang_up(writer)
        return False


def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset where something has not been read."""
    with contextlib.suppress(OSError):
        opened = writer.get_extra_info("socket")
        if opened is not None and opened.fileno() >= 0:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.close()


@contextlib.asynccontextmanager
async def mischief(target: str, seed: int, *, rate: float) -> AsyncIterator[Mischief]:
    """Such a proxy before the server at that address."""
    proxy = Mischief(target, seed, rate=rate)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
