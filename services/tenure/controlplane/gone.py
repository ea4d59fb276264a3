"""Workers without a stream that are remembered, in the order in which they went.

One whose lease is live is never forgotten: its slot stays busy until it comes back, or the lease runs out. What keeps a
job from a worker is in the log, so nothing is lost there by forgetting one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from tenure.runtime.clock import Clock

if TYPE_CHECKING:
    from tenure.controlplane.workers import Worker, WorkerKey

# As long as somebody may want to see that one has gone, and at most so many: machines that are started for a few jobs
# each are never heard of again.
GONE_NS = 24 * 3600 * 1_000_000_000
MAX_GONE = 10_000


class Gone:
    """Workers whose stream has ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # With when they went (monotonic time), which never steps back: the longest gone are in front.
        self._workers: OrderedDict[WorkerKey, tuple[int, Worker]] = OrderedDict()

    def add(self, worker: Worker) -> None:
        """The worker's stream has ended."""
        self._workers[worker.key] = (self._clock.monotonic_ns(), worker)

    def discard(self, key: WorkerKey) -> None:
        """The worker has come back, if it was away."""
        self._workers.pop(key, None)

    def forget(self) -> list[WorkerKey]:
        """Drop those that went long ago, and of too many the one that went first; returns which."""
        limit_ns = self._clock.monotonic_ns() - GONE_NS
        excess = len(self._workers) - MAX_GONE
        forgotten: list[WorkerKey] = []
        for key, (since_ns, worker) in self._workers.items():
            if since_ns > limit_ns and len(forgotten) >= excess:
                break
            # A slot whose lease is over stays busy for good when its worker is lost and never says that it stopped.
            if worker.busy.keys() <= worker.past.keys():
                forgotten.append(key)
        for key in forgotten:
            del self._workers[key]
        return forgotten
