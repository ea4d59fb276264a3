"""What every engine promises of its rows: jobs, histories, lists, queues, tokens, verify and rebuild."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job, fold
from tenure.domain.queue import Queue
from tenure.domain.states import State
from tenure.store.store import (
    JobFilter,
    JobOrder,
    JobView,
    Store,
    TokenRow,
    Unit,
)
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


class JobsContract:
    """A job is the fold of its stream, with a history."""

    async def test_a_job_is_the_fold_of_its_stream(self, store: Store) -> None:
        event = created_event("a", terms=FIVE_HOURS, facets=e.Facets(name="n", labels=(("k", "v"),)), priority=-3)
        (job,) = await put(store, creation("a", event))
        steps: list[tuple[c.Command, ...]] = [
            (assign(job, "w1"), c.Decline(lease_id=lease(job), reason="busy")),
            (c.Extend(requested_us=HOUR),),
        ]
        for commands in steps:
            (job,) = await put(store, change(job, *commands))
        held = lease(job)
        beat = c.Beat(count=3, at_us=job.last_us, stage=e.Stage.RUN, progress=0.25, progress_message="a quarter")
        (job,) = await put(
            store, change(job, assign(job, "w2"), c.Start(lease_id=held), c.Record(lease_id=held, beat=beat))
        )
        assert (await load(store, "a")).job == job
        assert job.progress is not None
        (job,) = await put(store, change(job, c.Fail(lease_id=held, stage=e.Stage.RUN, exit_code=1)))
        assert (await load(store, "a")).job == job
        held = lease(job)
        (job,) = await put(store, change(job, assign(job, "w3"), c.ExpireLease(lease_id=held, silence_us=60 * SECOND)))
        assert job.lost_in_a_row
        assert (await load(store, "a")).job == job
        held = lease(job)
        (job,) = await put(
            store,
            change(job, assign(job, "w4"), c.Start(lease_id=held), c.Terminate(reason="enough", grace_us=10 * SECOND)),
        )
        assert job.stop_until_us is not None
        assert (await load(store, "a")).job == job
        (job,) = await put(store, change(job, c.Succeed(lease_id=held)))
        stored = await load(store, "a")
        assert stored.job == job
        assert stored.specification == b"a"
        assert stored.created_position == 1
        stream = await store.read_stream("job/a", 0, 1000)
        assert fold("a", ((event.time_us, event.payload) for event in stream)) == job  # type: ignore[misc]

    async def test_unknown_jobs_are_left_out(self, store: Store) -> None:
        await add_jobs(store, "a", "b")
        assert set(await store.load_jobs(["b", "nobody", "a"])) == {"a", "b"}
        assert set(await store.view_jobs(["nobody", "a"])) == {"a"}
        assert await store.load_jobs([]) == {}

    async def test_many_jobs_are_loaded_at_once(self, store: Store) -> None:
        names = [f"j{number}" for number in range(300)]
        await add_jobs(store, *names)
        assert set(await store.load_jobs(names)) == set(names)
        assert set(await store.view_jobs(names)) == set(names)

    async def test_updates_have_the_texts_of_the_contract(self, store: Store) -> None:
        (job,) = await add_jobs(store, "a")
        for number, end in enumerate(
            (
                c.Fail(lease_id="a.lease-1", stage=e.Stage.RUN, exit_code=2),
                c.ExpireLease(lease_id="a.lease-2", silence_us=60 * SECOND),
                c.Release(lease_id="a.lease-3", reason="draining"),
            ),
            start=1,
        ):
            commands = (assign(job, f"w{number}"), c.Start(lease_id=end.lease_id), end)
            (job,) = await put(store, change(job, *commands))
        (job,) = await put(store, change(job, assign(job, "w4"), c.Start(lease_id="a.lease-4")))
        await put(store, change(job, c.Terminate(grace_us=60 * SECOND), c.Succeed(lease_id="a.lease-4")))
        view = (await store.view_jobs(["a"]))["a"]
        assert [(update.state, update.text, update.attempt, update.worker_id) for update in view.updates] == [
            (State.IN_QUEUE, "Your job is now waiting in the queue!", 0, ""),
            (State.RUNNING, "Your job is now running!", 1, "w1"),
            (State.IN_QUEUE, "Attempt 1 on w1 failed (exit code 2); trying again.", 1, "w1"),
            (State.RUNNING, "Your job is now running!", 2, "w2"),
            (State.IN_QUEUE, "Attempt 2 on w2 was lost (no heartbeat for 60 s); trying again.", 2, "w2"),
            (State.RUNNING, "Your job is now running!", 3, "w3"),
            (State.IN_QUEUE, "Attempt 3 on w3 was released (draining); trying again.", 3, "w3"),
            (State.RUNNING, "Your job is now running!", 4, "w4"),
            (State.CANCELING, "Your job is being cancelled.", 4, "w4"),
            (State.SUCCESS, "Your job has been cancelled!", 4, "w4"),
        ]
        events = {event.position: event for event in await store.read_stream("job/a", 0, 1000)}
        assert all(update.time_us == events[update.position].time_us for update in view.updates)
        assert [attempt.end for attempt in view.attempts] == [
            "AttemptFailed",
            "LeaseExpired",
            "AttemptReleased",
            "Cancelled",
        ]
        assert view.updates_left_out == 0

    async def test_a_long_history_keeps_its_beginning_and_its_end(self, store: Store) -> None:
        (job,) = await add_jobs(store, "a")
        for _ in range(6):
            appends = []
            for _ in range(100):
                held = lease(job)
                one = change(job, assign(job), c.Start(lease_id=held), c.Release(lease_id=held, reason="drain"))
                appends.append(one)
                assert one.job is not None
                job = one.job
            await put(store, *appends)
        view = (await store.view_jobs(["a"]))["a"]
        # One update for the creation, two for each of 600 attempts.
        assert view.updates_left_out == 201
        assert len(view.updates) == 1000
        assert [update.attempt for update in view.updates[:10]] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
        assert [update.attempt for update in view.updates[10:]] == [n for n in range(106, 601) for _ in range(2)]
        assert [attempt.number for attempt in view.attempts] == [*range(1, 11), *range(511, 601)]
        assert all(attempt.end == "AttemptReleased" for attempt in view.attempts)
        assert all(attempt.started_us is not None for attempt in view.attempts)
        assert await problems(store) == []

    async def test_a_page_comes_with_histories_on_request(self, store: Store) -> None:
        (job,) = await add_jobs(store, "a")
        await put(store, change(job, *life(job)))
        (with_them,) = await pages(store, FOR_ALL, histories=True)
        (without,) = await pages(store, FOR_ALL)
        assert with_them == (await store.view_jobs(["a"]))["a"]
        assert [update.text for update in with_them.updates][-1] == "Your job has completed successfully!"
        assert (without.updates, without.attempts) == ((), ())


class ListsContract:
    """Jobs are found by what they are, in a stable order, in pages."""

    async def test_jobs_are_listed_in_the_order_of_creation(self, store: Store) -> None:
        await add_jobs(store, "c", "a", "b")
        await add_jobs(store, "d")
        assert ids(await pages(store, FOR_ALL)) == ["d", "b", "a", "c"]
        assert ids(await pages(store, FOR_ALL, JobOrder(descending=False))) == ["c", "a", "b", "d"]
        assert (await store.browse(FOR_ALL, NEWEST, None, 4, histories=False)).next_key is None

    async def test_jobs_are_listed_by_the_end_of_their_time_and_those_without_one_last(self, store: Store) -> None:
        def lasting(hours: int) -> e.Terms:
            return e.Terms(time_allocation_us=hours * HOUR, basis=e.Basis.CREATED)

        for name, hours in (("three", 3), ("one", 1), ("also-three", 3)):
            await put(store, creation(name, created_event(name, terms=lasting(hours))))
        (ended,) = await put(store, creation("ended", created_event("ended", terms=lasting(2))))
        await put(store, change(ended, c.Terminate()))
        await add_jobs(store, "never")
        up = JobOrder(expires=True, descending=False)
        down = JobOrder(expires=True)
        assert ids(await pages(store, FOR_ALL, up)) == ["one", "three", "also-three", "ended", "never"]
        assert ids(await pages(store, FOR_ALL, down)) == ["also-three", "three", "one", "never", "ended"]
        assert ids(await pages(store, FOR_ALL, up, 3)) == ["one", "three", "also-three", "ended", "never"]
        assert ids(await pages(store, FOR_ALL, down, 4)) == ["also-three", "three", "one", "never", "ended"]

    async def test_each_field_of_a_filter_limits_the_list(self, store: Store) -> None:
        facets = e.Facets(
            name="n",
            labels=(("colour", "red"), ("size", "1")),
            application_name="app",
            application_version="1",
            product_id="p",
            product_category="pc",
            product_provider="pp",
        )
        await put(store, creation("plain", created_event("plain"), at_us=T0))
        await put(store, creation("full", created_event("full", facets=facets), at_us=T0 + SECOND))
        await put(store, creation("lab", created_event("lab", queue="lab", created_by="ann"), at_us=T0 + 2 * SECOND))
        await put(store, creation("team", created_event("team", created_by="bob", project="x"), at_us=T0 + 3 * SECOND))
        everything = ["plain", "full", "lab", "team"]
        assert await of(store) == everything
        assert await of(store, ids=frozenset({"lab", "full", "nobody"})) == ["full", "lab"]
        assert await of(store, ids=frozenset()) == []
        assert await of(store, created_by="user") == ["plain", "full"]
        assert await of(store, queue="lab") == ["lab"]
        assert await of(store, application="app") == ["full"]
        assert await of(store, product_id="p") == ["full"]
        assert await of(store, product_category="pc") == ["full"]
        assert await of(store, product_provider="other") == []
        assert await of(store, hide_product_id="p") == ["plain", "lab", "team"]
        assert await of(store, hide_product_category="pc") == ["plain", "lab", "team"]
        assert await of(store, hide_product_provider="other") == everything
        assert await of(store, labels=(("size", "1"),)) == ["full"]
        assert await of(store, labels=(("size", "1"), ("colour", "red"))) == ["full"]
        assert await of(store, labels=(("size", "1"), ("colour", "blue"))) == []
        assert await of(store, created_after_us=T0 + SECOND) == ["full", "lab", "team"]
        assert await of(store, created_before_us=T0 + SECOND) == ["plain"]
        assert await of(store, created_after_us=T0 + SECOND, created_before_us=T0 + 3 * SECOND) == ["full", "lab"]
        assert await of(store, visible_to=("user", "")) == ["plain", "full"]
        assert await of(store, visible_to=("ann", "x")) == ["lab", "team"]
        assert await of(store, visible_to=("bob", "x")) == ["team"]
        assert await of(store, visible_to=("nobody", "y")) == []
        assert await of(store, visible_to=("user", "x"), queue="default", hide_product_id="p") == ["plain", "team"]

    async def test_jobs_are_listed_by_state(self, store: Store) -> None:
        jobs = await add_jobs(store, "waits", "assigned", "runs", "stops", "done", "cancelled", "failed")
        commands: dict[str, tuple[c.Command, ...]] = {}
        for job in jobs:
            commands[job.id] = assign(job), c.Start(lease_id=lease(job))
        commands["assigned"] = commands["assigned"][:1]
        commands["stops"] += (c.Terminate(grace_us=HOUR),)
        commands["done"] += (c.Succeed(lease_id="done.lease-1"),)
        commands["cancelled"] += (c.Terminate(),)
        for job in jobs[1:]:
            await put(store, change(job, *commands[job.id]))
        failed = (await load(store, "failed")).job
        await put(store, change(failed, c.Halt(reason="no")))
        names = ("done", "failed")
        assert await of(store, states=frozenset({State.IN_QUEUE})) == ["waits", "assigned"]
        assert await of(store, states=frozenset({State.RUNNING})) == ["runs"]
        assert await of(store, states=frozenset({State.RUNNING, State.CANCELING})) == ["runs", "stops"]
        assert await of(store, states=frozenset({State.SUCCESS})) == ["done", "cancelled"]
        assert await of(store, states=frozenset({State.FAILURE, State.RUNNING})) == ["runs", "failed"]
        assert await of(store, states=frozenset({State.EXPIRED})) == []
        assert await of(store, states=frozenset({State.SUCCESS, State.FAILURE}), ids=frozenset(names)) == list(names)
        assert await of(store, states=frozenset({State.RUNNING}), visible_to=("user", "p")) == ["runs"]

    async def test_labels_are_compared_whole(self, store: Store) -> None:
        labels = (('a"b', "x\ny"), ("k", "value"), ("k2", "v"))
        await put(store, creation("a", created_event("a", facets=e.Facets(labels=labels))))
        for label in labels:
            assert await of(store, labels=(label,)) == ["a"]
        for other in (("k", "valu"), ("k", "v"), ("2", "v"), ("", ""), ("k", "value\nk2")):
            assert await of(store, labels=(other,)) == []

    async def test_pages_have_no_gap_and_no_repeat_while_jobs_arrive(self, store: Store) -> None:
        await add_jobs(store, *(f"old{number:03}" for number in range(250)))
        page = await store.browse(FOR_ALL, NEWEST, None, 100, histories=False)
        seen = ids(page.views)
        while page.next_key is not None:
            await add_jobs(store, *(f"new{len(seen)}-{number}" for number in range(25)))
            page = await store.browse(FOR_ALL, NEWEST, page.next_key, 100, histories=False)
            seen += ids(page.views)
        assert seen == [f"old{number:03}" for number in reversed(range(250))]

    async def test_candidates_come_by_priority_then_age(self, store: Store) -> None:
        for name, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
            await put(store, creation(name, created_event(name, priority=priority)))
        await put(store, creation("elsewhere", created_event("elsewhere", queue="other")))
        found = await store.candidates("default", None, 10, T0)
        assert [one.job.id for one in found] == ["high", "first", "second", "low"]
        assert [one.place for one in found] == [(-5, 4), (0, 2), (0, 3), (1, 1)]
        rest = await store.candidates("default", found[1].place, 1, T0)
        assert [one.job.id for one in rest] == ["second"]
        assert found[0].job == (await load(store, "high")).job
        assert await store.candidates("nowhere", None, 10, T0) == []

    async def test_a_requeued_job_keeps_its_place_and_waits_for_its_retry(self, store: Store) -> None:
        terms = e.Terms(retry_initial_us=10 * SECOND)
        (job,) = await put(store, creation("old", created_event("old", terms=terms)))
        await add_jobs(store, "young")
        fail = c.Fail(lease_id="old.lease-1", stage=e.Stage.RUN, exit_code=1)
        (job,) = await put(store, change(job, assign(job), c.Start(lease_id="old.lease-1"), fail))
        assert job.not_before_us is not None
        early = await store.candidates("default", None, 10, job.not_before_us - 1)
        assert [one.job.id for one in early] == ["young"]
        ready = await store.candidates("default", None, 10, job.not_before_us)
        assert [one.job.id for one in ready] == ["old", "young"]

    async def test_assigned_and_final_jobs_are_no_candidates(self, store: Store) -> None:
        a, b, _ = await add_jobs(store, "a", "b", "c")
        await put(store, change(a, assign(a)), change(b, c.Terminate()))
        assert [one.job.id for one in await store.candidates("default", None, 10, T0)] == ["c"]

    async def test_leased_jobs_are_found_again(self, store: Store) -> None:
        jobs = await add_jobs(store, *(f"j{number}" for number in range(6)))
        await put(store, *(change(job, assign(job)) for job in jobs[1:5]))
        await put(store, change((await load(store, "j2")).job, c.Terminate()))
        first = await store.leased("", 2)
        assert [job.id for job in first] == ["j1", "j3"]
        assert first[0].lease is not None
        assert [job.id for job in await store.leased("j3", 10)] == ["j4"]

    async def test_what_time_alone_concerns_is_due_in_order(self, store: Store) -> None:
        grace = 10 * SECOND
        terms = replace(FIVE_HOURS, termination_grace_period_us=grace)
        names = ("queued", "running", "stopping", "done", "timeless", "retrying")
        jobs: dict[str, Job] = {}
        for name in names:
            own = e.Terms(retry_initial_us=30 * SECOND) if name == "retrying" else terms
            event = created_event(name, terms=e.Terms() if name == "timeless" else own)
            (jobs[name],) = await put(store, creation(name, event))
        for name in ("running", "stopping", "done", "retrying"):
            job = jobs[name]
            (jobs[name],) = await put(store, change(job, assign(job), c.Start(lease_id=lease(job))))
        (stopping,) = await put(store, change(jobs["stopping"], c.Terminate(grace_us=60 * SECOND)))
        await put(store, change(jobs["done"], c.Succeed(lease_id="done.lease-1")))
        fail = c.Fail(lease_id="retrying.lease-1", stage=e.Stage.RUN, exit_code=1)
        (retrying,) = await put(store, change(jobs["retrying"], fail))
        assert stopping.stop_until_us is not None
        assert retrying.not_before_us is not None
        deadline = T0 + 5 * HOUR
        expected = [
            (retrying.not_before_us, "retrying"),
            (stopping.stop_until_us, "stopping"),
            (deadline - grace, "running"),
            (deadline, "queued"),
        ]
        assert await store.due(deadline, None, 10) == expected
        assert await store.due(deadline - 1, None, 10) == expected[:3]
        assert await store.due(deadline, expected[0], 2) == expected[1:3]
        assert await store.due(T0, None, 10) == []

    async def test_jobs_due_at_one_instant_come_by_id_in_pages(self, store: Store) -> None:
        names = [f"j{number}" for number in (3, 1, 2, 0)]
        await put(store, *(creation(name, created_event(name, terms=FIVE_HOURS)) for name in names))
        found: list[str] = []
        after = None
        while page := await store.due(T0 + 5 * HOUR, after, 1):
            after = page[-1]
            found.append(after[1])
        assert found == sorted(names)


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


class RowsContract(JobsContract, ListsContract, OthersContract):
    """All of it."""
