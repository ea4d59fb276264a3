"""Which absolute folders are in use on this machine: the kernel's lock on the marker file in each of them.

What one worker knows of its own attempts says nothing about another worker's. The lock does, also where two paths are
one folder, and it goes with the process however that ends: what a dead worker left can be taken over.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from threading import Lock

from tenure.agent.sync.beneath import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    owner: str
    descriptor: int


class Claims:
    """The markers that are locked here, by folder. Its methods may be called from several threads."""

    def __init__(self) -> None:
        self._held: dict[Place, _Claim] = {}
        self._mutex = Lock()

    def take(self, place: Place, owner: str, descriptor: int) -> None:
        """Keep a locked marker open until it is dropped; the descriptor is ours from now on."""
        with self._mutex:
            self._held[place] = _Claim(owner=owner, descriptor=descriptor)

    def holds(self, place: Place, folder: int, marker: str) -> bool:
        """The marker that lies in the folder, open as `folder`, is the one that is locked here for it."""
        with self._mutex:
            claim = self._held.get(place)
            return claim is not None and _lies_there(claim.descriptor, folder, marker)

    def owner(self, place: Place) -> str | None:
        """Who holds the folder here; None: nobody does."""
        with self._mutex:
            claim = self._held.get(place)
            return None if claim is None else claim.owner

    def drop(self, place: Place) -> None:
        """Let go of a folder, if it is held here."""
        with self._mutex:
            claim = self._held.pop(place, None)
            if claim is not None:
                os.close(claim.descriptor)

    def drop_all(self, owner: str) -> None:
        """Let go of every folder that this owner holds here."""
        with self._mutex:
            for place in [place for place, claim in self._held.items() if claim.owner == owner]:
                os.close(self._held.pop(place).descriptor)


def lock(folder: int, marker: str, *, new: bool) -> int | None:
    """Lock the marker in the folder that is open as `folder`, without waiting.

    Args:
        folder: The folder's descriptor.
        marker: The marker's name in it.
        new: Make the marker; otherwise it is there.

    Returns:
        The marker's descriptor, which no command inherits; the lock lasts until it is closed. None: somebody else has
        it, or has just made it or taken it away.
    """
    # Never emptied by opening: until it is locked, it may be somebody else's.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0)
    try:
        descriptor = os.open(marker, flags, 0o644, dir_fd=folder)
    except (FileExistsError, FileNotFoundError):
        return None
    locked = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been taken away, and another one made, between the opening and the locking.
        locked = _lies_there(descriptor, folder, marker)
    except BlockingIOError:
        return None
    finally:
        if not locked:
            os.close(descriptor)
    return descriptor if locked else None


def _lies_there(descriptor: int, folder: int, marker: str) -> bool:
    try:
        there = os.stat(marker, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
