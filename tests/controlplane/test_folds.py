"""Folds for those who tell of the log: what they say is exact, and a stream is read only where nothing else knows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from tenure.controlplane import folds
from tenure.controlplane.folds import Folds
from tenure.controlplane.tokens import Identity
from tenure.controlplane.watch import Watches
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job, create, evolve
from tenure.domain.states import Phase, State
from tenure.store.open import open_store
from tenure.store.store import Store, StoredJob
from tenure.v1 import job_pb2, job_service_pb2
from tests.controlplane.watching import ALICE, BOB, Bench, Request, Response, kinds, take
from tests.fakes import FakeClock

ROOT = Identity(principal="admin:root", role="admin", subject="root")
STATES = {
    job_pb2.JOB_STATE_IN_QUEUE: State.IN_QUEUE,
    job_pb2.JOB_STATE_RUNNING: State.RUNNING,
    job_pb2.JOB_STATE_CANCELING: State.CANCELING,
    job_pb2.JOB_STATE_SUCCESS: State.SUCCESS,
    job_pb2.JOB_STATE_FAILURE: State.FAILURE,
}


class Counted:
    """A store that counts what is read of streams, and where nobody goes on before it is let."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.streams = 0
        self.rows = 0
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def read_stream(self, *asked: Any) -> list[e.RecordedEvent]:
        self.streams += 1
        self.asked.set()
        await self.open.wait()
        return await self._store.read_stream(*asked)

    async def load_jobs(self, ids: Sequence[str]) -> dict[str, StoredJob]:
        self.rows += 1
        return await self._store.load_jobs(ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Scene(Bench):
    """Jobs that run and beat, in a store that counts."""

    def __init__(self, store: Store) -> None:
        self.counted = Counted(store)
        super().__init__(cast(Store, self.counted))
        self.beats = 0

    async def running(self, owner: str = "alice") -> str:
        job_id = await self.job(owner)
        await self.do(job_id, c.Assign(lease_id=f"lease-{job_id}", worker_id="worker"))
        await self.do(job_id, c.Start(lease_id=f"lease-{job_id}"))
        return job_id

    async def beat(self, job_id: str) -> None:
        self.beats += 1
        beat = c.Beat(count=self.beats, at_us=self.clock.wall_us())
        await self.do(job_id, c.Record(lease_id=f"lease-{job_id}", beat=beat))

    async def events(self, job_id: str) -> list[e.RecordedEvent]:
        return await self.store.read_stream(e.job_stream(job_id), 0, 1000)

    def restarted(self) -> Watches:
        """Watches that know nothing yet, as those of a server that has just begun; the others end."""
        self.watches.close()
        self.watches = Watches(self.store, self.resume, 60.0)
        self.counted.streams = self.counted.rows = 0
        return self.watches


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store = await open_store("memory:", clock=FakeClock(), on_fatal=lambda error: None)
    scene = Scene(store)
    yield scene
    scene.watches.close()
    await store.close()


async def test_more_jobs_than_are_kept_cost_no_reading_of_streams(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "FOLDS", 3)
    monkeypatch.setattr(folds, "OLDER", 3)
    jobs = [await scene.running() for _ in range(4)]
    stream = scene.restarted().watch(Request(), ALICE)
    await take(stream, 5)
    for _ in range(5):
        for job_id in jobs:
            await scene.beat(job_id)
            (told,) = await take(stream, 1)
            assert (told.event.job_id, told.event.status.num_heartbeats) == (job_id, scene.beats)
    assert scene.counted.streams == 0


async def test_jobs_of_others_are_never_folded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    others, mine = [await scene.running() for _ in range(3)], await scene.running("bob")
    stream = scene.restarted().watch(Request(), BOB)
    assert kinds(await take(stream, 2)) == ["snapshot", "progress_mark"]
    folded: list[str] = []

    def noted(job: Job, *more: Any) -> Job:
        folded.append(job.id)
        return evolve(job, *more)

    monkeypatch.setattr(folds, "evolve", noted)
    for _ in range(3):
        for job_id in (*others, mine):
            await scene.beat(job_id)
    told = await take(stream, 3)
    assert [one.event.job_id for one in told] == [mine] * 3
    assert set(folded) <= {mine}
    assert scene.counted.rows <= 2 + len(others)


async def test_watchers_one_behind_the_other_read_no_stream(scene: Scene) -> None:
    job_id = await scene.running()
    flags = job_service_pb2.JobFlags(filter_state=job_pb2.JOB_STATE_RUNNING)
    watches = scene.restarted()
    streams = [watches.watch(Request(flags=flags), ALICE) for _ in range(3)]
    for stream in streams:
        await take(stream, 2)
    await scene.beat(job_id)
    for stream in streams:
        await take(stream, 1)
    for _ in range(5):
        await scene.beat(job_id)
    await scene.do(job_id, c.Terminate())
    told = [await take(stream, 6) for stream in streams]
    assert told[0] == told[1] == told[2]
    assert kinds(told[0]) == ["event"] * 5 + ["left"]
    assert scene.counted.streams == 0


@pytest.mark.parametrize("first_goes", [False, True], ids=["both stay", "the first goes"])
async def test_several_who_ask_for_one_fold_share_it(scene: Scene, first_goes: bool) -> None:
    job_id = await scene.running()
    for _ in range(3):
        await scene.beat(job_id)
    *_, event, _ = await scene.events(job_id)
    scene.counted.streams = 0
    scene.counted.open.clear()
    scene.counted.asked.clear()
    kept = Folds(scene.store)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        first, second = (group.create_task(kept.after(job_id, event)) for _ in range(2))
        await scene.counted.asked.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert scene.counted.streams == 1
        if first_goes:
            first.cancel()
        scene.counted.open.set()
    assert (await second).version == event.version
    assert scene.counted.streams == (2 if first_goes else 1)


async def test_the_newest_event_of_a_job_is_told_by_its_row(scene: Scene) -> None:
    job_id = await scene.running()
    await scene.beat(job_id)
    *_, last = await scene.events(job_id)
    scene.counted.streams = 0
    kept = Folds(scene.store)
    assert await kept.after(job_id, last) == (await scene.store.load_jobs([job_id]))[job_id].job
    assert scene.counted.streams == 0


async def test_who_reads_history_takes_the_present_from_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "OLDER", 1)
    token = await scene.resume.make(scene.store.head().position)
    job_id = await scene.running()
    for _ in range(5):
        await scene.beat(job_id)
    watches = scene.restarted()
    present = watches.watch(Request(), ALICE)
    await take(present, 2)
    await scene.beat(job_id)
    await take(present, 1)
    history = watches.watch(Request(resume_token=token), ALICE)
    told = await take(history, 6)
    assert [one.event.event.stream_version for one in told] == [1, 2, 3, 4, 5, 6]
    assert [one.event.status.num_heartbeats for one in told] == [0, 0, 0, 1, 2, 3]
    scene.counted.streams = scene.counted.rows = 0
    await scene.beat(job_id)
    (last,) = await take(present, 1)
    assert last.event.status.num_heartbeats == 7
    assert (scene.counted.streams, scene.counted.rows) == (0, 0)


async def test_nothing_is_kept_of_the_present_of_an_ended_job(scene: Scene) -> None:
    kept = Folds(scene.store)
    ended, live, others = await scene.running(), await scene.running(), await scene.running()
    for job_id in (ended, others):
        await scene.beat(job_id)
        await scene.do(job_id, c.Terminate())
    for job_id in (ended, live):
        for event in await scene.events(job_id):
            await kept.after(job_id, event)
    for event in await scene.events(others):
        await kept.some(others, event)
    assert len(kept) == 1


async def _history(scene: Scene, chance: random.Random) -> dict[tuple[str, int], tuple[e.RecordedEvent, Job]]:
    """Everything that happened to a few jobs, and each of them after each event."""
    jobs = [await scene.running(chance.choice(["alice", "bob"])) for _ in range(4)]
    for _ in range(30):
        job_id = chance.choice(jobs)
        lease = f"lease-{job_id}"
        match chance.randrange(6):
            case 0:
                await scene.do(job_id, c.Extend(requested_us=1_000_000))
            case 1:
                await scene.do(job_id, c.Release(lease_id=lease, reason="drain"))
            case 2:
                await scene.do(job_id, c.Assign(lease_id=lease, worker_id="worker"))
            case 3:
                await scene.do(job_id, c.Start(lease_id=lease))
            case _:
                await scene.beat(job_id)
    await scene.do(jobs[0], c.Terminate(grace_us=1_000_000))
    await scene.do(jobs[0], c.Release(lease_id=f"lease-{jobs[0]}", reason="drain"))
    await scene.do(jobs[1], c.Terminate())
    await scene.do(jobs[2], c.Halt(reason="no"))
    known: dict[tuple[str, int], tuple[e.RecordedEvent, Job]] = {}
    for job_id in jobs:
        for event in await scene.events(job_id):
            if isinstance(event.payload, e.JobCreated):
                job = create(job_id, event.payload, event.time_us)
            else:
                job = evolve(job, cast(e.JobEvent, event.payload), event.time_us)
            known[job_id, event.version] = event, job
    return known


@pytest.mark.parametrize("seed", range(10))
async def test_in_whatever_order_they_are_asked_for_folds_are_exact(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(folds, "FOLDS", 2)
    monkeypatch.setattr(folds, "OLDER", 2)
    chance = random.Random(seed)
    known = await _history(scene, chance)
    kept = Folds(scene.store)

    async def one(job_id: str, version: int) -> None:
        event, job = known[job_id, version]
        before = known[job_id, version - 1][1] if version > 1 else None
        some = await kept.some(job_id, event)
        assert some is not None
        assert some.origin == job.origin
        if chance.random() < 0.5:
            assert await kept.before(job_id, event) == before
        assert await kept.after(job_id, event) == job
        assert await kept.before(job_id, event) == before

    asked = chance.choices(list(known), k=100)
    for first in range(0, len(asked), 5):
        async with asyncio.TaskGroup() as group:
            for key in asked[first : first + 5]:
                group.create_task(one(*key))
    assert len(kept) <= 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("small", [True, False], ids=["small", "large"])
async def test_what_a_watch_of_a_state_says_does_not_depend_on_what_is_kept(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, seed: int, small: bool
) -> None:
    if small:
        monkeypatch.setattr(folds, "FOLDS", 1)
        monkeypatch.setattr(folds, "OLDER", 1)
    chance = random.Random(seed)
    token = await scene.resume.make(scene.store.head().position)
    known = await _history(scene, chance)
    log = sorted(known.values(), key=lambda one: one[0].position)
    finished = {job.id for _, job in log if job.phase is Phase.FINAL}
    assert len(finished) == 3
    for number, state in STATES.items():
        expected: list[tuple[str, int]] = []
        for event, job in log:
            before = known[job.id, event.version - 1][1] if event.version > 1 else None
            if job.origin.created_by != "alice":
                continue
            if job.state is state:
                expected.append((job.id, event.position))
            elif before is not None and before.state is state:
                expected.append((job.id, 0))
        request = Request(resume_token=token, flags=job_service_pb2.JobFlags(filter_state=number))
        told = await take(scene.restarted().watch(request, ALICE), len(expected))
        assert [_said(one) for one in told] == expected


def _said(response: Response) -> tuple[str, int]:
    if response.WhichOneof("message") == "left":
        return response.left.job_id, 0
    return response.event.job_id, response.event.event.position


async def test_an_admin_sees_everything_over_the_same_folds(scene: Scene) -> None:
    job_id = await scene.running()
    watches = scene.restarted()
    streams = [watches.watch(Request(), who) for who in (BOB, ALICE, ROOT)]
    assert [kinds(await take(stream, 1)) for stream in streams] == [["progress_mark"], ["snapshot"], ["snapshot"]]
    for stream in streams[1:]:
        await take(stream, 1)
    for _ in range(3):
        await scene.beat(job_id)
    told = [await take(stream, 3) for stream in streams[1:]]
    assert [[one.event.status.num_heartbeats for one in some] for some in told] == [[1, 2, 3]] * 2
