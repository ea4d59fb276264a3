"""What every engine promises of queues and tokens, and how `verify` and `rebuild` prove the rest."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.queue import Queue
from tenure.store.store import (
    JobOrder,
    Store,
    TokenRow,
    Unit,
)
from tests.store.listing import FIVE_HOURS, FOR_ALL, pages, problems
from tests.store.making import (
    HOUR,
    SECOND,
    T0,
    add_jobs,
    append,
    assign,
    change,
    created_event,
    creation,
    lease,
    life,
    load,
    put,
    queue_append,
)


class OthersContract:
    """Queues, tokens, and the proof that rows are what the log makes."""

    async def test_a_queue_is_the_fold_of_its_stream(self, store: Store) -> None:
        configured = e.QueueConfigured(
            features=e.Features(suspension=True, sync=False),
            max_time_allocation_us=HOUR,
            products=(e.Product(id="p", category="c", provider="v", basis=e.Basis.CREATED, time_extension=False),),
            read_only=True,
        )
        first = queue_append("lab", None, configured)
        await put(store, first)
        second = queue_append("lab", first.queue, e.QueuePaused(reason="move"), at_us=T0 + SECOND)
        await put(store, second, queue_append("other", None, e.QueueConfigured()))
        queues = await store.load_queues()
        assert set(queues) == {"lab", "other"}
        assert queues["lab"] == Queue(name="lab", version=2, configured=configured, paused=True, last_us=T0 + SECOND)
        await put(store, queue_append("lab", second.queue, e.QueueResumed(), e.QueuePaused(reason="")))
        assert (await store.load_queues())["lab"].version == 4
        assert [event.version for event in await store.read_stream("queue/lab", 0, 10)] == [1, 2, 3, 4]

    async def test_the_depth_of_queues_is_counted(self, store: Store) -> None:
        await put(store, *(creation(f"d{n}", at_us=T0 + n * SECOND) for n in range(4)))
        (other,) = await put(store, creation("o", created_event("o", queue="other")))
        await put(store, change(other, assign(other)))
        job = (await load(store, "d0")).job
        await put(store, change(job, assign(job)))
        depths = await store.queue_depths()
        assert (depths["default"].waiting, depths["default"].active) == (3, 1)
        assert depths["default"].oldest_us == T0 + SECOND
        assert (depths["other"].waiting, depths["other"].active, depths["other"].oldest_us) == (0, 1, None)

    async def test_tokens_are_kept_and_revoked(self, store: Store) -> None:
        one = TokenRow(id="t1", digest=b"1" * 32, role="admin", subject="ops", created_us=T0)
        two = TokenRow(
            id="t2", digest=b"2" * 32, role="worker", subject="w", project="p", queues=("a", "b"), created_us=T0 + 1
        )
        await store.add_token(two)
        await store.add_token(one)
        assert await store.list_tokens() == [one, two]
        assert await store.find_token(b"2" * 32) == two
        assert await store.find_token(b"3" * 32) is None
        assert await store.revoke_token("t2", T0 + 5)
        assert not await store.revoke_token("t2", T0 + 6)
        assert not await store.revoke_token("nobody", T0)
        assert await store.find_token(b"2" * 32) == replace(two, revoked_us=T0 + 5)

    async def test_verify_finds_nothing_wrong_with_a_busy_store(self, store: Store) -> None:
        await self._busy(store)
        reports = [report async for report in store.verify()]
        last = reports[-1]
        assert last.problems == []
        assert last.ok
        assert (last.position, last.events, last.jobs) == (store.head().position, store.head().position, 30)

    async def test_verify_goes_on_beside_commits(self, store: Store) -> None:
        await self._busy(store)

        async def write() -> None:
            for number in range(40):
                (job,) = await add_jobs(store, f"beside{number}")
                await put(store, change(job, *life(job)))

        found, _ = await asyncio.gather(problems(store), write())
        assert found == []

    async def test_verify_finds_a_row_that_is_not_what_the_log_makes(self, store: Store) -> None:
        job, _ = await add_jobs(store, "a", "b")
        wrong = change(job, assign(job))
        assert wrong.job is not None
        await put(store, replace(wrong, job=replace(wrong.job, num_failures=2)))
        (problem,) = await problems(store)
        assert "job" in problem
        assert "a: its row is not what its" in problem

    async def test_a_rebuild_makes_the_same_rows(self, store: Store) -> None:
        await self._busy(store)
        everything = await pages(store, FOR_ALL, JobOrder(descending=False), 7, histories=True)
        queues = await store.load_queues()
        due = await store.due(T0 + 100 * HOUR, None, 1000)
        reached = [position async for position in store.rebuild()]
        assert reached[-1] == store.head().position
        assert reached == sorted(reached)
        assert await pages(store, FOR_ALL, JobOrder(descending=False), 7, histories=True) == everything
        assert await store.load_queues() == queues
        assert await store.due(T0 + 100 * HOUR, None, 1000) == due
        assert await problems(store) == []
        await self._go_on(store)

    async def test_a_rebuild_mends_a_wrong_row(self, store: Store) -> None:
        (job,) = await add_jobs(store, "a")
        right = change(job, assign(job))
        assert right.job is not None
        await put(store, replace(right, job=replace(right.job, num_failures=2)))
        async for _ in store.rebuild():
            pass
        assert (await load(store, "a")).job == right.job
        assert await problems(store) == []
        (job,) = await put(store, change(right.job, c.Terminate()))
        assert (await load(store, "a")).job == job

    async def test_an_empty_store_is_verified_and_rebuilt(self, store: Store) -> None:
        assert [position async for position in store.rebuild()][-1:] in ([], [0])
        assert await problems(store) == []

    async def _busy(self, store: Store) -> None:
        """Thirty jobs in every phase, two queues."""
        await put(store, queue_append("default", None, e.QueueConfigured(), e.QueuePaused(reason="x")))
        appends = []
        for number in range(30):
            terms = FIVE_HOURS if number % 2 else e.Terms(time_allocation_us=HOUR, basis=e.Basis.STARTED)
            facets = e.Facets(labels=(("n", str(number % 3)),))
            name = f"busy{number}"
            appends.append(creation(name, created_event(name, terms=terms, facets=facets, project="p")))
        jobs = await put(store, *appends[:10])
        jobs += [job for done in await asyncio.gather(*(put(store, one) for one in appends[10:])) for job in done]
        for number, job in enumerate(jobs):
            held = lease(job)
            begin = (assign(job), c.Start(lease_id=held))
            beat = c.Beat(count=2, at_us=job.last_us + 2 * SECOND, transfer=e.Transfer(bytes_uploaded=7))
            ends: tuple[tuple[c.Command, ...], ...] = (
                (),
                begin,
                (*begin, c.Record(lease_id=held, beat=beat)),
                (*begin, c.Succeed(lease_id=held)),
                (*begin, c.Fail(lease_id=held, stage=e.Stage.RUN, signal=9, oom=True, message="m")),
                (assign(job), c.Decline(lease_id=held, reason="full")),
            )
            commands = ends[number % len(ends)]
            if commands:
                await put(store, change(job, *commands))
        await put(store, queue_append("lab", None, e.QueueConfigured(default_time_allocation_us=HOUR)))

    async def _go_on(self, store: Store) -> None:
        job = (await load(store, "busy0")).job
        (job,) = await put(store, append(job, [(job.last_us, e.JobExtended(requested_us=SECOND))]))
        assert (await load(store, "busy0")).job == job
        assert await store.commit(Unit(appends=(creation("later"),)))
