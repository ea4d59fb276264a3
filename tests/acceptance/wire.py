"""A line between a worker and its server that can be cut: bytes then go nowhere, and nobody is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

CHUNK = 64 * 1024


class Wire:
    """Forwards connections to `target`; `address` is where it listens."""

    def __init__(self, target: str) -> None:
        self.address = ""
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    def cut(self) -> None:
        """From now on nothing passes; connections stay open."""
        self._whole.clear()

    async def mend(self) -> None:
        """The line is whole again; connections of before are dropped."""
        await self._drop()
        self._whole.set()

    async def close(self) -> None:
        """End it."""
        assert self._server is not None
        self._server.close()
        await self._drop()

    async def _drop(self) -> None:
        lines = list(self._lines)
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        try:
            await self._whole.wait()
            host, port = self._target.rsplit(":", 1)
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, there_writer))
                    group.create_task(self._pump(there_reader, writer))
            finally:
                there_writer.close()
        except* OSError:
            pass
        finally:
            self._lines.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def wire(target: str) -> AsyncIterator[Wire]:
    """A line to the server at that address."""
    line = Wire(target)
    await line.open()
    try:
        yield line
    finally:
        await line.close()
