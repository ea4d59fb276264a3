from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import pytest

from tenure.controlplane import tails as module
from tenure.controlplane.tails import Tails
from tenure.domain.job import Lease
from tenure.store.memory import MemoryStore
from tenure.store.memory_outputs import MemoryOutputs
from tenure.store.outputs import KeptOutput
from tenure.store.store import CommitOutcomeUnknown, StorageFull


class SlowOutputs(MemoryOutputs):
    """Outputs that are written when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.failure: Exception | None = None
        self.batches: list[int] = []

    async def keep(self, outputs: Iterable[KeptOutput]) -> None:
        batch = list(outputs)
        await self.open.wait()
        self.batches.append(len(batch))
        if self.failure is not None:
            raise self.failure
        await super().keep(batch)


def lease(lease_id: str, attempt: int = 1) -> Lease:
    return Lease(lease_id=lease_id, attempt=attempt, worker_id="w", length_us=1, assigned_us=0)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Tails, SlowOutputs]]:
    store = MemoryStore()
    store.outputs = outputs = SlowOutputs()
    tails = Tails(store)
    task = asyncio.ensure_future(tails.run())
    try:
        yield tails, outputs
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, CommitOutcomeUnknown):
            await task
        await store.close()


def data_of(output: KeptOutput | None) -> bytes | None:
    return output.data if output is not None else None


async def test_the_last_word_is_found_before_it_is_written_and_after() -> None:
    async with running() as (tails, outputs):
        tails.ended("j", lease("l"))
        assert not tails.final("j", 1)
        assert tails.report("w", "l", 7, b"abc") == ("j", 1)
        assert tails.final("j", 1)
        assert data_of(await tails.find("j", 1)) == b"abc"
        assert await outputs.find("j", 1) is None
        outputs.open.set()
        await tails.written()
        assert await outputs.find("j", 1) == KeptOutput(job_id="j", attempt=1, offset=7, data=b"abc")
        assert data_of(await tails.find("j", 1)) == b"abc"


async def test_only_the_worker_that_had_the_attempt_is_believed_and_only_when_it_is_over() -> None:
    async with running() as (tails, _):
        assert tails.report("w", "l", 0, b"abc") is None
        tails.ended("j", lease("l"))
        assert tails.report("other", "l", 0, b"abc") is None
        assert tails.report("w", "another", 0, b"abc") is None
        assert not tails.final("j", 1)
        assert tails.report("w", "l", 0, b"") == ("j", 1)
        assert tails.final("j", 1)
        assert await tails.find("j", 1) is None
        await tails.written()


async def test_what_gathers_is_written_together() -> None:
    async with running() as (tails, outputs):
        for number in range(20):
            tails.ended(f"j{number}", lease(f"l{number}"))
            tails.report("w", f"l{number}", 0, b"x")
        tails.report("w", "l3", 0, b"xyz")
        outputs.open.set()
        await tails.written()
        assert len(outputs.batches) <= 2
        assert data_of(await outputs.find("j3", 1)) == b"xyz"


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 10)
    monkeypatch.setattr(module, "REMEMBERED", 3)
    async with running() as (tails, outputs):
        for number in range(4):
            tails.ended("j", lease(f"l{number}", number))
        assert tails.report("w", "l0", 0, b"x") is None
        for number in range(1, 4):
            assert tails.report("w", f"l{number}", 0, b"12345") is not None
        assert [data_of(await tails.find("j", number)) for number in (1, 2, 3)] == [b"12345", b"12345", None]
        outputs.open.set()
        await tails.written()
        assert tails.report("w", "l3", 0, b"12345") is not None
        assert data_of(await tails.find("j", 3)) == b"12345"


async def test_what_cannot_be_written_is_let_go() -> None:
    async with running() as (tails, outputs):
        tails.ended("j", lease("l"))
        outputs.failure = StorageFull("full")
        outputs.open.set()
        tails.report("w", "l", 0, b"abc")
        await tails.written()
        assert await tails.find("j", 1) is None
        outputs.failure = None
        tails.report("w", "l", 0, b"abc")
        await tails.written()
        assert data_of(await tails.find("j", 1)) == b"abc"


async def test_a_store_that_cannot_be_trusted_any_more_ends_the_process() -> None:
    store = MemoryStore()
    store.outputs = outputs = SlowOutputs()
    tails = Tails(store)
    outputs.open.set()
    outputs.failure = CommitOutcomeUnknown("lost")
    tails.ended("j", lease("l"))
    tails.report("w", "l", 0, b"abc")
    with pytest.raises(CommitOutcomeUnknown):
        async with asyncio.timeout(5):
            await tails.run()
    await store.close()
