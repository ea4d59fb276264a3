"""Producers and consumers of beanstalkd, as lean as Python makes them: put, and reserve and delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.rig.processes import Server

# Priority, delay and time to run of a job.
_PUT = b"put 1 0 600 %d\r\n%b\r\n"


class Connection:
    """One connection; one command at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def put(self, body: bytes) -> None:
        """Add a job; returns once it is in the log."""
        await self._ask(_PUT % (len(body), body), b"INSERTED")

    async def reserve(self) -> bytes:
        """Wait for a job; its id."""
        _, job_id, size = (await self._ask(b"reserve\r\n", b"RESERVED")).split()
        await self._reader.readexactly(int(size) + 2)
        return job_id

    async def delete(self, job_id: bytes) -> None:
        """End a job."""
        await self._ask(b"delete %b\r\n" % job_id, b"DELETED")

    async def _ask(self, command: bytes, expected: bytes) -> bytes:
        self._writer.write(command)
        line = await self._reader.readline()
        if not line.startswith(expected):
            raise RuntimeError(f"beanstalkd answered {line!r}")
        return line

    def close(self) -> None:
        """Let go of it."""
        self._writer.close()


@asynccontextmanager
async def connections(server: Server, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections."""
    host, _, port = server.address.rpartition(":")
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            connection = Connection(*await asyncio.open_connection(host, int(port)))
            stack.callback(connection.close)
            made.append(connection)
        yield made


class Consumers:
    """Connections that reserve and delete. `finished` counts deleted jobs."""

    def __init__(self) -> None:
        self.finished = 0
        self._changed = asyncio.Event()

    async def consume(self, connection: Connection) -> None:
        """Work until cancelled."""
        while True:
            await connection.delete(await connection.reserve())
            self.finished += 1
            self._changed.set()

    async def until_finished(self, total: int) -> None:
        """Wait until so many jobs were deleted in all."""
        while self.finished < total:
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def consuming(server: Server, count: int) -> AsyncIterator[Consumers]:
    """Consumers at work."""
    consumers = Consumers()
    async with connections(server, count) as made, asyncio.TaskGroup() as group:
        tasks = [group.create_task(consumers.consume(one)) for one in made]
        yield consumers
        for task in tasks:
            task.cancel()


def putting(made: list[Connection], body: bytes) -> Callable[[], Awaitable[int]]:
    """A call that puts one job over whichever connection is free."""
    free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for connection in made:
        free.put_nowait(connection)

    async def call() -> int:
        connection = free.get_nowait()
        await connection.put(body)
        free.put_nowait(connection)
        return 1

    return call
