from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from tenure.runtime.groups import TaskGroup


async def fails() -> None:
    raise ValueError("a child's")


async def fails_when_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("a child's")


async def fails_after(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise ValueError("a child's")


async def waits_while_cancelled(turns: int) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise


def requests() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def in_its_body() -> None:
    async with TaskGroup() as group:
        group.create_task(fails())
        await asyncio.Event().wait()


async def at_its_end() -> None:
    async with TaskGroup() as group:
        group.create_task(fails())


@pytest.mark.parametrize("run", [in_its_body, at_its_end])
async def test_the_error_of_a_task_comes_out_and_leaves_no_cancellation_behind(
    run: Callable[[], Awaitable[None]],
) -> None:
    for _ in range(2):
        with pytest.raises(ExceptionGroup) as raised:
            await run()
        assert [str(error) for error in raised.value.exceptions] == ["a child's"]
        assert requests() == 0
        await asyncio.sleep(0)


async def cancelled(run: Callable[[], Awaitable[None]], turns: int) -> list[object]:
    """What becomes of somebody who runs it and goes on after errors, and is cancelled after so many turns."""
    seen: list[object] = []

    async def going_on() -> None:
        for _ in range(3):
            try:
                await run()
            except Exception as error:
                seen.append(type(error))
            await asyncio.sleep(0)

    task = asyncio.create_task(going_on())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,), timeout=5)
    seen.append("cancelled" if task.cancelled() else "went on")
    return seen


async def one_that_fails_when_cancelled() -> None:
    async with TaskGroup() as group:
        group.create_task(fails_when_cancelled())


async def one_that_fails_when_cancelled_under_a_body() -> None:
    async with TaskGroup() as group:
        group.create_task(fails_when_cancelled())
        await asyncio.Event().wait()


async def one_that_ends_slowly_beside_one_that_failed() -> None:
    async with TaskGroup() as group:
        group.create_task(waits_while_cancelled(10))
        group.create_task(fails_after(2))


@pytest.mark.parametrize(
    "run",
    [
        one_that_fails_when_cancelled,
        one_that_fails_when_cancelled_under_a_body,
        one_that_ends_slowly_beside_one_that_failed,
    ],
)
@pytest.mark.parametrize("turns", range(1, 12))
async def test_whoever_is_cancelled_does_not_go_on(run: Callable[[], Awaitable[None]], turns: int) -> None:
    assert (await cancelled(run, turns))[-1] == "cancelled"


async def test_a_time_limit_around_it_is_told_as_one() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await one_that_fails_when_cancelled()
    assert requests() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_of_before_is_not_its_own() -> None:
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await at_its_end()
        except ExceptionGroup:
            return "the error"
        return "nothing"

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "the error"


async def test_a_coroutine_that_is_thrown_away_leaves_no_other_trace() -> None:
    """Whoever lets go of one that is not at its end closes it, and that may be anywhere: no task does."""
    loop = asyncio.get_running_loop()
    let_go: asyncio.Future[BaseException | None] = loop.create_future()

    async def waiting() -> None:
        async with TaskGroup():
            await loop.create_future()

    coroutine = waiting()
    begun = loop.create_task(coroutine)
    await asyncio.sleep(0)

    def throw_away() -> None:
        try:
            coroutine.close()
        except BaseException as error:
            let_go.set_result(error)
        else:
            let_go.set_result(None)

    loop.call_soon(throw_away)
    error = await let_go
    begun.cancel()
    await asyncio.wait((begun,))
    if not begun.cancelled():
        begun.exception()  # it finds its coroutine closed
    assert isinstance(error, BaseExceptionGroup)
    assert [type(each) for each in error.exceptions] == [GeneratorExit]
