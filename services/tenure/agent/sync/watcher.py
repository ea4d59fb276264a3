"""What changes in folders: a port that gives hints, and its implementation over the kernel's notifications.

A watcher may lose a change (a full queue, a folder made and filled at once), so its user scans as well; it never
decides anything by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Protocol

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from tenure.agent.sync.offload import run_to_end

_STEP_MS = 50
_GATHER_MS = 200
_TURN_MS = 60_000
_BLIND = "blind"


class Watcher(Protocol):
    """Hints about changed paths in a fixed set of folders."""

    async def changes(self) -> Sequence[Path]:
        """The next paths that were made, changed or removed since the watcher was made; waits for one at least.

        An empty answer means that nothing is to be expected any more.
        """

    async def close(self) -> None:
        """Stop watching and free the thread; a waiting `changes` returns. May be called twice."""


class WatcherFactory(Protocol):
    """Makes watchers."""

    async def __call__(self, folders: Sequence[Path]) -> Watcher:
        """A watcher that already sees every change of entries of these folders when this returns.

        Folders in them are not watched; the caller names each. One that cannot be watched is left out.
        """


class FolderWatcher:
    """A `Watcher` by the kernel's notifications, with a thread of its own.

    Folders are watched one by one: watching whole trees would follow a job's symlinks out of them.
    """

    def __init__(self, notify: RustNotify, executor: ThreadPoolExecutor) -> None:
        self._notify = notify
        self._executor = executor
        self._stop = Event()
        self._is_closed = False

    @classmethod
    async def watch(cls, folders: Sequence[Path]) -> Watcher:
        """A watcher of these folders: a `WatcherFactory`."""
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tenure-watch")
        try:
            notify = await run_to_end(executor, lambda: _notify(folders))
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(notify, executor)

    async def changes(self) -> Sequence[Path]:
        """The next changed paths; none once it is closed, or cannot go on."""
        while not self._stop.is_set():
            found = await run_to_end(self._executor, self._wait, self._stop)
            if found == _BLIND:
                return []
            if isinstance(found, set):
                return [Path(path) for _, path in found]
        return []

    async def close(self) -> None:
        """Stop watching and end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._stop.set()
            await run_to_end(self._executor, self._notify.close)
            self._executor.shutdown(wait=False)

    def _wait(self) -> set[tuple[int, str]] | str:
        try:
            return self._notify.watch(_GATHER_MS, _STEP_MS, _TURN_MS, self._stop)
        except WatchfilesRustInternalError:
            # A name that is no text, which it cannot tell; nor anything else from then on.
            return _BLIND


class NoWatcher:
    """A `Watcher` that sees nothing: scans alone find what changed. For folders that the kernel does not watch."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    @classmethod
    async def watch(cls, folders: Sequence[Path]) -> Watcher:
        """A watcher of nothing: a `WatcherFactory`."""
        del folders
        return cls()

    async def changes(self) -> Sequence[Path]:
        """Nothing, once it is closed."""
        await self._closed.wait()
        return []

    async def close(self) -> None:
        """Let `changes` return."""
        self._closed.set()


def _notify(folders: Sequence[Path]) -> RustNotify:
    remaining = [str(folder) for folder in folders if _is_text(folder) and folder.is_dir()]
    with contextlib.suppress(OSError):
        return RustNotify(remaining, False, False, 300, False, True)
    # Too many folders for the kernel's limit, or one of them vanished just now: watch what can be watched.
    return RustNotify([], False, False, 300, False, True)


def _is_text(folder: Path) -> bool:
    """Whether the notifications can be asked for it: they take no other names, nor tell any."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        return False
    return True
