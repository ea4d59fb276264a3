"""The one way to change a job: load it, decide, commit, tell those who follow.

Commands on one job are serialised in this process; between processes the expected version decides, and a loser reads
again and decides again. A call that has begun to commit finishes even when its caller has gone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from tenure.controlplane.changes import (
    Answer,
    Change,
    Decided,
    Executed,
    RequestKey,
    Step,
    envelopes,
    not_found,
    replay,
    stored_request,
    twin,
)
from tenure.controlplane.locks import Locks
from tenure.controlplane.queues import Queues
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import decide, overdue
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job, create
from tenure.domain.queue import Queue
from tenure.domain.states import Phase
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.store.store import (
    Append,
    Conflict,
    DuplicateSpecification,
    RequestAnswered,
    StorageFull,
    StorageReadOnly,
    Store,
    Unit,
)

__all__ = ["Change", "Executed", "Handler", "RequestKey", "Step", "not_found"]

TRIES = 5
SERVER = "server"
CACHED_JOBS = 100_000
NONE: Mapping[str, e.QueueConfigured] = MappingProxyType({})

T = TypeVar("T")


class Handler:
    """Carries out commands against the store.

    `beat_of` gives what was last heard of a job's live attempt (set by whoever keeps the leases); observers are called
    after each commit, in the order of the log for any one job.
    """

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._cache: OrderedDict[str, Job] = OrderedDict()
        self._locks = Locks()
        self._queues = Queues(store, clock, ids)
        self._running: set[asyncio.Task[Any]] = set()
        self._observers: list[Callable[[Change], None]] = []
        self.beat_of: Callable[[Job], c.Beat | None] = lambda job: None

    async def load(self) -> None:
        """Read the queues; once, before anything else."""
        await self._queues.load()

    @property
    def queues(self) -> dict[str, Queue]:
        """All queues by name."""
        return self._queues.all

    def observe(self, observer: Callable[[Change], None]) -> None:
        """Have every change of a job told to `observer`."""
        self._observers.append(observer)

    def observe_queues(self, observer: Callable[[Queue], None]) -> None:
        """Have every change of a queue told to `observer`."""
        self._queues.observe(observer)

    async def execute(
        self,
        steps: Sequence[Step],
        *,
        actor: str,
        request: RequestKey | None = None,
        answer: Answer | None = None,
        partial: bool = False,
    ) -> Executed:
        """Carry out commands, in order: all or none, or with `partial` each for itself.

        Several steps may name one job; each sees what the ones before made of it.

        Raises:
            Refused: (not partial) the first refusal; JOB_NOT_FOUND; VERSION_CONFLICT after five lost races.
            StoreError: as `Store.commit`.
        """
        if known := await self.answered(request):
            return known
        return await self._to_the_end(self._execute(steps, actor, request, answer, partial=partial))

    async def answered(self, request: RequestKey | None) -> Executed | None:
        """What a call came to that is known already, None: it is not. Raises `Refused`: REQUEST_ID_REUSED."""
        if request is None:
            return None
        known = await self._store.find_request(request.principal, request.rpc, request.request_id)
        return replay(request, known) if known else None

    async def dry_run(self, steps: Sequence[Step]) -> list[Job]:
        """The jobs that `execute` would make, without making them. Raises as it would."""
        jobs = await self._load(steps, partial=False)
        return [job for job in self._decide_all(steps, jobs, SERVER, partial=False).outcomes if isinstance(job, Job)]

    async def create(
        self,
        created: Sequence[e.JobCreated],
        *,
        actor: str,
        request: RequestKey | None = None,
        answer: Callable[[list[str]], bytes] | None = None,
        job_ids: Sequence[str] | None = None,
        queues: Mapping[str, e.QueueConfigured] = NONE,
    ) -> Executed:
        """Create jobs, all or none, in order; with these ids, from `new_ids`, or with new ones. Those of `queues` that
        are not there are made with them.

        Raises:
            Refused: DUPLICATE_JOB with the id of the live job and the path of the item.
            StoreError: as `Store.commit`.
        """
        try:
            # The commit knows a repeat; looking for one before would cost every new call a read.
            ids = self.new_ids(len(created)) if job_ids is None else list(job_ids)
            return await self._to_the_end(self._create(created, ids, queues, actor, request, answer))
        except (StorageFull, StorageReadOnly):
            if known := await self.answered(request):
                return known  # a repeat needs no room
            raise

    def new_ids(self, count: int) -> list[str]:
        """Ids for so many jobs: drawn before the id of any event, so that whoever chooses the ids chooses these."""
        return [self._ids.new() for _ in range(count)]

    async def configure_queues(
        self, changes: Mapping[str, e.QueueEvent], *, actor: str, request: RequestKey | None = None
    ) -> Executed:
        """Append an event to the stream of each named queue that does not say so already: all or none.

        Raises:
            Refused: VERSION_CONFLICT, REQUEST_ID_REUSED.
            StoreError: as `Store.commit`.
        """
        if known := await self.answered(request):
            return known
        return await self._to_the_end(self._queues.configure(changes, actor=actor, request=request))

    async def configure_queue(self, name: str, event: e.QueueEvent, *, actor: str) -> Queue:
        """`configure_queues` for one queue; returns it."""
        await self.configure_queues({name: event}, actor=actor)
        return self.queues[name]

    async def get(self, job_id: str) -> Job | None:
        """A job as it is now, or None."""
        if (job := self._cache.get(job_id)) is not None:
            return job
        stored = (await self._store.load_jobs([job_id])).get(job_id)
        return stored.job if stored else None

    async def finish(self, within_s: float | None = None) -> None:
        """Wait for everything that has begun; what takes longer is cancelled. What the store was given, it commits."""
        while self._running:
            await asyncio.wait(self._running, timeout=within_s)
            if within_s is not None:
                break
        await asyncio.gather(*(task for task in self._running if task.cancel()), return_exceptions=True)

    # --- the inside -------------------------------------------------------------------------------------------------

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        # The caller may be cancelled at any time (its client has gone); what was begun is carried through, so that the
        # cache and the observers hear of every commit.
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody else is to be told

    async def _execute(
        self, steps: Sequence[Step], actor: str, request: RequestKey | None, answer: Answer | None, *, partial: bool
    ) -> Executed:
        job_ids = sorted({step.job_id for step in steps})
        await self._locks.acquire(job_ids)
        try:
            for _ in range(TRIES):
                jobs = await self._load(steps, partial=partial)
                try:
                    decided = self._decide_all(steps, jobs, actor, partial=partial)
                except Refused:
                    if first := await self.answered(request):
                        return first  # what stands in its way is an earlier try of the same call
                    await self._commit_overdue(jobs)
                    raise
                try:
                    return await self._commit(decided, request, answer)
                except Conflict:
                    for job_id in jobs:
                        self._cache.pop(job_id, None)
                except RequestAnswered as known:
                    assert request is not None
                    return replay(request, known.answered)
        finally:
            self._locks.release(job_ids)
        raise Refused(Reason.VERSION_CONFLICT, "other changes of the job kept coming first; read it again and retry")

    async def _load(self, steps: Sequence[Step], *, partial: bool) -> dict[str, Job]:
        wanted = {step.job_id for step in steps}
        jobs = {job_id: job for job_id in wanted if (job := self._cache.get(job_id)) is not None}
        missing = sorted(wanted - jobs.keys())
        if missing:
            for job_id, stored in (await self._store.load_jobs(missing)).items():
                jobs[job_id] = stored.job
        if not partial:
            for step in steps:
                if (job := jobs.get(step.job_id)) is None or (step.may_see and not step.may_see(job)):
                    raise not_found(step.path)
        return jobs

    def _decide_all(self, steps: Sequence[Step], jobs: dict[str, Job], actor: str, *, partial: bool) -> Decided:
        now_us = self._clock.wall_us()
        decided = Decided(before=jobs, after=dict(jobs))
        for step in steps:
            job = decided.after.get(step.job_id)
            if job is None or (step.may_see and not step.may_see(job)):
                decided.outcomes.append(not_found())
                continue
            beat = self.beat_of(job) if job.lease is not None else None
            if late := overdue(job, max(now_us, job.last_us), beat):
                # Time did this, not the caller, even if the caller brings it to light.
                job = decided.add(job, late, SERVER)
            try:
                decided.outcomes.append(decided.add(job, decide(job, step.command, now_us, beat), actor))
            except Refused as refused:
                if not partial:
                    raise Refused(
                        refused.reason,
                        refused.message,
                        field=_join(step.path, refused.field),
                        metadata={**refused.metadata, "job_id": step.job_id},
                    ) from refused
                decided.outcomes.append(refused)
        return decided

    async def _commit_overdue(self, jobs: dict[str, Job]) -> None:
        # A refused command leaves no trace, but what time has done is a fact that it has brought to light.
        ticks = [Step(job_id=job_id, command=c.Tick()) for job_id in sorted(jobs)]
        decided = self._decide_all(ticks, jobs, SERVER, partial=True)
        if decided.events:
            try:
                await self._commit(decided, None, None)
            except Conflict:
                for job_id in jobs:
                    self._cache.pop(job_id, None)

    async def _commit(self, decided: Decided, request: RequestKey | None, answer: Answer | None) -> Executed:
        body = answer([job for job in decided.outcomes if isinstance(job, Job)]) if answer else b""
        if not decided.events:
            return Executed(position=self._store.head().position, jobs=decided.outcomes, answer=body)
        appends: list[Append] = []
        for job_id, added in decided.events.items():
            events = envelopes(added, self._ids)
            before, after = decided.before[job_id], decided.after[job_id]
            appends.append(
                Append(stream=e.job_stream(job_id), expected_version=before.version, events=events, job=after)
            )
        committed = await self._store.commit(
            Unit(appends=tuple(appends), request=stored_request(request, body, self._clock.wall_us()))
        )
        self._tell(decided.before, appends, committed.first)
        return Executed(position=committed.last, jobs=decided.outcomes, answer=body)

    async def _create(
        self,
        created: Sequence[e.JobCreated],
        job_ids: list[str],
        queues: Mapping[str, e.QueueConfigured],
        actor: str,
        request: RequestKey | None,
        answer: Callable[[list[str]], bytes] | None,
    ) -> Executed:
        now_us = self._clock.wall_us()
        body = answer(job_ids) if answer else b""
        made: tuple[Append, ...] = ()
        appends: list[Append] = []
        try:
            async with self._queues.making(queues, actor) as made:
                for job_id, event in zip(job_ids, created, strict=True):
                    events = envelopes([(actor, (now_us, event))], self._ids)
                    job = create(job_id, event, now_us)
                    appends.append(Append(stream=e.job_stream(job_id), expected_version=0, events=events, job=job))
                stored = stored_request(request, body, self._clock.wall_us())
                committed = await self._store.commit(Unit(appends=(*made, *appends), request=stored))
        except RequestAnswered as known:
            assert request is not None
            return replay(request, known.answered)
        except DuplicateSpecification as duplicate:
            raise twin(duplicate.job_id, duplicate.append - len(made), job_ids) from duplicate
        self._tell({}, appends, committed.first + len(made))
        jobs: list[Job | Refused] = [append.job for append in appends if append.job is not None]
        return Executed(position=committed.last, jobs=jobs, answer=body)

    def _tell(self, before: Mapping[str, Job], appends: list[Append], position: int) -> None:
        changes: list[Change] = []
        for append in appends:
            job = append.job
            assert job is not None
            changes.append(Change(before=before.get(job.id), after=job, events=append.events, position=position))
            position += len(append.events)
            if job.phase is Phase.FINAL:
                self._cache.pop(job.id, None)
            else:
                self._cache[job.id] = job
                self._cache.move_to_end(job.id)
        while len(self._cache) > CACHED_JOBS:
            self._cache.popitem(last=False)
        for change in changes:
            for observer in self._observers:
                observer(change)


def _join(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)
