"""One server a data directory: an exclusive `flock` on `<directory>/LOCK` for the life of the process.

The lock goes with the process, however it ends; the file stays and says whose it was.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tenure.store.store import StoreError


class StoreLocked(StoreError):
    """Another process has the data directory open; the text names it where it can."""


class DirectoryLock:
    """The lock on a data directory; held until `release`."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            StoreLocked: somebody else has it.
            OSError: the file cannot be written.
        """
        self._file = os.open(directory / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise StoreLocked(
                f"{directory} is in use by {who}: stop that server first, or ask it through its RPCs"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; a second call changes nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
