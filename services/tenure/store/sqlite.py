"""The SQLite engine: one database in a data directory, one thread that writes, readers beside it.

The values of the last events are at hand for those who follow the log.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

import apsw

from tenure.domain.events import RecordedEvent
from tenure.domain.job import Job
from tenure.domain.queue import Queue
from tenure.runtime.clock import Clock
from tenure.store.origins import Origins, created_by
from tenure.store.paging import filled
from tenure.store.rebuild import rebuild
from tenure.store.sqlite_backup import Copies
from tenure.store.sqlite_bookkeeping import PURGED_AT_ONCE, add_token, purge, revoke_token
from tenure.store.sqlite_browse import browse
from tenure.store.sqlite_outbox import SqliteOutbox
from tenure.store.sqlite_outputs import SqliteOutputs
from tenure.store.sqlite_prepare import prepare
from tenure.store.sqlite_readers import SHORT, Readers
from tenure.store.sqlite_reads import Reads
from tenure.store.sqlite_scrub import Scrubber
from tenure.store.sqlite_writer import Done, Errand, Work, Writer
from tenure.store.store import (
    AnsweredRequest,
    Backup,
    Candidate,
    CommitOutcomeUnknown,
    Committed,
    EventFilter,
    Head,
    JobFilter,
    JobOrder,
    JobPage,
    JobView,
    QueueDepth,
    Scrubbed,
    StorageFull,
    StorageReadOnly,
    StoredJob,
    StoreError,
    TokenRow,
    Unit,
    VerifyReport,
)
from tenure.store.tail import Tail
from tenure.store.verify import verify

# Events of units that wait for the writer; beyond, callers wait before they hand theirs over.
MOST_WAITING = 20_000

# How often a rebuild says how far it is.
PROGRESS_SECONDS = 0.1

T = TypeVar("T")


class SqliteStore:
    """A `Store` in a SQLite database; see there for what the methods promise. `open_sqlite` makes one."""

    engine = "sqlite"

    def __init__(
        self,
        connection: apsw.Connection,
        directory: Path,
        path: Path,
        head: Head,
        *,
        clock: Clock,
        on_fatal: Callable[[BaseException], None],
        on_close: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._directory, self._path = directory, path
        self._head = head
        self._on_fatal, self._on_close = on_fatal, on_close
        self._listeners: dict[object, Callable[[int], None]] = {}
        self._waiting = 0
        self._room = asyncio.Event()
        self._room.set()
        self._origins = Origins()
        self._tail = Tail(head.position)
        self._readers = Readers(path, self._origins)
        self._copies = Copies(path, directory)
        self._scrubber = Scrubber(path)
        self._writer = Writer(connection, directory, head, clock=clock, deliver=self._deliver, on_fatal=on_fatal)
        self.outbox = SqliteOutbox(self._errand, self._readers.query, SHORT + 1)
        self.outputs = SqliteOutputs(self._errand, self._readers.query)
        self._closed = False
        self.read_only_reason = ""
        self._refusing = False
        self._writer.start()

    async def commit(self, unit: Unit) -> Committed:
        """See `Store.commit`."""
        prepared = prepare(unit)
        while self._waiting > MOST_WAITING:
            self._room.clear()
            await self._room.wait()
        self._check_writable()
        self._waiting += prepared.size
        future: asyncio.Future[Committed] = self._loop.create_future()
        self._writer.put(Work(prepared, future))
        # A caller that is cancelled cancels its future and nothing else: the commit goes on.
        return await future

    def _deliver(self, done: Done) -> None:
        """In the writer's thread: hand over to the loop."""
        with suppress(RuntimeError):  # the loop is closed: whoever waited is gone
            self._loop.call_soon_threadsafe(self._delivered, done)

    def _delivered(self, done: Done) -> None:
        """On the loop: show what has become durable, then answer. Where it cannot be shown nobody may wait for ever."""
        try:
            self._show(done)
        except Exception as error:
            self._on_fatal(error)
            for item, _ in done.results:
                if not item.future.done():
                    item.future.set_exception(CommitOutcomeUnknown("what was committed could not be shown"))

    def _show(self, done: Done) -> None:
        for item, result in done.results:
            if isinstance(item, Work):
                self._waiting -= item.unit.size
                if isinstance(result, Committed):
                    self._tail.add(item.unit.unit, result, item.unit.bytes)
                    self._origins.put(created_by(item.unit.unit, result.first))
                if isinstance(result, Committed | StorageFull | StorageReadOnly) and not self._refusing:
                    self.read_only_reason = "" if isinstance(result, Committed) else str(result)
        moved = done.head.position != self._head.position
        self._head = done.head
        if moved:
            for callback in list(self._listeners.values()):
                callback(done.head.position)
        for item, result in done.results:
            if item.future.done():
                continue
            if isinstance(result, Exception):
                item.future.set_exception(result)
            else:
                cast("asyncio.Future[object]", item.future).set_result(result)
        self._room.set()

    async def _errand(self, run: Callable[[apsw.Connection], T]) -> T:
        self._check_writable()
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.put(Errand(run, future))
        return await future

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._refusing:
            raise StorageReadOnly(self.read_only_reason)

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
        return None if position > self._head.position else self._readers.at_once(lambda reads: reads.chain_at(position))

    async def read(
        self, after: int, limit: int, event_filter: EventFilter | None = None
    ) -> tuple[list[RecordedEvent], int]:
        """See `Store.read`."""
        after = max(0, after)
        if (kept := self._tail.read(after, limit, event_filter)) is not None:
            return kept
        head = self._head.position
        size = limit if event_filter is None else SHORT + 1
        return await self._readers.read(size, lambda reads: reads.events(after, head, limit, event_filter))

    async def read_stream(self, stream: str, after_version: int, limit: int) -> list[RecordedEvent]:
        """See `Store.read_stream`."""
        return await self._readers.read(limit, lambda reads: reads.stream(stream, after_version, limit))

    async def load_jobs(self, ids: Sequence[str]) -> dict[str, StoredJob]:
        """See `Store.load_jobs`."""
        return await self._readers.read(len(ids), lambda reads: reads.load_jobs(ids))

    async def view_jobs(self, ids: Sequence[str]) -> dict[str, JobView]:
        """See `Store.view_jobs`."""

        def read(reads: Reads) -> dict[str, JobView]:
            return {view.stored.job.id: view for view in reads.views(reads.job_rows(ids))}

        return await self._readers.read(4 * len(ids), read)

    async def browse(
        self, job_filter: JobFilter, order: JobOrder, after: tuple[int, int] | None, limit: int, *, histories: bool
    ) -> JobPage:
        """See `Store.browse`."""

        def read(reads: Reads) -> JobPage:
            found = browse(reads, job_filter, order, after, limit)
            return filled(found, limit, lambda row: reads.view(row, histories=histories))

        return await self._readers.scan(read)

    async def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        """See `Store.candidates`."""
        return await self._readers.read(limit, lambda reads: reads.candidates(queue, after, limit, now_us))

    async def count_ahead(self, queue: str, place: tuple[int, int], limit: int) -> int:
        """See `Store.count_ahead`."""
        return await self._readers.scan(lambda reads: reads.count_ahead(queue, place, limit))

    async def leased(self, after_id: str, limit: int) -> list[Job]:
        """See `Store.leased`."""
        return await self._readers.read(limit, lambda reads: reads.leased(after_id, limit))

    async def due(self, until_us: int, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
        """See `Store.due`."""
        return await self._readers.read(limit, lambda reads: reads.due(until_us, after, limit))

    async def find_request(self, principal: str, rpc: str, request_id: str) -> AnsweredRequest | None:
        """See `Store.find_request`."""
        return self._readers.at_once(lambda reads: reads.find_request(principal, rpc, request_id))

    async def purge_requests(self, before_us: int) -> int:
        """See `Store.purge_requests`."""
        forgotten = 0
        while True:
            few = await self._errand(lambda connection: purge(connection, before_us))
            forgotten += few
            if few < PURGED_AT_ONCE:
                return forgotten

    async def load_queues(self) -> dict[str, Queue]:
        """See `Store.load_queues`."""
        return self._readers.at_once(Reads.queues)

    async def queue_depths(self) -> dict[str, QueueDepth]:
        """See `Store.queue_depths`."""
        return await self._readers.scan(Reads.depths)

    async def add_token(self, token: TokenRow) -> None:
        """See `Store.add_token`."""
        await self._errand(lambda connection: add_token(connection, token))

    async def find_token(self, digest: bytes) -> TokenRow | None:
        """See `Store.find_token`."""
        return next(iter(self._readers.at_once(lambda reads: reads.tokens(digest))), None)

    async def list_tokens(self) -> list[TokenRow]:
        """See `Store.list_tokens`."""
        return self._readers.at_once(Reads.tokens)

    async def revoke_token(self, token_id: str, at_us: int) -> bool:
        """See `Store.revoke_token`."""
        return await self._errand(lambda connection: revoke_token(connection, token_id, at_us))

    async def verify(self) -> AsyncIterator[VerifyReport]:
        """See `Store.verify`."""
        over = threading.Event()
        steps = verify(self._path, self._directory, self._head, over.is_set)
        try:
            while (report := await self._loop.run_in_executor(self._readers.threads, next, steps, None)) is not None:
                yield report
        finally:
            over.set()

    async def scrub(self, after: Scrubbed, limit: int) -> Scrubbed:
        """See `Store.scrub`."""
        self._check_open()
        return await self._scrubber.scrub(after, self._head.position, limit)

    def refuse_changes(self, reason: str) -> None:
        """See `Store.refuse_changes`."""
        self._refusing, self.read_only_reason = True, reason

    async def backup(self, path: Path) -> Backup:
        """See `Store.backup`."""
        self._check_open()
        return await self._copies.make(path)

    async def rebuild(self) -> AsyncIterator[int]:
        """See `Store.rebuild`."""
        reached = [0]

        def run(connection: apsw.Connection) -> None:
            for position in rebuild(connection):
                reached[0] = position

        future: asyncio.Future[None] = self._loop.create_future()
        self._writer.put(Errand(run, future))
        while not future.done():
            await asyncio.wait({future}, timeout=PROGRESS_SECONDS)
            yield reached[0]
        future.result()

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed:
            return
        self._closed = True
        await self._copies.stop()
        await self._scrubber.close()
        # Readers first: the last connection to close puts the write-ahead log away.
        await self._readers.close()
        await self._loop.run_in_executor(None, self._writer.stop)
        self._on_close()
