"""Disks for the memory store: one that can be full, one that can be slow."""

from __future__ import annotations

import asyncio

from tenure.store.store import StorageFull


class FullDisk:
    """Refuses while `full`."""

    full = False

    async def flush(self, events: int) -> None:
        if self.full:
            raise StorageFull("no room")


class SlowDisk:
    """Flushes while `open` is set; what has waited for that is refused if the disk is `full` then."""

    full = False

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def flush(self, events: int) -> None:
        await self.open.wait()
        if self.full:
            raise StorageFull("no room")
