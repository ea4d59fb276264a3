"""What every engine promises of lists: jobs are found by what they are, in a stable order, in pages."""

from __future__ import annotations

from dataclasses import replace

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.states import State
from tenure.store.paging import PAGE_BYTES
from tenure.store.store import (
    JobOrder,
    Store,
)
from tests.store.listing import FIVE_HOURS, FOR_ALL, NEWEST, ids, of, pages
from tests.store.making import (
    HOUR,
    SECOND,
    T0,
    add_jobs,
    assign,
    change,
    created_event,
    creation,
    lease,
    load,
    put,
)


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

    async def test_a_page_of_large_jobs_ends_early(self, store: Store) -> None:
        large = b"x" * (PAGE_BYTES // 4)
        for name in ("a", "b", "c", "d", "e"):
            await put(store, creation(name, created_event(name, specification=large)))
        await put(store, creation("huge", created_event("huge", specification=b"x" * (2 * PAGE_BYTES))))
        page = await store.browse(FOR_ALL, NEWEST, None, 100, histories=False)
        assert ids(page.views) == ["huge"]  # one at least
        page = await store.browse(FOR_ALL, NEWEST, page.next_key, 100, histories=True)
        assert ids(page.views) == ["e", "d", "c"]
        page = await store.browse(FOR_ALL, NEWEST, page.next_key, 100, histories=False)
        assert (ids(page.views), page.next_key) == (["b", "a"], None)

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
