"""Locks by key: commands on one job take turns, those on different jobs do not wait for each other.

Nearly always nobody else is there, so taking such a lock is one entry in a dictionary and waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable


class Locks:
    """One lock for each key, there while somebody holds it. Turns are given in the order they were asked for."""

    def __init__(self) -> None:
        # Of each key that is held, who waits for it; None: nobody has so far.
        self._held: dict[str, deque[asyncio.Future[None]] | None] = {}

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._held)

    async def acquire(self, keys: Iterable[str]) -> None:
        """Take the locks of all keys, each named once; in one order everywhere, or two callers wait for each other."""
        taken: list[str] = []
        try:
            for key in keys:
                if key in self._held:
                    await self._turn(key)
                else:
                    self._held[key] = None
                taken.append(key)
        except BaseException:
            self.release(taken)
            raise

    def release(self, keys: Iterable[str]) -> None:
        """Let go of the locks of keys that were acquired."""
        for key in keys:
            self._hand_on(key)

    async def _turn(self, key: str) -> None:
        waiters = self._held[key]
        if waiters is None:
            waiters = self._held[key] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._hand_on(key)  # it was our turn already
            raise

    def _hand_on(self, key: str) -> None:
        waiters = self._held[key]
        while waiters:
            turn = waiters.popleft()
            if not turn.done():  # else its caller was cancelled
                turn.set_result(None)
                return
        del self._held[key]
