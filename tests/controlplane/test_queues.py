"""Queues that are made because a job names them: with the job or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenure.controlplane.changes import Change, RequestKey
from tenure.controlplane.handler import Handler
from tenure.controlplane.queues import Queues
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Queue
from tenure.store.open import open_store
from tenure.store.store import Store
from tests.controlplane.fleet import job_created
from tests.fakes import FakeClock, SequenceIds

GPU = {"gpu": e.QueueConfigured()}


def creation(**changes: object) -> e.JobCreated:
    return job_created(queue="gpu", **changes)


class Bench:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.handler = Handler(store, FakeClock(), SequenceIds())
        self.told: list[Queue | Change] = []
        self.handler.observe(self.told.append)
        self.handler.observe_queues(self.told.append)

    async def log(self) -> list[tuple[str, str]]:
        events, _ = await self.store.read(0, 100, None)
        return [(event.stream, type(event.payload).__name__) for event in events]


@pytest.fixture(params=["memory:", "sqlite"])
async def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    where = "memory:" if request.param == "memory:" else f"sqlite://{tmp_path_factory.mktemp('store')}"
    store = await open_store(where, clock=FakeClock(), on_fatal=lambda error: None)
    yield Bench(store)
    await store.close()


async def test_a_queue_comes_before_the_job_that_makes_it_in_the_same_commit(bench: Bench) -> None:
    executed = await bench.handler.create([creation(), creation()], actor="user:u", queues=GPU)
    assert [name for _, name in await bench.log()] == ["QueueConfigured", "JobCreated", "JobCreated"]
    assert executed.position == 3
    assert [one.position if isinstance(one, Change) else one.name for one in bench.told] == ["gpu", 2, 3]
    assert bench.handler.queues == await bench.store.load_queues()


async def test_a_refused_call_makes_none(bench: Bench) -> None:
    twin = creation(specification_digest=b"twin", allow_duplicate=False)
    with pytest.raises(Refused) as refused:
        await bench.handler.create([creation(), twin, twin], actor="user:u", queues=GPU)
    assert (refused.value.reason, refused.value.field) == (Reason.DUPLICATE_JOB, "items[2].specification")
    assert "items[1]" in refused.value.message
    request = RequestKey(principal="user:u", rpc="CreateJobs", request_id="r", digest=b"1")
    await bench.handler.create([job_created()], actor="user:u", request=request)
    before = await bench.log()
    other = RequestKey(principal="user:u", rpc="CreateJobs", request_id="r", digest=b"2")
    with pytest.raises(Refused) as refused:
        await bench.handler.create([creation()], actor="user:u", request=other, queues=GPU)
    assert refused.value.reason is Reason.REQUEST_ID_REUSED
    assert await bench.log() == before
    assert bench.handler.queues == {}


async def test_of_many_calls_that_name_it_one_makes_it(bench: Bench) -> None:
    create = bench.handler.create
    await asyncio.gather(*(create([creation()], actor="user:u", queues=GPU) for _ in range(5)))
    assert [name for _, name in await bench.log()] == ["QueueConfigured", *["JobCreated"] * 5]
    assert [one.version for one in bench.told if isinstance(one, Queue)] == [1]


class BrokenIds:
    def new(self) -> str:
        raise RuntimeError("no ids")


async def test_what_breaks_before_the_commit_keeps_nobody_from_changing_queues() -> None:
    store = await open_store("memory:", clock=FakeClock(), on_fatal=lambda error: None)
    broken = Queues(store, FakeClock(), BrokenIds())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no ids"):
            async with asyncio.timeout(5), broken.making(GPU, "somebody"):
                pass
    await store.close()
