"""Uploads what changes while the command runs.

A set of dirty files is the whole state. A file enters it when a notification or a scan shows that it is not what is
stored, leaves it when its upload begins, and enters it again when it is found changed afterwards; so nothing is lost,
however often it is written. Notifications only make this quick: a scan after the watcher is ready finds what was there
before, and further ones find what notifications lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenure.agent.sync import beneath, plan
from tenure.agent.sync.apply import Copier
from tenure.agent.sync.beneath import Signature
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.keys import RESERVED
from tenure.agent.sync.offload import Offload
from tenure.agent.sync.parallel import AT_ONCE
from tenure.agent.sync.plan import Upload
from tenure.agent.sync.retry import refusing
from tenure.agent.sync.rules import Rule
from tenure.agent.sync.watcher import Watcher, WatcherFactory
from tenure.agent.waiting import within
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup

_RESCAN_NS = 2_000_000_000
_RESCAN_SOON_NS = 250_000_000
_SCAN_SHARE = 20
"""A scan may take one part in so many of the time."""

_MAX_WATCHED = 8192
_MARKERS_AT_ONCE = 32


@dataclass(slots=True, kw_only=True)
class _Dirty:
    """A file that is not what is stored: since when, and since when it has been quiet."""

    signature: Signature
    first_ns: int
    last_ns: int

    def due_ns(self, rule: Rule) -> int:
        return min(self.last_ns + rule.quiet_ns, self.first_ns + rule.max_wait_ns)


class During:
    """The uploads of the `during` rules of one attempt: `watch`, then `run`, until `stop`."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        copier: Copier,
        counters: Counters,
        offload: Offload,
        watcher: WatcherFactory,
        clock: Clock,
    ) -> None:
        self._rules = rules
        self._copier = copier
        self._counters = counters
        self._offload = offload
        self._make_watcher = watcher
        self._clock = clock
        self._dirty: dict[Upload, _Dirty] = {}
        self._active: set[Upload] = set()
        self._commit_runs = False
        self._watcher: Watcher | None = None
        self._watched: frozenset[tuple[Path, int]] = frozenset()
        self._blind = False
        self._counted = 0
        self._rescan_ns = 0
        self._scanned_ns = 0
        self._scan_took_ns = 0
        self._wake = asyncio.Event()
        self._stopping = False

    async def watch(self) -> None:
        """Begin to watch; every change from now on is seen. The folders should exist."""
        await self._rescan()
        self._rescan_ns = 0  # files may have been made between that scan and the watcher

    def stop(self) -> None:
        """Let `run` return once the uploads that have begun are done."""
        self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Free the watcher."""
        if self._watcher is not None:
            await self._watcher.close()

    async def run(self) -> None:
        """Upload what changes until `stop`.

        Raises:
            SyncRefused, SyncUnreachable, FencedOff: See there.
        """
        try:
            async with TaskGroup() as group:
                listener = group.create_task(self._listen())
                while not self._stopping:
                    self._wake.clear()
                    if self._clock.monotonic_ns() >= self._rescan_ns:
                        await self._rescan()
                    self._start_due(group)
                    self._count()
                    await self._wait()
                listener.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._counters.files_pending -= self._counted
            self._counted = 0
            await self.close()

    async def _listen(self) -> None:
        while True:
            watcher = self._watcher
            assert watcher is not None
            paths = await watcher.changes()
            if paths:
                await self._note(paths)
            elif watcher is self._watcher:
                self._blind = True  # nothing more will be told: scans go on
                return
            self._wake.set()

    async def _note(self, paths: Sequence[Path]) -> None:
        watched = {path for path, _ in self._watched}
        if not watched.isdisjoint(paths):
            self._watched = frozenset()  # a watched folder itself: removed, perhaps made anew
            self._rescan_soon()
        for rule in self._rules:
            root = rule.place.path
            inside = [path.relative_to(root).as_posix() for path in paths if path != root and path.is_relative_to(root)]
            files = [path for path in inside if not any(part.startswith(RESERVED) for part in path.split("/"))]
            with refusing():
                for relative, signature in (await self._offload.run(beneath.statuses, rule.place, files)).items():
                    if signature is None:
                        self._rescan_soon()  # a folder perhaps, or something is gone
                    else:
                        self._mark(rule, relative, signature)

    def _mark(self, rule: Rule, relative: str, signature: Signature) -> None:
        upload = plan.upload_of(rule, relative, compression=self._copier.compression)
        if upload is None or self._copier.is_stored(upload, signature):
            return
        now_ns = self._clock.monotonic_ns()
        dirty = self._dirty.get(upload)
        if dirty is None:
            self._dirty[upload] = _Dirty(signature=signature, first_ns=now_ns, last_ns=now_ns)
        else:
            dirty.signature, dirty.last_ns = signature, now_ns

    def _rescan_soon(self) -> None:
        soonest_ns = self._scanned_ns + max(_RESCAN_SOON_NS, self._scan_took_ns * _SCAN_SHARE)
        self._rescan_ns = min(self._rescan_ns, soonest_ns)

    async def _rescan(self) -> None:
        began_ns = self._clock.monotonic_ns()
        found = await self._copier.scan(self._rules)
        found.check()
        changed = dict(found.changed)
        for upload, dirty in list(self._dirty.items()):
            if upload not in changed and dirty.last_ns < began_ns:
                del self._dirty[upload]  # gone, or stored as a commit marker's company
        for upload, signature in changed.items():
            known = self._dirty.get(upload)
            if upload not in self._active and (known is None or known.signature != signature):
                self._mark(upload.rule, upload.relative, signature)
        self._scanned_ns = self._clock.monotonic_ns()
        self._scan_took_ns = self._scanned_ns - began_ns
        self._rescan_ns = self._scanned_ns + max(_RESCAN_NS, self._scan_took_ns * _SCAN_SHARE)
        await self._watch_folders(found.folders)

    async def _watch_folders(self, folders: frozenset[tuple[Path, int]]) -> None:
        if self._blind or (folders == self._watched and self._watcher is not None):
            return
        paths = sorted({path for path, _ in folders})[:_MAX_WATCHED]
        before, self._watcher = self._watcher, await self._make_watcher(paths)
        self._watched = folders
        if before is not None:
            await before.close()
        self._rescan_soon()  # something may have been made in new folders before they were watched

    def _start_due(self, group: TaskGroup) -> None:
        """Begin to upload what has been quiet for long enough, the longest waiting first."""
        now_ns = self._clock.monotonic_ns()
        waiting = sorted(self._waiting(), key=lambda each: each[0])
        due = [upload for due_ns, upload in waiting if due_ns <= now_ns]
        for upload in [each for each in due if not each.marker][: AT_ONCE - len(self._active)]:
            self._begin(upload)
            group.create_task(self._upload(upload))
        markers = [each for each in due if each.marker][:_MARKERS_AT_ONCE]
        if markers:
            for marker in markers:
                self._begin(marker)
            self._commit_runs = True
            group.create_task(self._commit(markers))

    def _waiting(self) -> Iterator[tuple[int, Upload]]:
        """The dirty files whose upload could begin as far as others are concerned, and when they are due."""
        for upload, dirty in self._dirty.items():
            free = not self._commit_runs if upload.marker else len(self._active) < AT_ONCE
            if free and upload not in self._active:
                yield dirty.due_ns(upload.rule), upload

    def _begin(self, upload: Upload) -> None:
        del self._dirty[upload]
        self._active.add(upload)

    async def _upload(self, upload: Upload) -> None:
        try:
            await self._copier.upload(upload)
        finally:
            self._active.discard(upload)
            self._wake.set()
        await self._look_again(upload)

    async def _commit(self, markers: Sequence[Upload]) -> None:
        try:
            await self._copier.commit(self._rules, markers)
        finally:
            self._active.difference_update(markers)
            self._commit_runs = False
            self._wake.set()
        for marker in markers:
            await self._look_again(marker)

    async def _look_again(self, upload: Upload) -> None:
        """Take a file back among the dirty ones where it was changed during its upload."""
        with refusing():
            signature = await self._offload.run(beneath.status, upload.rule.place, upload.relative)
            if signature is not None:
                self._mark(upload.rule, upload.relative, signature)
        self._wake.set()

    def _count(self) -> None:
        # The copier counts here, too, for the company of commit markers.
        now = len(self._dirty) + len(self._active)
        self._counters.files_pending += now - self._counted
        self._counted = now

    async def _wait(self) -> None:
        """Wait until something is due, or something happens."""
        due_ns = min((due_ns for due_ns, _ in self._waiting()), default=self._rescan_ns)
        left_ns = min(due_ns, self._rescan_ns) - self._clock.monotonic_ns()
        with contextlib.suppress(TimeoutError):
            await within(self._clock, max(0, left_ns) / 1e9, self._wake.wait())
