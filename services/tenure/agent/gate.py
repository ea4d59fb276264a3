"""The write gate of an attempt: its lease, asked before every request that writes to the object store."""

from __future__ import annotations

from tenure.agent.lease import Lease
from tenure.agent.sync.gate import FencedOff
from tenure.agent.waiting import Changes
from tenure.runtime.clock import Clock

_NS = 1_000_000_000


class LeaseGate:
    """Open while the lease allows it; closed while nothing is heard; shut for good when the lease is lost.

    `changes` has to pulse whenever a beat was acknowledged or the lease was lost. Implements `sync.gate.WriteGate`.
    """

    def __init__(self, lease: Lease, clock: Clock, changes: Changes) -> None:
        self._lease = lease
        self._clock = clock
        self._changes = changes

    async def enter(self, at_least_s: float) -> int:
        """Wait until there are so many seconds to write in; the instant at which they end.

        Raises:
            FencedOff: the lease is lost.
        """
        needed_ns = max(1, round(at_least_s * _NS))
        await self._changes.until(lambda: self._lease.lost or self._left_ns() >= needed_ns)
        if self._lease.lost:
            raise FencedOff
        now_ns = self._clock.monotonic_ns()
        return now_ns + self._lease.write_left_ns(now_ns)

    def _left_ns(self) -> int:
        return self._lease.write_left_ns(self._clock.monotonic_ns())
