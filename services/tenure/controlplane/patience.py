"""One timer for many calls that may all take equally long.

A timer a call costs more than looking up who calls. Calls that wait equally long run out of time in the order in which
they began, so one timer for the oldest of them is enough.
"""

from __future__ import annotations

import asyncio


class Patience:
    """Lets `asyncio.timeout(None)` scopes expire so many seconds after they were added.

    Args:
        span_s: how long each may take, in seconds.
    """

    def __init__(self, span_s: float) -> None:
        self.span_s = span_s
        self._due: dict[asyncio.Timeout, float] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def add(self, scope: asyncio.Timeout, now: float) -> None:
        """Begin to wait; `now` is the event loop's time."""
        due = self._due[scope] = now + self.span_s
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def remove(self, scope: asyncio.Timeout) -> None:
        """Wait no more; one that is not waited for is fine."""
        self._due.pop(scope, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        for scope, due in list(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._look)
                return
            del self._due[scope]
            scope.reschedule(now)
