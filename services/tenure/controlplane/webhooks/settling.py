"""Writes down what came of deliveries: while one write is under way the next results gather, and share the next."""

from __future__ import annotations

import asyncio

from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.store.outbox import Outbox, Tried
from tenure.store.store import CommitOutcomeUnknown, StoreError

STORE_RETRY_S = 5.0

log = get_logger("webhooks")


class Settling:
    """Settles deliveries with an outbox. As many wait as are under way, so what waits is bounded."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock
        self._waiting: list[tuple[Tried, asyncio.Future[None]]] = []
        self._wanted = asyncio.Event()

    async def settle(self, tried: Tried) -> None:
        """Return when it is durable, however long that takes."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tried, future))
        self._wanted.set()
        await future

    async def run(self) -> None:
        """Write, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            group, self._waiting = self._waiting, []
            await self._write([tried for tried, _ in group])
            for _, future in group:
                if not future.done():
                    future.set_result(None)

    async def _write(self, tried: list[Tried]) -> None:
        while True:
            try:
                await self._outbox.settle(tried)
            except CommitOutcomeUnknown:
                raise
            except StoreError as error:
                # It was delivered or it was not: forgetting that would only repeat it.
                log.warning("deliveries_not_settled", error=type(error).__name__, retry_s=STORE_RETRY_S)
                await self._clock.sleep(STORE_RETRY_S)
            else:
                return
