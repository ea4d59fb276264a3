"""Jobs as they were right after an event, for those who tell of the log.

What one watcher had worked out serves all others: of each live job the newest fold is kept, and the last thousands of
older ones for those who are behind. A stream is read, which takes long where a job has beaten for days, only for a fold
that is in neither and that the row of its job has gone beyond.
"""

from __future__ import annotations

from collections import OrderedDict

from tenure.controlplane.locks import Locks
from tenure.domain import events as e
from tenure.domain.job import Job, create, evolve
from tenure.store.store import Store, StoreDamaged

PAGE = 200
FOLDS = 100_000
OLDER = 20_000


class Folds:
    """A bounded cache over the rows and streams of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest: OrderedDict[str, Job] = OrderedDict()
        # Never in the place of a newer one: whoever reads history must not take the present from everybody else.
        self._older: OrderedDict[tuple[str, int], Job] = OrderedDict()
        self._turns = Locks()

    def __len__(self) -> int:
        """Of how many jobs the newest fold is kept."""
        return len(self._newest)

    async def some(self, job_id: str, event: e.RecordedEvent) -> Job | None:
        """The job of an event as it was at whatever time, which says all that never changes; None: it has no row.
        Costs no fold."""
        if isinstance(event.payload, e.JobCreated):
            return await self.after(job_id, event)
        job = self._newest.get(job_id)
        if job is not None:
            self._newest.move_to_end(job_id)
        else:
            job = self._known(job_id, event.version) or await self._row(job_id)
        self._forget_ended(job_id, event)
        return job

    async def after(self, job_id: str, event: e.RecordedEvent) -> Job:
        """The job right after an event of its stream.

        Raises:
            StoreDamaged: events before it cannot be found.
        """
        payload = event.payload
        if isinstance(payload, e.JobCreated):
            return self._keep(create(job_id, payload, event.time_us))
        job = self._known(job_id, event.version)
        if job is None:
            before = self._known(job_id, event.version - 1)
            if before is not None:
                job = self._keep(evolve(before, _of_job(payload), event.time_us))
            else:
                job = await self._at(job_id, event.stream, event.version)
        self._forget_ended(job_id, event)
        return job

    async def before(self, job_id: str, event: e.RecordedEvent) -> Job | None:
        """The job right before an event of its stream; None: the event has created it.

        Raises:
            StoreDamaged: as `after`.
        """
        if event.version == 1:
            return None
        job = self._known(job_id, event.version - 1) or await self._at(job_id, event.stream, event.version - 1)
        self._forget_ended(job_id, event)
        return job

    def _known(self, job_id: str, version: int) -> Job | None:
        job = self._newest.get(job_id)
        if job is not None and job.version == version:
            self._newest.move_to_end(job_id)
            return job
        job = self._older.get((job_id, version))
        if job is not None:
            self._older.move_to_end((job_id, version))
        return job

    async def _at(self, job_id: str, stream: str, version: int) -> Job:
        """The job at a version that was not known; several who ask for it wait for the first of them."""
        await self._turns.acquire((job_id,))
        try:
            job = self._known(job_id, version)
            if job is None:
                job = await self._row(job_id)
                if job is None or job.version != version:
                    job = self._keep(await self._fold(job_id, stream, version))
            return job
        finally:
            self._turns.release((job_id,))

    async def _row(self, job_id: str) -> Job | None:
        stored = (await self._store.load_jobs([job_id])).get(job_id)
        return None if stored is None else self._keep(stored.job)

    async def _fold(self, job_id: str, stream: str, version: int) -> Job:
        job = self._newest.get(job_id)
        if job is not None and job.version > version:
            job = None
        while job is None or job.version < version:
            reached = job.version if job else 0
            events = await self._store.read_stream(stream, reached, min(PAGE, version - reached))
            # There is more of it: an index that does not find it would have us look here for ever, and short reads
            # suspend nobody.
            if not events:
                raise _not_found(stream, reached + 1)
            for event in events:
                reached += 1
                if event.version != reached:
                    raise _not_found(stream, reached)
                if job is None:
                    assert isinstance(event.payload, e.JobCreated)
                    job = create(job_id, event.payload, event.time_us)
                    continue
                if reached == version:
                    self._keep(job)  # whoever asks what was after an event may ask what was before it
                job = evolve(job, _of_job(event.payload), event.time_us)
        return job

    def _keep(self, job: Job) -> Job:
        newest = self._newest.get(job.id)
        if newest is None or newest.version < job.version:
            self._newest[job.id] = job
            self._newest.move_to_end(job.id)
            while len(self._newest) > FOLDS:
                self._newest.popitem(last=False)
            if newest is not None:
                self._keep_older(newest)
        elif newest.version > job.version:
            self._keep_older(job)
        return job

    def _keep_older(self, job: Job) -> None:
        self._older[job.id, job.version] = job
        self._older.move_to_end((job.id, job.version))
        while len(self._older) > OLDER:
            self._older.popitem(last=False)

    def _forget_ended(self, job_id: str, event: e.RecordedEvent) -> None:
        """After the event that ends a job nobody asks for a newer fold; those who are behind find the older ones."""
        if isinstance(event.payload, e.JobTerminated) and (job := self._newest.pop(job_id, None)) is not None:
            self._keep_older(job)


def _not_found(stream: str, version: int) -> StoreDamaged:
    return StoreDamaged(f"{stream} has no event {version}, but later ones: check the log with `tenure log verify`")


def _of_job(payload: e.Payload) -> e.JobEvent:
    assert not isinstance(payload, e.QueueConfigured | e.QueuePaused | e.QueueResumed)
    return payload
