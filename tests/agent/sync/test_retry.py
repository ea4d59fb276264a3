from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from itertools import pairwise
from random import Random

import pytest

from tenure.agent.sync.counters import Counters
from tenure.agent.sync.gate import FencedOff
from tenure.agent.sync.keys import KeysRefused
from tenure.agent.sync.objects import ObjectRefused, StoreUnreachable
from tenure.agent.sync.retry import Retry, SyncRefused, SyncUnreachable, refusing
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def make(clock: FakeClock, counters: Counters) -> Callable[..., Retry]:
    def make(budget_s: float = 3600.0, deadline_ns: Callable[[], int | None] = lambda: None) -> Retry:
        return Retry(clock=clock, random=Random(7), budget_s=budget_s, deadline_ns=deadline_ns, counters=counters)

    return make


def failing(times: float, seen: list[int], clock: FakeClock) -> Callable[[], Awaitable[str]]:
    async def request() -> str:
        seen.append(clock.monotonic_ns())
        if len(seen) <= times:
            raise StoreUnreachable("put s3://bucket/key: HTTP status 503.")
        return "done"

    return request


async def test_a_request_is_repeated_until_it_succeeds(
    make: Callable[..., Retry], clock: FakeClock, counters: Counters
) -> None:
    seen: list[int] = []
    running = asyncio.create_task(make().run(failing(5, seen, clock)))
    await clock.advance(60)
    assert await running == "done"
    assert (len(seen), counters.errors) == (6, 5)
    waits = [(after - before) / 1e9 for before, after in pairwise(seen)]
    assert all(0 <= wait <= 0.2 * 2**number for number, wait in enumerate(waits))
    assert len(set(waits)) == 5


@pytest.mark.parametrize("budget_s", [1.0, 100.0])
async def test_the_budget_ends_it(make: Callable[..., Retry], clock: FakeClock, budget_s: float) -> None:
    seen: list[int] = []
    running = asyncio.create_task(make(budget_s).run(failing(float("inf"), seen, clock)))
    await clock.advance(budget_s - 0.001)
    assert not running.done()
    await clock.advance(0.002)
    with pytest.raises(SyncUnreachable, match=rf"for {budget_s:.0f} s .* The last one: put s3://bucket/key"):
        await running
    assert seen[-1] - seen[0] == int(budget_s * 1e9)


async def test_the_deadline_ends_it_and_may_move(make: Callable[..., Retry], clock: FakeClock) -> None:
    deadline_ns = int(10e9)
    running = asyncio.create_task(make(deadline_ns=lambda: deadline_ns).run(failing(float("inf"), [], clock)))
    await clock.advance(5)
    deadline_ns = int(40e9)
    await clock.advance(20)
    assert not running.done()
    await clock.advance(20)
    with pytest.raises(SyncUnreachable):
        await running


async def test_the_longest_wait_is_bounded(make: Callable[..., Retry], clock: FakeClock) -> None:
    seen: list[int] = []
    running = asyncio.create_task(make().run(failing(60, seen, clock)))
    await clock.advance(3000)
    assert await running == "done"
    assert max(after - before for before, after in pairwise(seen)) <= 20e9


@pytest.mark.parametrize(("error", "raised"), [(ObjectRefused("no"), SyncRefused), (FencedOff(), FencedOff)])
async def test_other_errors_are_not_repeated(
    make: Callable[..., Retry], error: Exception, raised: type[Exception]
) -> None:
    calls = 0

    async def request() -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(raised):
        await make().run(request)
    assert calls == 1


@pytest.mark.parametrize(
    "error", [KeysRefused([("..", "segment '..'")], 1), OSError(errno.ENOSPC, "No space left on device", "/data/x")]
)
def test_what_is_wrong_on_the_worker_is_a_refusal(error: Exception) -> None:
    with pytest.raises(SyncRefused, match=r"segment|'/data/x' could not be used: No space left"), refusing():
        raise error
