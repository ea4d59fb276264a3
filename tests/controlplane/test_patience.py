"""One timer for many scopes."""

from __future__ import annotations

import asyncio

import pytest

from tenure.controlplane.patience import Patience


async def wait(patience: Patience, *, until: asyncio.Event | None = None) -> None:
    scope = asyncio.timeout(None)
    async with scope:
        patience.add(scope, asyncio.get_running_loop().time())
        try:
            await (until or asyncio.Event()).wait()
        finally:
            patience.remove(scope)


async def test_all_that_wait_too_long_run_out_of_time() -> None:
    patience = Patience(0.05)
    async with asyncio.timeout(20):
        for _ in range(2):
            ended = await asyncio.gather(*(wait(patience) for _ in range(50)), return_exceptions=True)
            assert {type(one) for one in ended} == {TimeoutError}


async def test_those_that_are_done_are_left_alone_and_later_ones_are_not_forgotten() -> None:
    patience = Patience(0.1)
    done = asyncio.Event()
    done.set()
    async with asyncio.timeout(20):
        await wait(patience, until=done)
        first = asyncio.ensure_future(wait(patience))
        await asyncio.sleep(0.05)  # the second is due later than the first
        second = asyncio.ensure_future(wait(patience))
        await wait(patience, until=done)
        for one in (first, second):
            with pytest.raises(TimeoutError):
                await one
