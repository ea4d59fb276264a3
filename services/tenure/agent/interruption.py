"""What may interrupt an attempt: the orders of its holding, the loss of contact, the end of a drain's patience."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tenure.agent.holding import Holding
from tenure.agent.ledger import NS
from tenure.agent.outcome import StopCause, StopOrder
from tenure.agent.waiting import Changes, settle
from tenure.runtime.clock import Clock

# A draining worker gives the last upload so long after the command's own grace.
DRAIN_UPLOAD_NS = 30 * NS
# Orders that leave no time for anything.
_AT_ONCE = (StopCause.LOST, StopCause.ABANDON)


class Interrupted(Exception):
    """An order ended a step."""


class Interruption:
    """Asks and waits for reasons to stop one attempt. `changes` pulses whenever the holding has changed."""

    def __init__(self, holding: Holding, changes: Changes, clock: Clock) -> None:
        self._holding = holding
        self._changes = changes
        self._clock = clock

    def ordered(self) -> bool:
        """There is an order to stop."""
        return bool(self._holding.orders)

    def at_once(self) -> bool:
        """There is one that leaves no time."""
        return any(cause in self._holding.orders for cause in _AT_ONCE)

    def only_expiring(self) -> bool:
        """The only order is that the job's time is ending."""
        return set(self._holding.orders) == {StopCause.EXPIRE}

    def strongest(self) -> StopOrder | None:
        """The order that leaves the least room."""
        return next((self._holding.orders[cause] for cause in StopCause if cause in self._holding.orders), None)

    def deadline_moved(self) -> bool:
        """The deadline is later than it was when the stop before it was ordered."""
        now, then = self._holding.deadline_us, self._holding.orders[StopCause.EXPIRE].deadline_us
        return now is not None and then is not None and now > then

    def check(self) -> None:
        """Raise Interrupted if there is any order."""
        if self.ordered():
            raise Interrupted

    def check_at_once(self) -> None:
        """Raise Interrupted if there is an order that leaves no time."""
        if self.at_once():
            raise Interrupted

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the condition; give the order to stop when there was no contact for longer than the job allows."""
        while not condition():
            now_ns = self._clock.monotonic_ns()
            limit_ns = self._holding.assignment.max_disconnected_ns
            left_ns = self._holding.lease.disconnected_left_ns(now_ns, limit_ns)
            if left_ns:
                await self._changes.until(condition, left_ns / NS)
                continue
            silent_s = (now_ns - self._holding.lease.heard_ns) // NS
            reason = f"the worker could not reach the server for {silent_s} s"
            self._holding.order(StopOrder(cause=StopCause.DISCONNECTED, at_ns=now_ns, reason=reason))
            # Normally the order itself is what is waited for; if not, it has been given and time no longer matters.
            await self._changes.until(condition)

    async def any_order(self) -> None:
        """Return when there is an order."""
        await self.until(self.ordered)

    async def upload_over(self) -> None:
        """Return when an upload has to end: the lease is lost, or a drain has no more time."""
        await self._changes.until(lambda: self.at_once() or StopCause.RELEASE in self._holding.orders)
        if not self.at_once():
            since_ns = self._holding.orders[StopCause.RELEASE].at_ns
            until_ns = since_ns + self._holding.assignment.grace_ns + DRAIN_UPLOAD_NS
            await self._changes.until(self.at_once, (until_ns - self._clock.monotonic_ns()) / NS)

    async def unless(self, watch: Coroutine[Any, Any, None], step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do a step until `watch` returns.

        Raises:
            Interrupted: it returned first; the step was cancelled, or not begun.
        """
        stop = asyncio.ensure_future(watch)
        work: asyncio.Future[None] | None = None
        try:
            # Let `watch` look first: a step that is not to be done is not begun.
            await asyncio.sleep(0)
            if stop.done():
                raise Interrupted
            work = asyncio.ensure_future(step())
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Interrupted
            work.result()
        finally:
            await (settle(stop) if work is None else settle(work, stop))
