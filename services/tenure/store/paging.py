"""Pages of jobs that are bounded in bytes as well as in number, so that no reader of large jobs fills the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tenure.store.store import JobPage, JobView

RowT = TypeVar("RowT")

# A message of 4 MiB, with what comes with the jobs.
PAGE_BYTES = 7 * 512 * 1024
# What numbers, instants and names take: of a job, and of a line of its history.
_JOB_BYTES = 768
_ENTRY_BYTES = 96
# What says that a text follows, and how long it is.
_TEXT_BYTES = 4


def filled(found: Sequence[tuple[RowT, tuple[int, int]]], limit: int, view: Callable[[RowT], JobView]) -> JobPage:
    """A page of at most `limit` jobs, ended before the job that would make it larger than PAGE_BYTES; of one at least.

    Args:
        found: what identifies each job, with its key, in order; one more than `limit` where the page is not the last.
        limit: how many jobs at most.
        view: reads a job.
    """
    views: list[JobView] = []
    size = 0
    for row, _ in found[:limit]:
        one = view(row)
        size += size_of(one)
        if views and size > PAGE_BYTES:
            break
        views.append(one)
    return JobPage(views=tuple(views), next_key=found[len(views) - 1][1] if len(views) < len(found) else None)


def size_of(view: JobView) -> int:
    """At least as many bytes as a job takes where all of it is shown."""
    job = view.stored.job
    # The arguments are shown a second time, as what the application resolves to.
    said = [job.reason, *job.origin.arguments]
    if job.progress is not None:
        said.append(job.progress.message)
    for update in view.updates:
        said += (update.text, update.worker_id)
    for attempt in view.attempts:
        said += (attempt.message, attempt.worker_id)
    numbers = _JOB_BYTES + _ENTRY_BYTES * (len(view.updates) + len(view.attempts))
    return len(view.stored.specification) + numbers + sum(_TEXT_BYTES + _bytes_of(text) for text in said)


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
