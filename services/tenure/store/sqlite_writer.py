"""The one thread that writes: it gathers units while a commit is in flight, commits the group, and tells the loop.

It is also the only one that checkpoints, and it keeps the anchor. Whatever leaves the outcome of a commit open — an
I/O error, a damaged file, a write-ahead log that was replaced under us — ends it: nothing is acknowledged after that.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from tenure.runtime.clock import Clock
from tenure.store.anchor import Anchor, write_anchor
from tenure.store.sqlite_apply import Applier, Staged
from tenure.store.sqlite_prepare import PreparedUnit
from tenure.store.sqlite_schema import BUSY_MS
from tenure.store.store import CommitOutcomeUnknown, Committed, Head, StorageFull, StorageReadOnly, StoreError

# A transaction takes units up to so many events, or one larger unit.
GROUP_EVENTS = 256

ANCHOR_NS = 1_000_000_000
# How often it is tried, at most.
MAKE_ROOM_NS = 1_000_000_000
# Pages of 4 KiB in the write-ahead log: from here on the writer copies them back between commits …
CHECKPOINT_PAGES = 4_000
# … where the disk has less room than that, early: a write-ahead log must not take the room of the database …
ROOM_BYTES = 2 * CHECKPOINT_PAGES * 4096
EARLY_PAGES = 200
# … and from here on it insists, because some reader has kept it from doing so for long.
TRUNCATE_PAGES = 16_000
IDLE_SECONDS = 1.0
# What a file system says that takes no writes at present.
_REFUSED = (errno.EROFS, errno.EDQUOT)

Result = Committed | Exception


class Work(NamedTuple):
    """A unit for the thread; `future` belongs to the loop and only passes through."""

    unit: PreparedUnit
    future: asyncio.Future[Committed]


class Errand(NamedTuple):
    """Something else to do in a transaction of its own; `future` is for what it returns."""

    run: Callable[[apsw.Connection], object]
    future: asyncio.Future[Any]


class Done(NamedTuple):
    """What came of a group, item by item, and the durable head after it."""

    results: list[tuple[Work | Errand, object]]
    head: Head


class Writer:
    """Owns the writing connection and its thread.

    `deliver` is called in the thread with what came of each group, in order; `on_fatal` is called in the thread when
    the outcome of a commit is unknown, or it can do no more commits for another reason.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        directory: Path,
        head: Head,
        *,
        clock: Clock,
        deliver: Callable[[Done], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._connection = connection
        self._directory = directory
        self._head = head
        self._clock = clock
        self._deliver = deliver
        self._on_fatal = on_fatal
        self._applier = Applier(connection, head.position, head.hash)
        self._queue: queue.SimpleQueue[Work | Errand | None] = queue.SimpleQueue()
        self._held: Work | Errand | None = None
        self._broken: BaseException | None = None
        self._refusal: Exception | None = None
        self._wal = connection.db_filename("main") + "-wal"
        self._wal_inode = os.stat(self._wal).st_ino
        # What the start has written, and perhaps more that a crash has left.
        self._wal_pages = 1
        connection.set_wal_hook(self._on_wal)
        # A crash may have come between the last commits and the anchor that speaks of them.
        self._anchored = -1
        self._anchored_ns = clock.monotonic_ns()
        self._made_room_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name="tenure-writer", daemon=True)

    def start(self) -> None:
        """Begin to take work."""
        self._thread.start()

    def put(self, work: Work | Errand) -> None:
        """Hand over work; from any thread."""
        self._queue.put(work)

    def stop(self) -> None:
        """Finish what was handed over, then end; returns once the thread has ended and its connection is closed."""
        self._queue.put(None)
        self._thread.join()

    def _on_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _run(self) -> None:
        try:
            while True:
                item = self._next()
                if item is None:
                    break
                if isinstance(item, Errand):
                    self._errand(item)
                else:
                    self._commit(self._gather(item))
                self._tend(idle=False)
            if self._broken is None:
                self._anchor()
        finally:
            self._connection.set_wal_hook(None)
            self._connection.close()

    def _next(self) -> Work | Errand | None:
        """The next thing to do; while there is none, what can be done in idle time."""
        if self._held is not None:
            item, self._held = self._held, None
            return item
        while self._anchored != self._head.position or self._wal_pages:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._tend(idle=True)
        return self._queue.get()

    def _gather(self, first: Work) -> list[Work]:
        """The group that begins with a unit: whatever has arrived since, as far as it fits."""
        group, size = [first], first.unit.size
        while size < GROUP_EVENTS:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(item, Work) or size + item.unit.size > GROUP_EVENTS:
                self._held = item
                if item is None:
                    self._queue.put(None)
                break
            group.append(item)
            size += item.unit.size
        return group

    def _commit(self, group: list[Work]) -> None:
        results = self._transaction([work.unit for work in group])
        if results is None:
            # Something in the group broke a rule that only the database knows: each unit is to fail or succeed alone.
            results = [self._alone(work.unit) for work in group]
        self._deliver(Done(list(zip(group, results, strict=True)), self._head))
        if any(isinstance(result, StorageFull) for result in results):
            self._make_room()

    def _alone(self, unit: PreparedUnit) -> Result:
        results = self._transaction([unit], careful=True)
        return results[0] if results is not None else StoreError(f"the database refuses the unit: {self._refusal}")

    def _transaction(self, units: Sequence[PreparedUnit], *, careful: bool = False) -> list[Result] | None:
        """Commit units in one transaction; None: the database refused something of them, nothing was written."""
        if self._broken is not None:
            return [_unknown() for _ in units]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            staged = self._applier.apply(units, careful=careful)
            self._connection.execute("COMMIT")
        except Exception as error:
            return self._failed(error, len(units))
        try:
            self._check_wal()
            self._accept(staged)
        except Exception as error:
            return self._lost(error, len(units))
        return list(staged.results)

    def _accept(self, staged: Staged) -> None:
        self._applier.accept(staged)
        head = self._head
        self._head = Head(log_id=head.log_id, epoch=head.epoch, position=staged.position, hash=staged.hash)

    def _errand(self, errand: Errand) -> None:
        result = self._run_errand(errand) if self._broken is None else _unknown()
        # It may have changed rows that the next group would otherwise remember.
        self._applier.forget()
        self._deliver(Done([(errand, result)], self._head))

    def _run_errand(self, errand: Errand) -> object:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = errand.run(self._connection)
            self._connection.execute("COMMIT")
        except Exception as error:
            failed = self._failed(error, 1)
            return failed[0] if failed is not None else StoreError(f"the database refuses it: {error}")
        try:
            self._check_wal()
        except Exception as error:
            return self._lost(error, 1)[0]
        return result

    def _failed(self, error: Exception, count: int) -> list[Result] | None:
        """What a transaction that failed means for its units; None: that they may be tried one by one."""
        number = self._connection.system_errno
        self._applier.forget()
        self._refusal = error
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as second:
            error = second
        match error:
            case apsw.FullError():
                return [StorageFull("the disk is full") for _ in range(count)]
            case apsw.ReadOnlyError():
                return [StorageReadOnly("the database can only be read") for _ in range(count)]
            case apsw.BusyError() | apsw.LockedError():
                return [StorageReadOnly("another program holds the database locked") for _ in range(count)]
            case apsw.IOError() if _was_a_write(error) and number == errno.EROFS:
                # What could not be written is no commit; a flush that fails is another matter.
                return [StorageReadOnly("the file system is read-only") for _ in range(count)]
            case apsw.IOError() if _was_a_write(error) and number == errno.EDQUOT:
                return [StorageFull("the disk's quota is used up") for _ in range(count)]
            case apsw.ConstraintError() | apsw.TooBigError():
                return None
            case apsw.Error() | OSError():
                return self._lost(error, count)
            case _:
                return None

    def _lost(self, error: Exception, count: int) -> list[Result]:
        """Nobody knows what is on disk: no commit is taken any more."""
        self._break(error)
        return [_unknown() for _ in range(count)]

    def _break(self, error: BaseException) -> None:
        self._broken = error
        self._on_fatal(error)

    def _check_wal(self) -> None:
        """Nothing is acknowledged that went into a file which is no longer the database's."""
        if os.stat(self._wal).st_ino != self._wal_inode:
            raise _Replaced(f"{self._wal} was replaced by another program")

    def _tend(self, *, idle: bool) -> None:
        """Keep the anchor and the write-ahead log in order."""
        if self._broken is not None:
            self._anchored, self._wal_pages = self._head.position, 0
            return
        try:
            self._anchor_and_checkpoint(idle=idle)
        except Exception as error:
            # Whatever it is: nobody may wait for a thread that has ended.
            self._break(error)

    def _anchor_and_checkpoint(self, *, idle: bool) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._anchored != self._head.position and (idle or now_ns - self._anchored_ns >= ANCHOR_NS):
            self._anchor()
            self._anchored_ns = now_ns
        if self._wal_pages >= CHECKPOINT_PAGES or (idle and self._wal_pages) or self._little_room():
            self._checkpoint(insist=idle or self._wal_pages >= TRUNCATE_PAGES)

    def _anchor(self) -> None:
        head = self._head
        if self._anchored == head.position:
            return
        try:
            write_anchor(
                self._directory,
                Anchor(log_id=head.log_id, epoch=head.epoch, position=head.position, hash=head.hash),
            )
        except OSError:
            # A full or read-only disk: an older anchor is still a true one.
            return
        self._anchored = head.position

    def _little_room(self) -> bool:
        if self._wal_pages < EARLY_PAGES:
            return False
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize < ROOM_BYTES

    def _make_room(self) -> None:
        """The disk is full: what the write-ahead log holds is copied back, so that its own room can be used again.

        It is not cut short: another program would have the room at once.
        """
        now_ns = self._clock.monotonic_ns()
        if self._wal_pages and (self._made_room_ns is None or now_ns - self._made_room_ns >= MAKE_ROOM_NS):
            self._made_room_ns = now_ns
            self._checkpoint(insist=False)

    def _checkpoint(self, *, insist: bool) -> None:
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if insist else apsw.SQLITE_CHECKPOINT_PASSIVE
        # Never waited for: a commit may come at any time.
        self._connection.set_busy_timeout(0)
        try:
            pages, done = self._connection.wal_checkpoint(mode=mode)
            self._wal_pages = 0 if insist or pages == done else pages - done
        except (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.ReadOnlyError):
            # A reader is in the way, or there is no room: the write-ahead log just stays longer.
            self._wal_pages = 1
        except apsw.Error as error:
            if not isinstance(error, apsw.IOError) or self._connection.system_errno not in _REFUSED:
                self._break(error)
            # What is in the write-ahead log is on disk and stays there.
            self._wal_pages = 1
        finally:
            self._connection.set_busy_timeout(BUSY_MS)


class _Replaced(Exception):
    """The write-ahead log is not the file that it was."""


def _was_a_write(error: Exception) -> bool:
    return getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_WRITE


def _unknown() -> CommitOutcomeUnknown:
    return CommitOutcomeUnknown("the outcome of a commit is unknown: the server has to start again")
