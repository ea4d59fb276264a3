"""Lists of jobs for tests of stores: whole, in pages, and what `verify` says."""

from __future__ import annotations

from collections.abc import Sequence

from tenure.domain import events as e
from tenure.store.store import (
    JobFilter,
    JobOrder,
    JobView,
    Store,
)
from tests.store.making import (
    HOUR,
)

FIVE_HOURS = e.Terms(time_allocation_us=5 * HOUR, basis=e.Basis.CREATED)
FOR_ALL = JobFilter()
NEWEST = JobOrder()


def ids(views: Sequence[JobView]) -> list[str]:
    return [view.stored.job.id for view in views]


async def pages(
    store: Store, wanted: JobFilter, order: JobOrder = NEWEST, size: int = 2, *, histories: bool = False
) -> list[JobView]:
    found: list[JobView] = []
    key = None
    while True:
        page = await store.browse(wanted, order, key, size, histories=histories)
        assert len(page.views) <= size
        found += page.views
        if page.next_key is None:
            return found
        assert len(page.views) == size
        key = page.next_key


async def of(store: Store, **wanted: object) -> list[str]:
    """The ids that a filter means, oldest first, in one page and in small ones."""
    job_filter = JobFilter(**wanted)  # type: ignore[arg-type]
    order = JobOrder(descending=False)
    found = ids(await pages(store, job_filter, order))
    assert found == ids((await store.browse(job_filter, order, None, 1000, histories=False)).views)
    assert found == list(reversed(ids(await pages(store, job_filter, NEWEST, 1))))
    return found


async def problems(store: Store) -> list[str]:
    reports = [report async for report in store.verify()]
    return reports[-1].problems
