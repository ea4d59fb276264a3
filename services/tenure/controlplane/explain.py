"""ExplainJob: why a job is not running yet, in numbers and in a sentence.

It is what this server sees at one instant: the job as it is stored, its queue, its place in it, and the workers that
are connected here. What is in the way is said from the outside in: the job's own wait, its queue, its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tenure.controlplane.convert import STATES
from tenure.controlplane.fitness import Fitness
from tenure.controlplane.times import set_timestamp
from tenure.domain import events as e
from tenure.domain.job import Avoided, Job, Lease
from tenure.domain.queue import Queue
from tenure.domain.states import Phase
from tenure.runtime.clock import Clock
from tenure.store.store import Store, StoredJob
from tenure.v1 import job_service_pb2

# Jobs before this one are counted so far.
MOST_COUNTED = 10_000
# Workers that are named; the others are counted.
MOST_NAMED = 3
# Events of a queue that are looked through for why it was paused.
LOOKED_AT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Everything that a waiting job's sentence is made of.

    `paused` is why its queue is paused, empty when nobody said so; None: it is not. `ahead` jobs come before it,
    counted up to MOST_COUNTED.
    """

    job: Job
    now_us: int
    fitness: Fitness
    paused: str | None = None
    ahead: int = 0


class Explanations:
    """Explains jobs.

    Args:
        store: knows the jobs that wait and the events of queues.
        clock: what is still ahead.
        queues: gives all queues by name.
        fit: gives what the connected workers are to a job.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        queues: Callable[[], Mapping[str, Queue]],
        fit: Callable[[Job], Fitness],
    ) -> None:
        self._store = store
        self._clock = clock
        self._queues = queues
        self._fit = fit

    async def explain(self, stored: StoredJob) -> job_service_pb2.ExplainJobResponse:
        """Why a job is not running yet; one that runs or has ended is said to do so."""
        job = stored.job
        origin = job.origin
        queue = self._queues().get(origin.queue)
        paused = await self._why_paused(queue) if queue is not None and queue.paused else None
        ahead = 0
        if job.phase is Phase.QUEUED:
            place = (-origin.priority, stored.created_position)
            ahead = await self._store.count_ahead(origin.queue, place, MOST_COUNTED)
        return message_of(
            Circumstances(job=job, now_us=self._clock.wall_us(), fitness=self._fit(job), paused=paused, ahead=ahead)
        )

    async def _why_paused(self, queue: Queue) -> str:
        stream = e.queue_stream(queue.name)
        events = await self._store.read_stream(stream, max(0, queue.version - LOOKED_AT), LOOKED_AT)
        reasons = [event.payload.reason for event in events if isinstance(event.payload, e.QueuePaused)]
        return reasons[-1] if reasons else ""


def message_of(around: Circumstances) -> job_service_pb2.ExplainJobResponse:
    """The answer."""
    job, fit = around.job, around.fitness
    response = job_service_pb2.ExplainJobResponse(
        summary=sentence(around),
        state=STATES[job.state],
        queue_paused=around.paused is not None,
        workers_connected=fit.connected,
        workers_free=fit.free,
        free_slots=fit.free_slots,
        workers_banned=len(fit.kept),
        workers_unfit=fit.not_allowed + fit.in_use,
        workers_draining=fit.draining,
        workers_suspect=fit.suspect,
    )
    if job.phase is Phase.QUEUED:
        response.queue_position = min(around.ahead + 1, MOST_COUNTED)
        response.queue_position_beyond = around.ahead >= MOST_COUNTED
        if (until_us := _waits_until(around)) is not None:
            set_timestamp(response.next_retry, until_us)
    return response


def _waits_until(around: Circumstances) -> int | None:
    """The instant that a job waits for, if it is one that it waits for."""
    not_before_us = around.job.not_before_us
    if not_before_us is not None and not_before_us > around.now_us:
        return not_before_us
    fit = around.fitness
    return fit.kept[0].until_us if fit.kept and not fit.fitting else None


def sentence(around: Circumstances) -> str:
    """The answer in words."""
    job = around.job
    attempt = f"attempt {job.attempt} on {job.worker_id}"
    match job.phase:
        case Phase.FINAL:
            assert job.outcome is not None
            why = f" ({job.reason})" if job.reason else ""
            return f"It does not wait: it ended at {_at(job.ended_us)} as {job.outcome.name}{why}."
        case Phase.STOPPING:
            until = _at(job.stop_until_us)
            return f"It does not wait: it is being cancelled, and {attempt} has until {until}.{_away(around)}"
        case Phase.RUNNING:
            assert job.lease is not None
            return f"It does not wait: {attempt} has been running since {_at(job.lease.started_us)}.{_away(around)}"
        case Phase.ASSIGNED:
            assert job.lease is not None
            since, told = _at(job.lease.assigned_us), _assigned(job.lease, around)
            return f"It has a worker: {attempt}, since {since}; {told}.{_away(around)}"
        case Phase.QUEUED:
            return f"{_waiting(around)} {_turn(around)}"


def _assigned(lease: Lease, around: Circumstances) -> str:
    if lease.stage is e.Stage.SYNC_BEFORE:
        return "its input is being copied there"
    if around.fitness.accepted is False:
        return "the worker has not accepted it yet"
    return "its command is about to start"


def _away(around: Circumstances) -> str:
    """What is to be said of its worker where that is not connected."""
    until_us = around.fitness.away_until_us
    if until_us is None:
        return ""
    return f" Its worker is not connected; unless it is back by {_at(until_us)}, the attempt counts as lost."


def _waiting(around: Circumstances) -> str:
    reasons = [*_own(around), *_workers(around)]
    if reasons:
        return f"It waits because {'; '.join(reasons)}."
    fit = around.fitness
    what = "is about to be given out" if around.ahead == 0 else "waits for its turn"
    return f"It {what}: {_count(fit.fitting, 'worker')} could have it now."


def _own(around: Circumstances) -> list[str]:
    """What keeps the job, whatever workers there are."""
    job, found = around.job, []
    if job.not_before_us is not None and job.not_before_us > around.now_us:
        failures = f"{job.num_failures} of {job.origin.terms.max_failures}"
        found.append(f"after failure {failures} it is not tried again before {_at(job.not_before_us)}")
    if around.paused is not None:
        said = f" ({around.paused})" if around.paused else ""
        found.append(f"queue {job.origin.queue} is paused{said}")
    return found


def _workers(around: Circumstances) -> list[str]:
    """What is in the way of each worker, when none could have the job."""
    fit, queue = around.fitness, around.job.origin.queue
    if fit.fitting:
        return []
    if not fit.connected:
        return [f"no worker of queue {queue} is connected"]
    found = [_kept(one) for one in fit.kept[:MOST_NAMED]]
    if len(fit.kept) > MOST_NAMED:
        found.append(f"{len(fit.kept) - MOST_NAMED} more workers are kept from it like that")
    paths = ", ".join(around.job.origin.absolute_paths[:MOST_NAMED])
    others = [
        (fit.not_allowed, "does not allow", "do not allow", f" its folders ({paths}): see --allow-root"),
        (fit.in_use, "has", "have", f" its folders ({paths}) in use for another job"),
        (fit.full, "has", "have", " no free slot"),
        (fit.draining, "takes", "take", " no more jobs (draining)"),
        (fit.suspect, "gets", "get", f" none before {_at(fit.suspect_until_us)}, as several failed there in a row"),
    ]
    found += [
        f"{_count(count, 'worker')} of queue {queue} {one if count == 1 else many}{rest}"
        for count, one, many, rest in others
        if count
    ]
    return found


def _kept(one: Avoided) -> str:
    until = _at(one.until_us)
    if one.declines:
        return f"{one.worker_id} did not take it and is not offered it before {until}"
    return f"an attempt failed on {one.worker_id}, which does not get it again before {until}"


def _turn(around: Circumstances) -> str:
    queue = around.job.origin.queue
    if around.ahead >= MOST_COUNTED:
        return f"More than {MOST_COUNTED:,} jobs of queue {queue} come before it."
    if around.ahead == 0:
        return f"It is the next of queue {queue}."
    return f"It is number {around.ahead + 1} in queue {queue}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _at(instant_us: int | None) -> str:
    """An instant in UTC, to the millisecond where that says anything."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=instant_us or 0)
    fraction = f".{moment.microsecond // 1000:03}" if moment.microsecond >= 1000 else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}Z"
