"""What the memory engine has for a disk: a simulation puts one there that is slow, full or broken."""

from __future__ import annotations

from typing import Protocol


class Disk(Protocol):
    """What stands between a commit and its acknowledgement."""

    async def flush(self, events: int) -> None:
        """Return once so many events are as good as on disk.

        Raises:
            StorageFull, StorageReadOnly: nothing was written.
            CommitOutcomeUnknown: the store takes no more commits.
        """


class InstantDisk:
    """A disk that needs no time and never fails."""

    async def flush(self, events: int) -> None:
        """Return at once."""
