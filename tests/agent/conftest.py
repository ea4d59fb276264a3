"""Fixtures of the agent's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tenure.runtime.clock import SystemClock

from .bench import Bench, bench_in

Eventually: TypeAlias = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def eventually() -> Eventually:
    """Wait for a condition, at most 20 s."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - the condition is a process's doing
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A worker's surroundings, and a server that the test plays."""
    async with bench_in(tmp_path) as made:
        yield made
