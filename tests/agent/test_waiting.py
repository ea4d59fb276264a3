from __future__ import annotations

import asyncio
import gc
import weakref

from tenure.agent.waiting import within
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
