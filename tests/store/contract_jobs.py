"""What every engine promises of jobs: they are the fold of their streams, with a history."""

from __future__ import annotations

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import fold
from tenure.domain.states import State
from tenure.store.store import (
    Store,
)
from tests.store.listing import FIVE_HOURS, FOR_ALL, pages, problems
from tests.store.making import (
    HOUR,
    SECOND,
    add_jobs,
    assign,
    change,
    created_event,
    creation,
    lease,
    life,
    load,
    put,
)


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
        ends: tuple[c.Fail | c.ExpireLease | c.Release, ...] = (
            c.Fail(lease_id="a.lease-1", stage=e.Stage.RUN, exit_code=2),
            c.ExpireLease(lease_id="a.lease-2", silence_us=60 * SECOND),
            c.Release(lease_id="a.lease-3", reason="draining"),
        )
        for number, end in enumerate(ends, start=1):
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
