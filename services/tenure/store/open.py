"""A store by its address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tenure.runtime.clock import Clock
from tenure.runtime.ids import Uuid7Ids
from tenure.store.memory import MemoryStore
from tenure.store.sqlite_open import open_sqlite
from tenure.store.store import Store, StoreError


class BadAddress(StoreError):
    """The address of a store is not one that can be opened; the text says what is."""


async def open_store(
    url: str, *, clock: Clock, on_fatal: Callable[[BaseException], None], create: bool = True
) -> Store:
    """Open the store at an address; `close` it when done.

    Args:
        url: `memory:`, or `sqlite:///DIR` where DIR is the data directory (what follows `sqlite://`, leading slashes
            taken as one; `sqlite:DIR` is relative).
        clock: used for the times of bookkeeping, never for events.
        on_fatal: called once, from the store's own thread, when a commit's outcome is unknown: the process is to end
            at once and start again.
        create: make the data directory and the database where they are missing.

    Raises:
        BadAddress: it is not an address of a store.
        StoreError: it cannot be opened; the text says why and what to do.
    """
    scheme, colon, _ = url.partition(":")
    if not colon:
        raise BadAddress(f"{url!r} is not the address of a store: write memory: or sqlite:///DIR")
    if scheme == "memory":
        return MemoryStore(log_id=Uuid7Ids().new())
    if scheme == "sqlite":
        return await open_sqlite(directory_of(url), clock=clock, ids=Uuid7Ids(), on_fatal=on_fatal, create=create)
    if scheme in ("postgresql", "postgres"):
        raise BadAddress("PostgreSQL is not supported yet: use sqlite:///DIR")
    raise BadAddress(f"{scheme}: is not a kind of store: use memory: or sqlite:///DIR")


def directory_of(url: str) -> Path:
    """The data directory that an address of the form sqlite:///DIR or sqlite:DIR names.

    Raises:
        BadAddress: it names none.
    """
    scheme, _, rest = url.partition(":")
    if rest.startswith("//"):
        rest = "/" + rest.lstrip("/")
    if scheme != "sqlite" or rest in ("", "/"):
        raise BadAddress(f"{url!r} names no directory: write sqlite:///DIR")
    return Path(rest)
