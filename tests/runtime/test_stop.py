from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tenure.runtime.stop import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_sets_and_the_second_calls(number: signal.Signals) -> None:
    again = asyncio.Event()
    before = signal.getsignal(number)
    with stop_on_signals(again.set) as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await stop.wait()
        assert not again.is_set()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await again.wait()
    assert signal.getsignal(number) is before


async def test_further_signals_are_harmless_where_nobody_asked() -> None:
    with stop_on_signals() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await stop.wait()
        await asyncio.sleep(0)
        assert stop.is_set()


async def test_a_terminal_that_goes_away_stops_it() -> None:
    """The kernel tells its processes, and the shell once more: that is no second signal of somebody impatient."""
    again = asyncio.Event()
    with stop_on_signals(again.set) as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            async with asyncio.timeout(5):
                await stop.wait()
            await asyncio.sleep(0)
        assert not again.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await again.wait()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


async def test_unless_it_was_told_to_ignore_that() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
