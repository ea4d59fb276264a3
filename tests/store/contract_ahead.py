"""What every engine promises of a job's place in its queue."""

from __future__ import annotations

from tenure.store.store import Store
from tests.store.making import T0, add_jobs, assign, change, created_event, creation, put


class AheadContract:
    """How many jobs come before one."""

    async def test_jobs_that_come_before_are_counted_by_place(self, store: Store) -> None:
        await put(
            store,
            creation("low", created_event("low", priority=-1)),
            creation("first"),
            creation("elsewhere", created_event("elsewhere", queue="other")),
            creation("urgent", created_event("urgent", priority=5)),
            creation("last"),
        )
        places = {one.job.id: one.place for one in await store.candidates("default", None, 10, T0)}
        ahead = {job_id: await store.count_ahead("default", place, 100) for job_id, place in places.items()}
        assert ahead == {"urgent": 0, "first": 1, "last": 2, "low": 3}
        assert await store.count_ahead("default", places["low"], 2) == 2
        assert await store.count_ahead("nowhere", (0, 100), 10) == 0

    async def test_only_jobs_that_wait_are_counted(self, store: Store) -> None:
        first, _ = await add_jobs(store, "first", "second")
        ((_, place),) = [(one.job, one.place) for one in await store.candidates("default", (0, 1), 10, T0)]
        assert await store.count_ahead("default", place, 10) == 1
        await put(store, change(first, assign(first)))
        assert await store.count_ahead("default", place, 10) == 0
