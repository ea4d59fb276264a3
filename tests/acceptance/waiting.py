"""Waiting for conditions: generous in real time, exact in the server's time, and never a sleep for luck."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

GENEROUS_S = 20.0


async def eventually(look: Callable[[], Awaitable[T]], what: str = "", *, within_s: float = GENEROUS_S) -> T:
    """The first true answer of `look`; AssertionError with its last answer when there is none in real time."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + within_s
    while True:
        seen = await look()
        if seen:
            return seen
        if loop.time() > give_up:
            raise AssertionError(f"waited {within_s} s in vain for {what or look}; last seen: {seen!r}")
        await asyncio.sleep(0.01)
