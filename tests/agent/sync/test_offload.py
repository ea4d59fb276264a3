"""Work in threads: a cancellation waits for it, and long work leaves room for the short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from typing import TypeVar

import pytest

from tenure.agent.sync.offload import Threads, started_threads
from tests.agent.conftest import Eventually

T = TypeVar("T")

DEADLINE_S = 20


class Blocking:
    """A function that runs until the test, or its abort event, lets it end."""

    def __init__(self) -> None:
        self.begun = Event()
        self.go_on = Event()

    def __call__(self, abort: Event | None = None) -> bool:
        self.begun.set()
        return self.go_on.wait(3 * DEADLINE_S)


@pytest.fixture
def blocking() -> Iterator[Callable[[], Blocking]]:
    """Makes them; whatever the test came to, none is left waiting."""
    made: list[Blocking] = []

    def make() -> Blocking:
        made.append(Blocking())
        return made[-1]

    yield make
    for each in made:
        each.go_on.set()


@pytest.fixture
def one() -> Iterator[ThreadPoolExecutor]:
    """An executor with a single thread."""
    executor = ThreadPoolExecutor(1)
    yield executor
    executor.shutdown(wait=False)  # what still blocks in it is let go when its own fixture ends


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def result(task: asyncio.Task[T]) -> T:
    async with asyncio.timeout(DEADLINE_S):
        return await task


async def test_a_cancelled_call_ends_with_its_thread_and_not_before(
    one: ThreadPoolExecutor, blocking: Callable[[], Blocking], eventually: Eventually
) -> None:
    function = blocking()
    task = asyncio.create_task(Threads(one).run(function))
    await eventually(function.begun.is_set)
    for _ in range(2):
        task.cancel()
        await some_turns()
        assert not task.done()
    function.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await result(task)


async def test_long_work_is_told_that_nobody_waits_any_more(one: ThreadPoolExecutor, eventually: Eventually) -> None:
    begun, ended = Event(), Event()

    def long(abort: Event) -> None:
        begun.set()
        if abort.wait(DEADLINE_S):
            ended.set()

    task = asyncio.create_task(Threads(one).run_long(long))
    await eventually(begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await result(task)
    assert ended.is_set()


async def test_a_call_that_is_cancelled_before_its_turn_never_runs(
    one: ThreadPoolExecutor, blocking: Callable[[], Blocking], eventually: Eventually
) -> None:
    threads, first, second = Threads(one), blocking(), blocking()
    running = asyncio.create_task(threads.run(first))
    await eventually(first.begun.is_set)
    queued = asyncio.create_task(threads.run(second))
    await some_turns()
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await result(queued)
    assert not running.done()
    first.go_on.set()
    assert await result(running)
    assert await result(asyncio.create_task(threads.run(lambda: "next"))) == "next"
    assert not second.begun.is_set()


async def test_what_fails_after_the_cancellation_is_a_cancellation(
    one: ThreadPoolExecutor, blocking: Callable[[], Blocking], eventually: Eventually
) -> None:
    function = blocking()

    def fail() -> None:
        function()
        raise OSError

    task = asyncio.create_task(Threads(one).run(fail))
    await eventually(function.begun.is_set)
    task.cancel()
    await some_turns()
    function.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await result(task)


async def test_long_work_leaves_threads_for_the_short(blocking: Callable[[], Blocking], eventually: Eventually) -> None:
    executor = ThreadPoolExecutor(3)
    threads = Threads(executor, long_at_once=2)
    functions = [blocking() for _ in range(4)]
    tasks = [asyncio.create_task(threads.run_long(each)) for each in functions]
    await eventually(lambda: sum(each.begun.is_set() for each in functions) == 2)
    try:
        assert await result(asyncio.create_task(threads.run(lambda: "short"))) == "short"
        # One that is cancelled while it waits for its place takes none.
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await result(tasks[2])
        assert [each.begun.is_set() for each in functions] == [True, True, False, False]
    finally:
        for each in functions:
            each.go_on.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        executor.shutdown(wait=False)
    assert [each for each in ended if each is True] == [True, True, True]
    assert not functions[2].begun.is_set()


def named(prefix: str) -> int:
    """How many threads there are of that name, whatever else runs here."""
    return sum(thread.name.startswith(prefix) for thread in enumerate_threads())


def test_threads_are_there_before_they_are_needed() -> None:
    with started_threads(5, "early"):
        assert named("early") == 5


def test_a_machine_without_room_for_them_says_so_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Thread.start
    begun: list[Thread] = []

    def start(thread: Thread) -> None:
        if len(begun) == 3:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        begin(thread)

    monkeypatch.setattr(Thread, "start", start)
    with pytest.raises(OSError, match="no more threads"):
        started_threads(5, "late")
    assert len(begun) == 3
    assert named("late") == 0
