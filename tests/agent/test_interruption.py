"""A step of an attempt that is done unless something comes between."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tenure.agent.holding import Holding
from tenure.agent.interruption import Interrupted, Interruption
from tenure.agent.waiting import Changes
from tests.fakes import FakeClock


def interruption() -> Interruption:
    clock = FakeClock()
    return Interruption(cast(Holding, None), Changes(clock), clock)


async def _forever() -> None:
    await asyncio.Event().wait()


async def _nothing() -> None:
    """Done at once."""


async def test_a_step_is_not_begun_when_there_is_a_reason_already() -> None:
    with pytest.raises(Interrupted):
        await interruption().unless(_nothing(), _forever)


async def test_a_step_that_ends_first_is_done() -> None:
    await interruption().unless(_forever(), _nothing)


@pytest.mark.parametrize("turns", range(1, 4))
async def test_whoever_is_cancelled_leaves_nothing_behind(turns: int) -> None:
    before = asyncio.all_tasks()
    working = asyncio.ensure_future(interruption().unless(_forever(), _forever))
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait({working})
    assert asyncio.all_tasks() - before == set()
