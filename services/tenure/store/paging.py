"""Pages of jobs that are bounded in bytes as well as in number, so that no reader of large jobs fills the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tenure.store.store import JobPage, JobView

RowT = TypeVar("RowT")

# With what is said of each job besides, a message of 4 MiB.
PAGE_BYTES = 7 * 512 * 1024
_JOB_BYTES = 256
_ENTRY_BYTES = 64


def filled(found: Sequence[tuple[RowT, tuple[int, int]]], limit: int, view: Callable[[RowT], JobView]) -> JobPage:
    """A page of at most `limit` jobs, ended early by the job that makes it larger than PAGE_BYTES.

    Args:
        found: what identifies each job, with its key, in order; one more than `limit` where the page is not the last.
        limit: how many jobs at most.
        view: reads a job.
    """
    views: list[JobView] = []
    size = 0
    for row, _ in found[:limit]:
        views.append(view(row))
        size += size_of(views[-1])
        if size >= PAGE_BYTES:
            break
    return JobPage(views=tuple(views), next_key=found[len(views) - 1][1] if len(views) < len(found) else None)


def size_of(view: JobView) -> int:
    """Roughly how many bytes a job takes where it is shown."""
    told = sum(len(update.text) for update in view.updates) + sum(len(attempt.message) for attempt in view.attempts)
    return len(view.stored.specification) + told + _JOB_BYTES + _ENTRY_BYTES * (len(view.updates) + len(view.attempts))
