from __future__ import annotations

import asyncio
import gc
import weakref

from tenure.agent.waiting import settle, within
from tests.fakes import FakeClock


class Held:
    """Something that work holds."""


async def test_what_failed_work_held_is_let_go_of_with_its_error() -> None:
    """An error that leads to its own task is garbage that waits to be collected, and so is a connection it holds."""
    held = Held()
    left = weakref.ref(held)

    async def work(thing: Held) -> None:
        raise ValueError(thing.__class__.__name__)

    gc.disable()
    try:
        try:
            await within(FakeClock(), 1.0, work(held))
        except ValueError:
            del held
        await asyncio.sleep(0)  # the loop is through with the task
        assert left() is None
    finally:
        gc.enable()


async def test_who_is_cancelled_while_it_settles_still_waits_for_all() -> None:
    """What was to be over when it returns is over, and the cancellation goes on only then."""
    may_end = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    settling = asyncio.ensure_future(settle(task))
    try:
        for _ in range(3):
            await FakeClock().settle()
            assert not settling.done()
            settling.cancel()
        await FakeClock().settle()
        assert not settling.done()
    finally:
        may_end.set()
        await asyncio.wait((task, settling), timeout=10.0)
    assert task.cancelled()
    assert settling.cancelled()
