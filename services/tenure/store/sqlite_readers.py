"""Where a read of the SQLite engine runs: short ones on the loop itself, because changing threads costs five times as
much as they do; what may be long in one of a few threads, each with a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import apsw

from tenure.store.origins import Origins
from tenure.store.sqlite_reads import Reads, readable

READERS = 2
# Up to so many rows are read on the loop itself: about a millisecond.
SHORT = 32

T = TypeVar("T")


class Readers:
    """Reads of one database; whoever closes the writer closes these first.

    Every read raises StoreDamaged where the database cannot be what was written.
    """

    def __init__(self, path: Path, origins: Origins) -> None:
        self._loop = asyncio.get_running_loop()
        self._here = Reads(path, origins)
        self._free: SimpleQueue[Reads] = SimpleQueue()
        for _ in range(READERS):
            self._free.put(Reads(path, origins))
        self.threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="tenure-reader")

    def at_once(self, read: Callable[[Reads], T]) -> T:
        """Read on the loop."""
        return readable(read, self._here)

    async def scan(self, read: Callable[[Reads], T]) -> T:
        """Read in a reader's thread."""

        def run() -> T:
            reads = self._free.get()
            try:
                return readable(read, reads)
            finally:
                self._free.put(reads)

        return await self._loop.run_in_executor(self.threads, run)

    async def read(self, size: int, read: Callable[[Reads], T]) -> T:
        """Read so many rows, where that is right."""
        return self.at_once(read) if size <= SHORT else await self.scan(read)

    async def query(self, size: int, run: Callable[[apsw.Connection], T]) -> T:
        """The same, for those who write their own statements."""
        return await self.read(size, lambda reads: run(reads.connection))

    async def close(self) -> None:
        """Wait for what is being read."""
        await self._loop.run_in_executor(None, self.threads.shutdown)
        self._here.close()
        while not self._free.empty():
            self._free.get().close()
