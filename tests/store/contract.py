"""What every engine promises: one suite, run over each. The names of the tests are the specification.

A subclass gives the fixture `store`, a fresh and empty one. The other parts are the files `contract_*.py` beside it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.store import sqlite, sqlite_bookkeeping
from tenure.store.store import (
    CommitOutcomeUnknown,
    Committed,
    Conflict,
    DuplicateSpecification,
    EventFilter,
    RequestAnswered,
    Store,
    StoreError,
    Unit,
)
from tests.store.making import (
    SECOND,
    T0,
    add_jobs,
    assign,
    change,
    created_event,
    creation,
    life,
    load,
    put,
    queue_append,
    request,
    whole_log,
)


class LogContract:
    """The log: commits, positions, versions, requests, listeners."""

    async def test_a_fresh_store_is_empty(self, store: Store) -> None:
        head = store.head()
        assert (head.position, head.hash) == (0, b"")
        assert head.log_id
        assert head.epoch == 1
        assert await store.read(0, 10) == ([], 0)
        assert await store.load_jobs(["nobody"]) == {}
        assert await store.chain_at(0) == (0, b"")

    async def test_positions_and_versions_are_dense_from_one(self, store: Store) -> None:
        committed = await store.commit(Unit(appends=(creation("a"), creation("b"))))
        assert committed == Committed(first=1, last=2)
        job = (await load(store, "a")).job
        assert await store.commit(Unit(appends=(change(job, *life(job)),))) == Committed(first=3, last=5)
        events = await whole_log(store)
        assert [event.position for event in events] == [1, 2, 3, 4, 5]
        assert [(event.stream, event.version) for event in events] == [
            ("job/a", 1),
            ("job/b", 1),
            ("job/a", 2),
            ("job/a", 3),
            ("job/a", 4),
        ]
        assert store.head().position == 5

    async def test_an_event_comes_back_as_it_was_given(self, store: Store) -> None:
        given = creation("a", created_event("a", facets=e.Facets(name="n", labels=(("k", "v"),))))
        await put(store, given, request=request("r-1", digest=b"x" * 32))
        (event,) = await whole_log(store)
        new = given.events[0]
        assert event == e.RecordedEvent(
            position=1,
            stream="job/a",
            version=1,
            event_id=new.event_id,
            time_us=new.time_us,
            actor=new.actor,
            request_id="r-1",
            request_digest=b"x" * 32,
            payload=new.payload,
        )
        assert await store.read_stream("job/a", 0, 10) == [event]

    async def test_an_append_after_another_version_conflicts(self, store: Store) -> None:
        (job,) = await add_jobs(store, "a")
        await put(store, change(job, assign(job)))
        with pytest.raises(Conflict) as refused:
            await put(store, change(job, assign(job, "other")))
        assert (refused.value.stream, refused.value.expected, refused.value.actual) == ("job/a", 1, 2)
        with pytest.raises(Conflict):
            await add_jobs(store, "a")
        assert store.head().position == 2

    async def test_a_unit_is_written_whole_or_not_at_all(self, store: Store) -> None:
        (job,) = await add_jobs(store, "a")
        stale = replace(change(job, assign(job)), expected_version=7, job=replace(job, version=8))
        with pytest.raises(Conflict):
            await put(store, creation("b"), stale, request=request("r"))
        assert await store.load_jobs(["b"]) == {}
        assert store.head().position == 1
        assert await store.find_request("user:user", "CreateJobs", "r") is None

    async def test_two_appends_of_a_unit_may_follow_each_other_on_one_stream(self, store: Store) -> None:
        first = creation("a")
        assert first.job is not None
        second = change(first.job, assign(first.job))
        assert await store.commit(Unit(appends=(first, second))) == Committed(first=1, last=2)
        assert (await load(store, "a")).job == second.job

    async def test_a_unit_that_fails_does_not_hurt_its_neighbours(self, store: Store) -> None:
        await add_jobs(store, "taken")
        calls = [put(store, creation("taken" if number % 5 == 3 else f"n{number:02}")) for number in range(40)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        failed = [number for number, result in enumerate(results) if isinstance(result, Exception)]
        assert failed == [number for number in range(40) if number % 5 == 3]
        assert all(isinstance(results[number], Conflict) for number in failed)
        assert [event.position for event in await whole_log(store)] == list(range(1, 34))

    async def test_a_unit_without_folds_is_refused(self, store: Store) -> None:
        with pytest.raises(ValueError, match="the job or queue after them"):
            await put(store, replace(creation("a"), job=None))
        assert store.head().position == 0

    async def test_units_of_many_callers_do_not_interleave(self, store: Store) -> None:
        async def caller(name: str) -> list[Committed]:
            done = []
            for number in range(10):
                ids = [f"{name}-{number}-{item}" for item in range(5)]
                done.append(await store.commit(Unit(appends=tuple(creation(job_id) for job_id in ids))))
            return done

        units = [unit for done in await asyncio.gather(*(caller(f"c{n}") for n in range(20))) for unit in done]
        assert all(unit.last - unit.first == 4 for unit in units)
        events = await whole_log(store)
        assert [event.position for event in events] == list(range(1, 1001))
        for unit in units:
            streams = [event.stream.rpartition("-")[0] for event in events[unit.first - 1 : unit.last]]
            assert len(set(streams)) == 1

    async def test_a_reader_never_finds_a_position_before_one_it_has_seen(self, store: Store) -> None:
        seen: list[int] = []

        async def follow() -> None:
            position = 0
            while position < 200:
                events, position = await store.read(position, 7)
                seen.extend(event.position for event in events)
                await asyncio.sleep(0)

        async def write(name: str) -> None:
            for number in range(50):
                await add_jobs(store, f"{name}-{number}")

        await asyncio.wait_for(asyncio.gather(follow(), *(write(f"w{n}") for n in range(4))), 30)
        assert seen == list(range(1, 201))

    async def test_a_cancelled_caller_does_not_stop_its_commit(self, store: Store) -> None:
        reached = asyncio.Event()
        stop = store.listen(lambda position: reached.set())
        task = asyncio.ensure_future(put(store, creation("a")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(reached.wait(), 10)
        stop()
        assert (await load(store, "a")).job.id == "a"

    async def test_listeners_hear_of_a_commit_before_its_caller_resumes(self, store: Store) -> None:
        heard: list[tuple[str, int, int]] = []
        stop = store.listen(lambda position: heard.append(("listener", position, store.head().position)))

        async def caller() -> None:
            committed = await store.commit(Unit(appends=(creation("a"), creation("b"))))
            heard.append(("caller", committed.last, store.head().position))

        await caller()
        assert heard == [("listener", 2, 2), ("caller", 2, 2)]
        stop()
        await add_jobs(store, "c")
        assert len(heard) == 2

    async def test_reading_takes_only_what_is_asked_for_and_says_how_far_it_looked(self, store: Store) -> None:
        a, b, _ = await add_jobs(store, "a", "b", "c")
        await put(store, change(a, *life(a)), change(b, assign(b)))
        await put(store, queue_append("q", None, e.QueueConfigured()))
        starts, reached = await store.read(0, 10, EventFilter(types=frozenset({"JobStarted", "QueueConfigured"})))
        assert [type(event.payload).__name__ for event in starts] == ["JobStarted", "QueueConfigured"]
        assert reached == 8
        of_b, reached = await store.read(2, 10, EventFilter(streams=frozenset({"job/b", "job/unknown"})))
        assert [event.position for event in of_b] == [7]
        assert reached == 8
        first, reached = await store.read(0, 2)
        assert ([event.position for event in first], reached) == ([1, 2], 2)
        one, reached = await store.read(0, 1, EventFilter(types=frozenset({"JobAssigned"})))
        assert ([event.position for event in one], reached) == ([4], 4)
        assert await store.read(8, 10) == ([], 8)
        assert await store.read(0, 10, EventFilter(types=frozenset({"NoSuchType"}))) == ([], 8)

    async def test_a_stream_is_read_from_any_version(self, store: Store) -> None:
        (job,) = await add_jobs(store, "a")
        await put(store, change(job, *life(job)))
        versions = [event.version for event in await store.read_stream("job/a", 1, 2)]
        assert versions == [2, 3]
        assert await store.read_stream("job/a", 4, 10) == []
        assert await store.read_stream("job/unknown", 0, 10) == []

    async def test_the_chain_is_known_at_every_commit(self, store: Store) -> None:
        await add_jobs(store, "a", "b")
        middle = store.head()
        await add_jobs(store, "c", "d")
        end = store.head()
        assert len(end.hash) == 32
        assert end.hash != middle.hash
        assert await store.chain_at(1) == (0, b"")
        assert await store.chain_at(2) == (2, middle.hash)
        assert await store.chain_at(3) == (2, middle.hash)
        assert await store.chain_at(4) == (4, end.hash)
        assert await store.chain_at(5) is None

    async def test_a_request_id_is_answered_once(self, store: Store) -> None:
        await put(store, creation("a"), request=request("r", answer=b"first", digest=b"1" * 32))
        with pytest.raises(RequestAnswered) as refused:
            await put(store, creation("b"), request=request("r", answer=b"second", digest=b"2" * 32))
        answered = refused.value.answered
        assert (answered.answer, answered.digest, answered.position) == (b"first", b"1" * 32, 1)
        assert await store.find_request("user:user", "CreateJobs", "r") == answered
        assert await store.find_request("user:other", "CreateJobs", "r") is None
        assert await store.find_request("user:user", "ExtendJobs", "r") is None
        assert await store.load_jobs(["b"]) == {}

    async def test_a_hundred_callers_with_one_request_id_change_one_thing(self, store: Store) -> None:
        calls = [put(store, creation(f"j{n}"), request=request("same")) for n in range(100)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, RequestAnswered) for result in results) == 99
        assert store.head().position == 1

    async def test_a_refused_call_burns_no_request_id(self, store: Store) -> None:
        await add_jobs(store, "a")
        with pytest.raises(Conflict):
            await put(store, creation("a"), request=request("r"))
        assert await put(store, creation("b"), request=request("r"))

    async def test_a_request_may_be_answered_without_events(self, store: Store) -> None:
        await add_jobs(store, "a")
        await store.commit(Unit(appends=(), request=request("r")))
        answered = await store.find_request("user:user", "CreateJobs", "r")
        assert answered is not None
        assert (answered.position, store.head().position) == (1, 1)

    async def test_old_requests_are_forgotten(self, store: Store) -> None:
        for number in range(5):
            await put(store, creation(f"j{number}"), request=request(f"r{number}", at_us=T0 + number * SECOND))
        assert await store.purge_requests(T0 + 3 * SECOND) == 3
        assert await store.find_request("user:user", "CreateJobs", "r2") is None
        assert await store.find_request("user:user", "CreateJobs", "r3") is not None
        assert await put(store, creation("again"), request=request("r0"))

    async def test_old_requests_are_forgotten_behind_those_of_a_clock_that_ran_ahead(self, store: Store) -> None:
        for number in range(3):
            await store.commit(Unit(appends=(), request=request(f"ahead{number}", at_us=T0 + 3600 * SECOND)))
        for number in range(5):
            await store.commit(Unit(appends=(), request=request(f"r{number}", at_us=T0 + number * SECOND)))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sqlite_bookkeeping, "PURGED_AT_ONCE", 2)
            patched.setattr(sqlite, "PURGED_AT_ONCE", 2)
            assert await store.purge_requests(T0 + 4 * SECOND) == 4
        assert await store.find_request("user:user", "CreateJobs", "ahead2") is not None
        assert await store.find_request("user:user", "CreateJobs", "r4") is not None

    async def test_a_job_that_forbids_duplicates_has_no_live_twin(self, store: Store) -> None:
        async def submit(job_id: str, *, owner: str = "user", project: str = "") -> None:
            event = created_event(job_id, created_by=owner, project=project, allow_duplicate=False, specification=b"s")
            await put(store, creation(job_id, event))

        await submit("a")
        with pytest.raises(DuplicateSpecification) as refused:
            await submit("b")
        assert (refused.value.append, refused.value.job_id) == (0, "a")
        await submit("c", owner="another")
        await submit("d", project="of-a-project")
        job = (await load(store, "a")).job
        await put(store, change(job, c.Terminate()))
        await submit("b")

    async def test_a_job_that_allows_duplicates_is_only_in_the_way_of_one_that_does_not(self, store: Store) -> None:
        await put(store, creation("a", created_event("a", specification=b"s")))
        await put(store, creation("b", created_event("b", specification=b"s")))
        with pytest.raises(DuplicateSpecification) as refused:
            await put(store, creation("c", created_event("c", specification=b"s", allow_duplicate=False)))
        assert refused.value.job_id in {"a", "b"}

    async def test_duplicates_within_one_unit_are_found(self, store: Store) -> None:
        twins = [
            creation(job_id, created_event(job_id, allow_duplicate=False, specification=b"s")) for job_id in ("a", "b")
        ]
        with pytest.raises(DuplicateSpecification) as refused:
            await put(store, creation("other"), *twins)
        assert (refused.value.append, refused.value.job_id) == (2, "a")
        assert store.head().position == 0

    async def test_of_equal_jobs_at_the_same_instant_one_is_created(self, store: Store) -> None:
        events = [created_event(f"j{n}", allow_duplicate=False, specification=b"s") for n in range(30)]
        calls = [put(store, creation(f"j{n}", event)) for n, event in enumerate(events)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = [result for result in results if isinstance(result, DuplicateSpecification)]
        (made,) = await whole_log(store)
        assert len(refused) == 29
        assert {f"job/{one.job_id}" for one in refused} == {made.stream}

    async def test_a_job_that_ends_in_the_same_instant_is_no_twin(self, store: Store) -> None:
        (job,) = await put(store, creation("a", created_event("a", allow_duplicate=False, specification=b"s")))
        again = creation("b", created_event("b", allow_duplicate=False, specification=b"s"))
        await asyncio.gather(put(store, change(job, c.Terminate())), put(store, again))

    async def test_a_large_unit_is_one_commit(self, store: Store) -> None:
        ids = [f"j{number:04}" for number in range(1000)]
        calls = [add_jobs(store, "before"), add_jobs(store, *ids), add_jobs(store, "after")]
        await asyncio.gather(*calls)
        events = await whole_log(store)
        assert [event.stream for event in events] == ["job/before", *(f"job/{one}" for one in ids), "job/after"]

    async def test_times_are_kept_to_the_microsecond(self, store: Store) -> None:
        await put(store, creation("a", at_us=T0 + 1))
        stored = await load(store, "a")
        assert stored.job.origin.created_us == T0 + 1

    async def test_close_finishes_what_is_in_flight(self, store: Store) -> None:
        calls = [asyncio.ensure_future(add_jobs(store, f"j{number}")) for number in range(50)]
        await asyncio.sleep(0)
        await store.close()
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        assert not any(isinstance(result, CommitOutcomeUnknown) for result in results)
        assert store.head().position == 50

    async def test_a_closed_store_takes_no_commits(self, store: Store) -> None:
        await add_jobs(store, "a")
        await store.close()
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await add_jobs(store, "b")
