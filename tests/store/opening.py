"""A SQLite store for tests: opened, and closed again whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
