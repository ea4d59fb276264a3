"""Absolute folders: which a worker allows, and which its attempts are using now."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import PurePosixPath


def refused(paths: Sequence[str], roots: Sequence[str]) -> str | None:
    """Why a worker with these roots cannot use these absolute, normalised folders; None: it can."""
    for path in paths:
        below = [root for root in map(posixpath.normpath, roots) if path != root and is_below(path, root)]
        if not below:
            allowed = ", ".join(roots) or "none"
            return f"the folder {path} does not lie below a root that this worker allows (allowed: {allowed})"
    return None


def is_below(path: str, root: str) -> bool:
    """`path` is `root` or lies below it; both normalised."""
    return PurePosixPath(path).is_relative_to(root)


class PathsInUse:
    """Folders of running attempts; two of them never share one, nor does one lie inside the other."""

    def __init__(self) -> None:
        self._by_owner: dict[str, tuple[str, ...]] = {}

    def free(self, paths: Sequence[str]) -> bool:
        """Nobody uses any of them, anything below them or anything above them."""
        return not any(is_below(a, b) or is_below(b, a) for a in paths for b in self.all())

    def take(self, owner: str, paths: Sequence[str]) -> None:
        """They belong to this owner from now on; ask `free` first."""
        self._by_owner[owner] = tuple(paths)

    def give_back(self, owner: str) -> None:
        """The owner has done with them."""
        self._by_owner.pop(owner, None)

    def all(self) -> list[str]:
        """All of them."""
        return [path for paths in self._by_owner.values() for path in paths]
