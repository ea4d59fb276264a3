"""Absolute paths of jobs: which of them a worker allows, and which get in each other's way."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def allowed(paths: Iterable[str], roots: Collection[str]) -> bool:
    """Whether each of the paths lies below one of the roots."""
    return all(any(below(path, root) for root in roots) for path in paths)


def overlap(paths: Iterable[str], others: Collection[str]) -> bool:
    """Whether one of the paths lies below one of the others, or the other way round."""
    return any(below(path, other) or below(other, path) for path in paths for other in others)
