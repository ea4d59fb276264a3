"""A disk that outlives the server's process, and the memory engine on top of it.

What `flush` has acknowledged is on the medium for ever. A crash while a flush is under way leaves that unit there or
not, and then, as a group commit would, perhaps some of those that waited behind it, in their order. A flush that fails
says that the outcome is unknown; the unit is on the medium or not, as chance has it, and the process has to end. A
new process reads the medium: log, answered requests, tokens. The log keeps its id and epoch over restarts, as in the
real engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.store import chain
from tenure.store.memory import MemoryStore
from tenure.store.store import (
    AnsweredRequest,
    Candidate,
    CommitOutcomeUnknown,
    Committed,
    EventFilter,
    Head,
    JobFilter,
    JobOrder,
    JobPage,
    JobView,
    StorageFull,
    StorageReadOnly,
    StoredJob,
    StoreError,
    TokenRow,
    Unit,
)
from tests.simulation.history import Checkpoint, Committing
from tests.simulation.loop import Schedule
from tests.simulation.process import Process

T = TypeVar("T")

LOG_ID = "simulated"
EPOCH = 1


@dataclass(frozen=True, slots=True)
class Written:
    """One unit as it is on the medium."""

    events: tuple[e.RecordedEvent, ...]
    head: Head
    unit: Unit


@dataclass(slots=True)
class Medium:
    """What is durable, whichever process runs.

    Attributes:
        committed: when each unit became durable.
        reading: dice for how long reads take.
        slow_s: a flush takes between these seconds.
        read_s: a read takes at most so long; 0: no time at all.
        full, read_only: nothing can be written.
        failing: the next flush that begins fails; with a chance of this its data are on the medium all the same.
    """

    schedule: Schedule
    random: Random
    reading: Random
    units: list[Written] = field(default_factory=list)
    events: list[e.RecordedEvent] = field(default_factory=list)
    tokens: dict[str, TokenRow] = field(default_factory=dict)
    committed: list[Committing] = field(default_factory=list)
    slow_s: tuple[float, float] = (0.0005, 0.01)
    read_s: float = 0.0
    full: bool = False
    read_only: bool = False
    failing: float | None = None
    on_written: Callable[[Committing], None] = lambda written: None

    @property
    def head(self) -> Head:
        """The end of what is durable."""
        return self.units[-1].head if self.units else Head(log_id=LOG_ID, epoch=EPOCH, position=0, hash=chain.START)

    def write(self, written: Written, disk: SimulatedDisk) -> Committing | None:
        """A unit is on the medium from now on."""
        self.units.append(written)
        if not written.events:
            return None
        self.events.extend(written.events)
        entry = Committing(
            first=written.events[0].position,
            last=written.events[-1].position,
            boot=disk.boot,
            durable_ns=self.schedule.now_ns,
            server_ns=disk.process.monotonic_ns(),
            wall_us=disk.wall_us(),
        )
        self.committed.append(entry)
        self.on_written(entry)
        return entry

    def checkpoint(self) -> Checkpoint:
        """The log as it is now: how long it is, and the hash of its chain."""
        head = self.head
        return Checkpoint(at_ns=self.schedule.now_ns, position=head.position, digest=head.hash.hex())


class SimulatedDisk:
    """The way of one process to the medium."""

    def __init__(self, medium: Medium, process: Process, boot: int, wall_us: Callable[[], int]) -> None:
        self.medium = medium
        self.process = process
        self.boot = boot
        self.wall_us = wall_us
        self.staged: Written | None = None
        self.post_mortem = False
        # A unit on its way: a crash decides whether it arrives.
        self.flushing: Written | None = None

    async def flush(self, events: int) -> None:
        """See `tenure.store.disk.Disk`."""
        medium, random = self.medium, self.medium.random
        written, self.staged = self.staged, None
        assert written is not None
        assert len(written.events) == events
        if self.post_mortem:
            medium.write(written, self)
            return
        if medium.full:
            raise StorageFull("no space left on device")
        if medium.read_only:
            raise StorageReadOnly("the file system is read-only")
        failing, medium.failing = medium.failing, None
        self.flushing = written
        low, high = medium.slow_s
        await asyncio.sleep(random.uniform(low, high))
        self.flushing = None
        if failing is not None:
            if random.random() < failing:
                medium.write(written, self)
            raise CommitOutcomeUnknown("input/output error")
        entry = medium.write(written, self)
        if entry is not None:
            entry.told_ns = medium.schedule.now_ns


class SimulatedStore(MemoryStore):
    """The memory engine over such a disk."""

    def __init__(self, disk: SimulatedDisk, on_fatal: Callable[[BaseException], None]) -> None:
        super().__init__(log_id=LOG_ID, epoch=EPOCH, disk=disk)
        self._on_fatal = on_fatal
        self._simulated = disk
        self.failed = False
        for written in disk.medium.units:
            self._take(written)
        self._tokens = dict(disk.medium.tokens)

    def _take(self, written: Written) -> None:
        """A unit that the medium has, as `_commit` would have left it."""
        for event in written.events:
            self._events.append(event)
            self._streams.setdefault(event.stream, []).append(event.position)
            self._rows.apply(event)
        if written.events:
            self._head = written.head
            self._commits.append((written.head.position, written.head.hash))
        if (request := written.unit.request) is not None:
            self._requests[request.principal, request.rpc, request.request_id] = (
                AnsweredRequest(digest=request.digest, answer=request.answer, position=len(self._events)),
                request.at_us,
            )

    async def commit(self, unit: Unit) -> Committed:
        """See `Store.commit`; the process is told to end when an outcome is unknown, as the real engine does."""
        try:
            return await super().commit(unit)
        except CommitOutcomeUnknown as error:
            if not self.failed:
                self.failed = True
                self._on_fatal(error)
            raise

    def _record(self, unit: Unit) -> tuple[list[e.RecordedEvent], list[chain.Link]]:
        recorded, links = super()._record(unit)
        head = self._head
        if recorded:
            head = replace(head, position=recorded[-1].position, hash=chain.advance(head.hash, links))
        self._simulated.staged = Written(tuple(recorded), head, unit)
        return recorded, links

    async def add_token(self, token: TokenRow) -> None:
        """See `Store.add_token`."""
        self._simulated.medium.tokens[token.id] = token
        await super().add_token(token)

    # What the real engine reads in a thread, where it is much: time passes before it looks, and after it has looked.

    async def _late(self, read: Coroutine[Any, Any, T]) -> T:
        medium = self._simulated.medium
        if not medium.read_s:
            return await read
        try:
            await asyncio.sleep(medium.reading.uniform(0, medium.read_s / 2))
            found = await read
        finally:
            read.close()
        await asyncio.sleep(medium.reading.uniform(0, medium.read_s / 2))
        return found

    async def read(
        self, after: int, limit: int, event_filter: EventFilter | None = None
    ) -> tuple[list[e.RecordedEvent], int]:
        """See `Store.read`."""
        return await self._late(super().read(after, limit, event_filter))

    async def read_stream(self, stream: str, after_version: int, limit: int) -> list[e.RecordedEvent]:
        """See `Store.read_stream`."""
        return await self._late(super().read_stream(stream, after_version, limit))

    async def load_jobs(self, ids: Sequence[str]) -> dict[str, StoredJob]:
        """See `Store.load_jobs`."""
        return await self._late(super().load_jobs(ids))

    async def view_jobs(self, ids: Sequence[str]) -> dict[str, JobView]:
        """See `Store.view_jobs`."""
        return await self._late(super().view_jobs(ids))

    async def browse(
        self, job_filter: JobFilter, order: JobOrder, after: tuple[int, int] | None, limit: int, *, histories: bool
    ) -> JobPage:
        """See `Store.browse`."""
        return await self._late(super().browse(job_filter, order, after, limit, histories=histories))

    async def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        """See `Store.candidates`."""
        return await self._late(super().candidates(queue, after, limit, now_us))

    async def count_ahead(self, queue: str, place: tuple[int, int], limit: int) -> int:
        """See `Store.count_ahead`."""
        return await self._late(super().count_ahead(queue, place, limit))

    async def leased(self, after_id: str, limit: int) -> list[Job]:
        """See `Store.leased`."""
        return await self._late(super().leased(after_id, limit))

    async def due(self, until_us: int, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
        """See `Store.due`."""
        return await self._late(super().due(until_us, after, limit))

    @property
    def idle(self) -> bool:
        """Nothing is being written, and nothing waits for it."""
        return not self._pending and (self._writer is None or self._writer.done())

    @property
    def busy(self) -> bool:
        """A unit is on its way to the medium."""
        return self._simulated.flushing is not None

    def crashed(self, random: Random) -> None:
        """The process is gone: what was on its way to the medium arrives, or does not."""
        disk = self._simulated
        flushing, disk.flushing = disk.flushing, None
        if flushing is None or self.failed or random.random() < 0.5:
            return
        disk.medium.write(flushing, disk)
        # What the dead store would have said to those who waited behind it; only the medium remembers.
        disk.post_mortem = True
        try:
            self._take(flushing)
            while self._pending and random.random() < 0.5:
                unit, _ = self._pending.popleft()
                work = self._commit(unit)
                try:
                    work.send(None)
                except (StopIteration, StoreError):
                    continue
                finally:
                    work.close()
        except Exception:  # a store with a planted bug may be in any state
            return


def slow(kind: float, random: Random) -> tuple[float, float]:
    """Bounds of how long a flush takes on a disk of a kind: 0 is fast, 1 is very slow."""
    longest = 0.01 * (3000**kind) * random.uniform(0.5, 1.0)
    return longest / 20, longest
