"""What this server's workers are to one job at this instant: who could have it, what is in the way of the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tenure.controlplane.folders import allowed
from tenure.controlplane.leases import Live
from tenure.controlplane.workers import Worker
from tenure.domain.job import Avoided, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """The connected workers of a job's queue, each counted in one place, in this order.

    Attributes:
        draining: take no more jobs.
        suspect: get no jobs for a while; `suspect_until_us` is the first of those instants.
        full: have no free slot.
        kept: have one and are kept from this job for a while, the one that may have it first in front.
        not_allowed: do not allow its absolute paths.
        in_use: run a job that uses them.
        fitting: could have it now.
        free_slots: of all that are neither draining nor suspect.
        accepted: the worker that has the job was told that it may begin; None: none has it, as far as is known here.
        away_until_us: that worker is not connected, and counts as lost if it is not heard of by then; None: it is.
    """

    draining: int = 0
    suspect: int = 0
    suspect_until_us: int | None = None
    full: int = 0
    kept: tuple[Avoided, ...] = ()
    not_allowed: int = 0
    in_use: int = 0
    fitting: int = 0
    free_slots: int = 0
    accepted: bool | None = None
    away_until_us: int | None = None

    @property
    def connected(self) -> int:
        """All of them."""
        return self.draining + self.suspect + self.full + self.free

    @property
    def free(self) -> int:
        """Those that have a free slot and may be given a job."""
        return len(self.kept) + self.not_allowed + self.in_use + self.fitting


def fitness(workers: Iterable[Worker], live: Live | None, job: Job, now_us: int, now_ns: int) -> Fitness:
    """What the workers are to a job.

    Args:
        workers: all that were heard of.
        live: the job's live lease, if there is one.
        job: the job.
        now_us: wall time.
        now_ns: monotonic time.
    """
    avoided = {one.worker_id: one for one in job.avoided if now_us < one.until_us}
    paths = job.origin.absolute_paths
    draining = full = not_allowed = in_use = fitting = free_slots = 0
    suspects: list[int] = []
    kept: list[Avoided] = []
    for worker in workers:
        if worker.session is None or job.origin.queue not in worker.queues:
            continue
        if worker.draining:
            draining += 1
            continue
        if worker.suspect_until_ns is not None:
            suspects.append(worker.suspect_until_us or 0)
            continue
        free_slots += worker.free
        if not worker.available:
            full += 1
        elif (one := avoided.get(worker.id)) is not None:
            kept.append(one)
        elif not allowed(paths, worker.roots):
            not_allowed += 1
        elif not worker.fits(job):
            in_use += 1
        else:
            fitting += 1
    return Fitness(
        draining=draining,
        suspect=len(suspects),
        suspect_until_us=min(suspects, default=None),
        full=full,
        kept=tuple(sorted(kept, key=lambda one: (one.until_us, one.worker_id))),
        not_allowed=not_allowed,
        in_use=in_use,
        fitting=fitting,
        free_slots=free_slots,
        accepted=live.accepted if live is not None else None,
        away_until_us=_away_until_us(live, now_us, now_ns) if live is not None else None,
    )


def _away_until_us(live: Live, now_us: int, now_ns: int) -> int | None:
    connected = live.worker is not None and live.worker.session is not None
    return None if connected else now_us + max(0, live.ends_ns - now_ns) // 1000
