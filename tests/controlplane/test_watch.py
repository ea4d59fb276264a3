"""Watches over the memory store: what is delivered is the snapshot and then a slice of the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from tenure.controlplane.folds import Folds
from tenure.controlplane.watch import Watches
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.store.open import open_store
from tenure.store.store import JobFilter, JobPage, JobView, Store, StoreDamaged
from tenure.v1 import job_pb2, job_service_pb2
from tests.controlplane.watching import ALICE, BOB, Bench, Request, Response, kinds, take
from tests.fakes import FakeClock


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    store = await open_store("memory:", clock=FakeClock(), on_fatal=lambda error: None)
    bench = Bench(store)
    yield bench
    bench.watches.close()
    await store.close()


async def test_a_watch_begins_with_the_live_jobs_and_a_mark(bench: Bench) -> None:
    live, ended = await bench.job(), await bench.job()
    await bench.do(ended, c.Terminate())
    first, mark = await take(bench.watches.watch(Request(), ALICE), 2)
    assert (first.snapshot.id, mark.progress_mark.position) == (live, bench.store.head().position)
    assert first.snapshot.status.state == job_pb2.JOB_STATE_IN_QUEUE


async def test_a_named_job_is_shown_even_when_it_has_ended(bench: Bench) -> None:
    job_id = await bench.job()
    await bench.do(job_id, c.Terminate())
    first, *_ = await take(bench.watches.watch(Request(ids=[job_id]), ALICE), 1)
    assert first.snapshot.status.outcome == job_pb2.JOB_OUTCOME_CANCELLED
    assert [update.status for update in first.snapshot.updates][-1] == "Your job has been cancelled!"


async def test_an_event_brings_the_status_and_the_update_after_it(bench: Bench) -> None:
    job_id = await bench.job()
    stream = bench.watches.watch(Request(ids=[job_id]), ALICE)
    await take(stream, 2)
    await bench.do(job_id, c.Assign(lease_id="lease", worker_id="worker"))
    await bench.do(job_id, c.Start(lease_id="lease"))
    assigned, started = await take(stream, 2)
    assert assigned.event.event.WhichOneof("payload") == "job_assigned"
    assert not assigned.event.HasField("update")
    assert started.event.status.state == job_pb2.JOB_STATE_RUNNING
    assert started.event.update.status == "Your job is now running!"
    shown = (await bench.store.view_jobs([job_id]))[job_id].updates[-1]
    assert (started.event.update.position, started.event.update.attempt) == (shown.position, shown.attempt)


async def test_a_job_that_no_longer_matches_is_said_to_have_left(bench: Bench) -> None:
    job_id = await bench.job()
    flags = job_service_pb2.JobFlags(filter_state=job_pb2.JOB_STATE_IN_QUEUE)
    stream = bench.watches.watch(Request(flags=flags), ALICE)
    await take(stream, 2)
    await bench.do(job_id, c.Terminate())
    (left,) = await take(stream, 1)
    assert left.left.job_id == job_id


async def test_others_jobs_are_not_seen(bench: Bench) -> None:
    job_id = await bench.job("alice")
    with pytest.raises(Refused) as refused:
        await take(bench.watches.watch(Request(ids=[job_id]), BOB), 1)
    assert refused.value.reason is Reason.JOB_NOT_FOUND
    stream = bench.watches.watch(Request(), BOB)
    assert kinds(await take(stream, 1)) == ["progress_mark"]
    await bench.do(job_id, c.Terminate())
    mine = await bench.job("bob")
    (first,) = await take(stream, 1)
    assert first.event.job_id == mine


async def test_no_part_of_a_snapshot_can_be_gone_on_from(bench: Bench) -> None:
    for _ in range(3):
        await bench.job()
    responses = await take(bench.watches.watch(Request(), ALICE), 4)
    assert kinds(responses) == ["snapshot"] * 3 + ["progress_mark"]
    assert [bool(response.resume_token) for response in responses] == [False, False, False, True]


class Meanwhile:
    """A store where something happens after a snapshot was begun and before it is read."""

    def __init__(self, store: Store, happens: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._happens = happens

    async def browse(self, *asked: Any, **more: Any) -> JobPage:
        await self._happens()
        return await self._store.browse(*asked, **more)

    async def view_jobs(self, ids: Sequence[str]) -> dict[str, JobView]:
        await self._happens()
        return await self._store.view_jobs(ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def meanwhile(bench: Bench, happens: Callable[[], Awaitable[object]]) -> Watches:
    return Watches(cast(Store, Meanwhile(bench.store, happens)), bench.resume, 60.0)


async def test_what_a_snapshot_shows_is_not_repeated_after_a_reconnect(bench: Bench) -> None:
    job_id = await bench.job()
    watches = meanwhile(bench, lambda: bench.do(job_id, c.Assign(lease_id="lease", worker_id="worker")))
    shown, mark = await take(watches.watch(Request(ids=[job_id]), ALICE), 2)
    assert (shown.snapshot.version, mark.progress_mark.position) == (2, bench.store.head().position)
    again = bench.watches.watch(Request(ids=[job_id], resume_token=mark.resume_token), ALICE)
    await bench.do(job_id, c.Start(lease_id="lease"))
    (first,) = await take(again, 1)
    assert first.event.event.stream_version == 3
    watches.close()


async def test_what_came_while_a_snapshot_was_read_is_told_before_there_is_a_token(bench: Bench) -> None:
    live = await bench.job()
    born: list[str] = []

    async def happens() -> None:
        if not born:
            born.append(await bench.job())

    shown, other, mark = await take((watches := meanwhile(bench, happens)).watch(Request(), ALICE), 3)
    assert {shown.snapshot.id, other.snapshot.id} == {live, *born}
    assert mark.progress_mark.position == bench.store.head().position
    late = watches.watch(Request(), ALICE)
    await take(late, 2)
    await bench.do(live, c.Assign(lease_id="lease", worker_id="worker"))
    event, mark = await take(late, 2)
    assert (event.event.job_id, event.event.event.stream_version, event.resume_token) == (live, 2, "")
    assert mark.progress_mark.position == bench.store.head().position
    watches.close()


async def test_a_job_that_ended_before_a_snapshot_was_read_is_no_part_of_the_watch(bench: Bench) -> None:
    ended, live = await bench.job(), await bench.job()
    watches = meanwhile(bench, lambda: bench.do(ended, c.Terminate()))
    stream = watches.watch(Request(), ALICE)
    assert kinds(responses := await take(stream, 2)) == ["snapshot", "progress_mark"]
    assert responses[0].snapshot.id == live
    await bench.do(live, c.Terminate())
    (first,) = await take(stream, 1)
    assert first.event.job_id == live
    watches.close()


async def test_marks_come_when_nothing_happens(bench: Bench) -> None:
    watches = Watches(bench.store, bench.resume, mark_seconds=0.01)
    responses = await take(watches.watch(Request(), ALICE), 3)
    watches.close()
    assert kinds(responses) == ["progress_mark"] * 3
    assert all(response.resume_token for response in responses)


class Observed(Watches):
    """Watches of which one can see what is still remembered of a snapshot."""

    def _follow(self, position: int, wanted: JobFilter, seen: dict[str, int]) -> AsyncIterator[Response]:
        self.seen = seen
        return super()._follow(position, wanted, seen)


@pytest.mark.parametrize("seconds", [0.01, 0.2], ids=["quiet", "busy"])
async def test_what_a_snapshot_has_shown_is_not_remembered_for_good(bench: Bench, seconds: float) -> None:
    ended, live = [await bench.job() for _ in range(5)], await bench.job()
    for job_id in ended:
        await bench.do(job_id, c.Terminate())
    watches = Observed(bench.store, bench.resume, mark_seconds=seconds)
    flags = job_service_pb2.JobFlags(filter_state=job_pb2.JOB_STATE_SUCCESS)
    stream = watches.watch(Request(flags=flags), ALICE)
    assert kinds(await take(stream, 6)) == ["snapshot"] * 5 + ["progress_mark"]
    async with asyncio.timeout(10):
        if seconds < 0.1:
            assert kinds([await anext(stream)]) == ["progress_mark"]
        else:  # there is always something to tell, and no time for a mark
            await bench.do(await bench.job(), c.Terminate())
            assert kinds([await anext(stream)]) == ["event"]
            assert set(watches.seen) == set(ended)
            while watches.seen:
                await bench.do(await bench.job(), c.Terminate())
                while kinds([await anext(stream)]) == ["progress_mark"]:
                    pass
        assert watches.seen == {}
        await bench.do(live, c.Terminate())
        while (told := await anext(stream)).WhichOneof("message") == "progress_mark":
            pass
    assert told.event.job_id == live
    watches.close()


async def test_ids_and_flags_together_are_refused(bench: Bench) -> None:
    request = Request(ids=[await bench.job()], flags=job_service_pb2.JobFlags(filter_queue="default"))
    with pytest.raises(Refused) as refused:
        await take(bench.watches.watch(request, ALICE), 1)
    assert refused.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("seed", range(8))
async def test_reconnects_leave_no_gap_and_no_repeat(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    start = bench.store.head().position
    token = await bench.resume.make(start)
    jobs = [await bench.job() for _ in range(5)]

    async def change() -> None:
        for number in range(60):
            job_id = chance.choice(jobs)
            lease = f"lease-{number}"
            await bench.do(job_id, c.Assign(lease_id=lease, worker_id="worker"))
            await bench.do(job_id, c.Extend(requested_us=1_000_000))
            if chance.random() < 0.5:
                await bench.do(job_id, c.Release(lease_id=lease, reason="drain"))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        for job_id in jobs:
            await bench.do(job_id, c.Terminate())

    changes = asyncio.ensure_future(change())
    seen: list[int] = []
    ended = 0
    while ended < len(jobs):
        stream = bench.watches.watch(Request(resume_token=token), ALICE)
        for response in await take(stream, 1):
            token = response.resume_token
            if response.WhichOneof("message") == "event":
                seen.append(response.event.event.position)
                ended += response.event.event.WhichOneof("payload") == "job_terminated"
        if chance.random() < 0.5:
            async with asyncio.timeout(10):
                while ended < len(jobs) and chance.random() < 0.9:
                    response = await anext(stream)
                    token = response.resume_token
                    seen.append(response.event.event.position)
                    ended += response.event.event.WhichOneof("payload") == "job_terminated"
        await stream.aclose()  # type: ignore[attr-defined]
    await changes
    events, _ = await bench.store.read(start, 10_000)
    assert seen == [event.position for event in events]


class Damaged:
    """A store whose index has lost some entries of one stream. Reads of it never suspend, as short ones of a database
    do not, so that nothing but their number can end a test that goes round for ever."""

    def __init__(self, store: Store, lost: Callable[[e.RecordedEvent], bool]) -> None:
        self._store = store
        self._lost = lost
        self._reads = 0

    async def read_stream(self, *asked: Any) -> list[e.RecordedEvent]:
        self._reads += 1
        assert self._reads < 10, "it is read again and again"
        return [event for event in await self._store.read_stream(*asked) if not self._lost(event)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("lost", [{1, 2, 3}, {1}, {2}, {3}], ids=str)
async def test_a_stream_that_lost_events_is_damage_and_nobody_waits_for_them(bench: Bench, lost: set[int]) -> None:
    job_id = await bench.job()
    lease = {"lease_id": "lease"}
    extend = c.Extend(requested_us=1_000_000)
    for command in (c.Assign(**lease, worker_id="worker"), c.Start(**lease), extend, c.Terminate()):
        await bench.do(job_id, command)
    fourth, _ = await bench.store.read_stream(e.job_stream(job_id), 3, 10)
    folds = Folds(cast(Store, Damaged(bench.store, lambda event: event.version in lost)))
    with pytest.raises(StoreDamaged, match=f"job/{job_id} has no event {min(lost)}"):
        await folds.after(job_id, fourth)
