"""What changes in folders: a port that gives hints, and its implementation over the kernel's notifications.

A watcher may lose a change (a full queue, a folder made and filled at once), so its user scans as well; it never
decides anything by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol


class Watcher(Protocol):
    """Hints about changed paths in a fixed set of folders."""

    def changes(self) -> AsyncIterator[Sequence[Path]]:
        """Batches of absolute paths that were made, changed or removed since the watcher was made. Ends at `close`."""

    async def close(self) -> None:
        """Stop watching and free the thread. May be called twice."""


class WatcherFactory(Protocol):
    """Makes watchers."""

    async def __call__(self, folders: Sequence[Path]) -> Watcher:
        """A watcher that already sees every change in these folders (not below their symlinks) when this returns."""
