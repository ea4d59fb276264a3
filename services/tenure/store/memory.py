"""The memory engine: everything a store promises except that it survives the process. For tests and simulations.

No threads, no files, nothing random: on a virtual-time loop the same calls give the same store. Commits pass a `Disk`
on their way, which a simulation replaces by one that is slow, full or broken.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.domain.queue import Queue
from tenure.domain.states import Phase
from tenure.projections.histories import tell
from tenure.projections.jobs import are_twins
from tenure.store import chain, codec
from tenure.store.disk import Disk as Disk
from tenure.store.disk import InstantDisk as InstantDisk
from tenure.store.memory_outbox import MemoryOutbox
from tenure.store.memory_outputs import MemoryOutputs
from tenure.store.memory_rows import MemoryRows
from tenure.store.memory_scrub import scrub
from tenure.store.memory_verify import verify
from tenure.store.paging import filled
from tenure.store.store import (
    AnsweredRequest,
    Backup,
    BackupFailed,
    Candidate,
    CommitOutcomeUnknown,
    Committed,
    Conflict,
    DuplicateSpecification,
    EventFilter,
    Head,
    JobFilter,
    JobOrder,
    JobPage,
    JobView,
    QueueDepth,
    RequestAnswered,
    Scrubbed,
    StorageFull,
    StorageReadOnly,
    StoredJob,
    StoreError,
    TokenRow,
    Unit,
    VerifyReport,
)
from tenure.store.tail import wanted

# How many events a filtered read looks at, at most, and a long walk before it lets others run.
STEP = 1000


class MemoryStore:
    """A `Store` in this process's memory; see there for what the methods promise."""

    engine = "memory"

    def __init__(self, *, log_id: str = "memory", epoch: int = 1, disk: Disk | None = None) -> None:
        self.outbox = MemoryOutbox()
        self.outputs = MemoryOutputs()
        self._disk = disk or InstantDisk()
        self._head = Head(log_id=log_id, epoch=epoch, position=0, hash=chain.START)
        self._events: list[e.RecordedEvent] = []
        self._streams: dict[str, list[int]] = {}
        self._commits: list[tuple[int, bytes]] = []
        self._rows = MemoryRows()
        self._requests: dict[tuple[str, str, str], tuple[AnsweredRequest, int]] = {}
        self._tokens: dict[str, TokenRow] = {}
        self._listeners: dict[object, Callable[[int], None]] = {}
        self._pending: deque[tuple[Unit, asyncio.Future[Committed]]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._broken = False
        self.read_only_reason = ""
        self._refusing = False
        self._closed = False

    async def commit(self, unit: Unit) -> Committed:
        """See `Store.commit`."""
        for append in unit.appends:
            append.check()
        self._check_open()
        if self._refusing:
            raise StorageReadOnly(self.read_only_reason)
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._pending.append((unit, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())
        return await asyncio.shield(future)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    async def _write(self) -> None:
        """Commit what is pending, one unit after the other; ends when nothing is left."""
        while self._pending:
            unit, future = self._pending.popleft()
            try:
                committed = await self._commit(unit)
            except Exception as error:
                self._broken = self._broken or isinstance(error, CommitOutcomeUnknown)
                if isinstance(error, StorageFull | StorageReadOnly) and not self._refusing:
                    self.read_only_reason = str(error)
                if not future.done():
                    future.set_exception(error)
            else:
                if not self._refusing:
                    self.read_only_reason = ""
                for callback in list(self._listeners.values()):
                    callback(committed.last)
                if not future.done():
                    future.set_result(committed)

    async def _commit(self, unit: Unit) -> Committed:
        if self._broken:
            raise CommitOutcomeUnknown("an earlier commit failed")
        request = unit.request
        if request is not None:
            known = self._requests.get((request.principal, request.rpc, request.request_id))
            if known is not None:
                raise RequestAnswered(known[0])
        recorded, links = self._record(unit)
        self._refuse_duplicates(unit)
        await self._disk.flush(len(recorded))
        for event in recorded:
            self._events.append(event)
            self._streams.setdefault(event.stream, []).append(event.position)
            self._rows.apply(event)
        for append in unit.appends:
            self._rows.keep_fold(append.job, append.queue)
        last = len(self._events)
        if recorded:
            self._head = replace(self._head, position=last, hash=chain.advance(self._head.hash, links))
            self._commits.append((last, self._head.hash))
        if request is not None:
            self._requests[request.principal, request.rpc, request.request_id] = (
                AnsweredRequest(digest=request.digest, answer=request.answer, position=last),
                request.at_us,
            )
        return Committed(first=last - len(recorded) + 1, last=last)

    def _record(self, unit: Unit) -> tuple[list[e.RecordedEvent], list[chain.Link]]:
        """The unit's events with their places, and what the chain says of them."""
        recorded: list[e.RecordedEvent] = []
        links: list[chain.Link] = []
        begun: dict[str, tuple[int, int]] = {}
        request_id, digest = (unit.request.request_id, unit.request.digest) if unit.request else ("", b"")
        for append in unit.appends:
            places = self._streams.get(append.stream, [])
            number, version = begun.get(append.stream) or (places[0] if places else 0, len(places))
            if version != append.expected_version:
                raise Conflict(append.stream, append.expected_version, version)
            for event in append.events:
                position = self._head.position + len(recorded) + 1
                number, version = number or position, version + 1
                name = append.stream if version == 1 else ""
                data = codec.encode(event, stream=name, request_id=request_id, request_digest=digest)
                links.append((position, number, version, event.time_us, data))
                recorded.append(
                    e.RecordedEvent(
                        position=position,
                        stream=append.stream,
                        version=version,
                        event_id=event.event_id,
                        time_us=event.time_us,
                        actor=event.actor,
                        request_id=request_id,
                        request_digest=digest,
                        payload=event.payload,
                    )
                )
            begun[append.stream] = number, version
        return recorded, links

    def _refuse_duplicates(self, unit: Unit) -> None:
        fresh: list[Job] = []
        for index, append in enumerate(unit.appends):
            job = append.job
            if job is None or append.expected_version != 0:
                continue
            if not job.origin.allow_duplicate:
                twin = next((one.id for one in fresh if are_twins(one.origin, job.origin)), None)
                twin = twin or self._rows.twin(job.origin)
                if twin is not None:
                    raise DuplicateSpecification(index, twin)
            if job.phase is not Phase.FINAL:
                fresh.append(job)

    def head(self) -> Head:
        """See `Store.head`."""
        return self._head

    def listen(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """See `Store.listen`."""
        key = object()
        self._listeners[key] = callback

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    async def chain_at(self, position: int) -> tuple[int, bytes] | None:
        """See `Store.chain_at`."""
        if position > self._head.position:
            return None
        index = bisect_right(self._commits, position, key=lambda commit: commit[0])
        return self._commits[index - 1] if index else (0, chain.START)

    async def read(
        self, after: int, limit: int, event_filter: EventFilter | None = None
    ) -> tuple[list[e.RecordedEvent], int]:
        """See `Store.read`."""
        found: list[e.RecordedEvent] = []
        reached = max(0, after)
        for event in self._events[reached : reached + max(limit, STEP)]:
            if len(found) == limit:
                break
            reached = event.position
            if event_filter is None or wanted(event, event_filter):
                found.append(event)
        return found, reached

    async def read_stream(self, stream: str, after_version: int, limit: int) -> list[e.RecordedEvent]:
        """See `Store.read_stream`."""
        places = self._streams.get(stream, [])
        return [self._events[position - 1] for position in places[after_version : after_version + limit]]

    async def load_jobs(self, ids: Sequence[str]) -> dict[str, StoredJob]:
        """See `Store.load_jobs`."""
        return {job_id: self._rows.jobs[job_id].stored for job_id in ids if job_id in self._rows.jobs}

    async def view_jobs(self, ids: Sequence[str]) -> dict[str, JobView]:
        """See `Store.view_jobs`."""
        return {job_id: self._view(job_id, histories=True) for job_id in ids if job_id in self._rows.jobs}

    def _view(self, job_id: str, *, histories: bool) -> JobView:
        row = self._rows.jobs[job_id]
        if not histories:
            return JobView(stored=row.stored)
        places = self._streams[e.job_stream(job_id)]
        updates, attempts = tell(row.marks, (self._events[places[v - 1] - 1] for v in row.marks.versions()))
        return JobView(stored=row.stored, updates=updates, attempts=attempts, updates_left_out=row.marks.left_out)

    async def browse(
        self, job_filter: JobFilter, order: JobOrder, after: tuple[int, int] | None, limit: int, *, histories: bool
    ) -> JobPage:
        """See `Store.browse`."""
        found = self._rows.browse(job_filter, order, after, limit)
        return filled(found, limit, lambda job_id: self._view(job_id, histories=histories))

    async def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        """See `Store.candidates`."""
        return self._rows.candidates(queue, after, limit, now_us)

    async def count_ahead(self, queue: str, place: tuple[int, int], limit: int) -> int:
        """See `Store.count_ahead`."""
        return self._rows.count_ahead(queue, place, limit)

    async def leased(self, after_id: str, limit: int) -> list[Job]:
        """See `Store.leased`."""
        return self._rows.leased(after_id, limit)

    async def due(self, until_us: int, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
        """See `Store.due`."""
        return self._rows.due(until_us, after, limit)

    async def find_request(self, principal: str, rpc: str, request_id: str) -> AnsweredRequest | None:
        """See `Store.find_request`."""
        known = self._requests.get((principal, rpc, request_id))
        return known[0] if known else None

    async def purge_requests(self, before_us: int) -> int:
        """See `Store.purge_requests`."""
        old = [key for key, (_, at_us) in self._requests.items() if at_us < before_us]
        for key in old:
            del self._requests[key]
        return len(old)

    async def load_queues(self) -> dict[str, Queue]:
        """See `Store.load_queues`."""
        return dict(self._rows.queues)

    async def queue_depths(self) -> dict[str, QueueDepth]:
        """See `Store.queue_depths`."""
        return self._rows.depths()

    async def add_token(self, token: TokenRow) -> None:
        """See `Store.add_token`."""
        self._tokens[token.id] = token

    async def find_token(self, digest: bytes) -> TokenRow | None:
        """See `Store.find_token`."""
        return next((token for token in self._tokens.values() if token.digest == digest), None)

    async def list_tokens(self) -> list[TokenRow]:
        """See `Store.list_tokens`."""
        return sorted(self._tokens.values(), key=lambda token: (token.created_us, token.id))

    async def revoke_token(self, token_id: str, at_us: int) -> bool:
        """See `Store.revoke_token`."""
        token = self._tokens.get(token_id)
        if token is None or token.revoked_us is not None:
            return False
        self._tokens[token_id] = replace(token, revoked_us=at_us)
        return True

    async def verify(self) -> AsyncIterator[VerifyReport]:
        """See `Store.verify`."""
        for report in verify(self._events, len(self._commits), self._rows):
            yield report

    async def scrub(self, after: Scrubbed, limit: int) -> Scrubbed:
        """See `Store.scrub`."""
        self._check_open()
        return scrub(self._events, self._streams, self._commits, self._rows, after, limit)

    def refuse_changes(self, reason: str) -> None:
        """See `Store.refuse_changes`."""
        self._refusing, self.read_only_reason = True, reason

    async def backup(self, path: Path) -> Backup:
        """See `Store.backup`."""
        raise BackupFailed("a store in memory cannot be copied: start the server with --store sqlite:///DIR")

    async def rebuild(self) -> AsyncIterator[int]:
        """See `Store.rebuild`."""
        rows = MemoryRows()
        for event in self._events:
            rows.apply(event)
            if event.position % STEP == 0:
                yield event.position
        self._rows = rows
        yield len(self._events)

    async def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
        if self._writer is not None:
            await self._writer
