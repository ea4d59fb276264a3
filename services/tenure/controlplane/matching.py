"""Which free worker of its queue a job goes to, in one round of giving out.

Most workers of a queue allow the same folders. What a job asks for is compared with each such choice once, so that jobs
that no worker allows cost the same however many workers are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tenure.controlplane.folders import allowed
from tenure.controlplane.ready import Ready
from tenure.controlplane.workers import Worker

Roots = tuple[str, ...]


class Matching:
    """One round. No worker may come into the pools while it lasts; those that are in may leave.

    Args:
        pools: the workers of each queue that have a free slot, the one to be preferred first.
        now_us: wall time.
    """

    def __init__(self, pools: Mapping[str, Iterable[Worker]], now_us: int) -> None:
        self._pools = pools
        self._now_us = now_us
        self._roots: dict[str, frozenset[Roots]] = {}

    def worker(self, ready: Ready, queue: str) -> Worker | None:
        """The first worker of the queue that the job fits; None: there is none just now."""
        job = ready.job
        paths = job.origin.absolute_paths
        allowing = self._allowing(paths, queue) if paths else frozenset()
        if paths and not allowing:
            return None
        for worker in self._pools[queue]:
            if worker.generation in ready.unfit:
                continue
            if job.avoided and job.avoids(worker.id, self._now_us):
                continue
            if not paths or (worker.roots in allowing and not worker.uses(paths)):
                return worker
        return None

    def _allowing(self, paths: tuple[str, ...], queue: str) -> frozenset[Roots]:
        """Of what the queue's workers allow, all that these paths lie below."""
        roots = self._roots.get(queue)
        if roots is None:
            roots = self._roots[queue] = frozenset(worker.roots for worker in self._pools[queue])
        return frozenset(one for one in roots if allowed(paths, one))
