"""Several things at once, but not too many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tenure.agent.sync.counters import Counters
from tenure.runtime.groups import TaskGroup

Item = TypeVar("Item")

AT_ONCE = 8
"""How many files of an attempt are copied at once."""


async def each(
    items: Sequence[Item], work: Callable[[Item], Awaitable[None]], counters: Counters | None = None
) -> None:
    """Do all of the work, eight items at once; the first error ends the rest and is raised.

    Args:
        items: The items.
        work: Called with each.
        counters: Its `files_pending` tells how many are not done yet.
    """
    pending = len(items)
    todo = iter(items)

    def count(change: int) -> None:
        nonlocal pending
        pending += change
        if counters is not None:
            counters.files_pending += change

    async def worker() -> None:
        for item in todo:
            await work(item)
            count(-1)

    if counters is not None:
        counters.files_pending += pending
    try:
        async with TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(items))):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        count(-pending)
