"""A SQLite store for tests: opened, waited for, and closed again whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tenure.runtime.clock import Clock, SystemClock
from tenure.runtime.ids import Uuid7Ids
from tenure.store.sqlite import SqliteStore
from tenure.store.sqlite_open import open_sqlite


@asynccontextmanager
async def opened(
    directory: Path,
    *,
    fatal: list[BaseException] | None = None,
    create: bool = True,
    clock: Clock | None = None,
) -> AsyncIterator[SqliteStore]:
    """The store in a directory. What it calls fatal goes into `fatal`; without such a list it is raised at the end."""
    told: list[BaseException] = [] if fatal is None else fatal
    store = await open_sqlite(
        directory, clock=clock or SystemClock(), ids=Uuid7Ids(), on_fatal=told.append, create=create
    )
    try:
        yield store
    finally:
        await store.close()
    if fatal is None and told:
        raise told[0]


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for what another thread does."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)
