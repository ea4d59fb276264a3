"""Copies files to objects, eight at a time, and knows which are equal.

A commit marker is read before the folder is scanned for the data that has to be stored ahead of it. What was written
before the marker is then in that scan, and a marker that is written again meanwhile is another turn's work; read
afterwards it could speak of data that nobody has stored yet. Where some of that data is gone before it was read, the
folder may be on its way out, and its marker with it: such a marker is stored only if it outlives one more turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

from tenure.agent.sync import beneath, content, plan
from tenure.agent.sync.beneath import Signature
from tenure.agent.sync.content import Reading
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.keys import KeysRefused
from tenure.agent.sync.objects import (
    SHA256_METADATA,
    ContentChanged,
    ObjectInfo,
    ObjectStore,
    StoreUnreachable,
)
from tenure.agent.sync.offload import Offload
from tenure.agent.sync.parallel import AT_ONCE, each
from tenure.agent.sync.plan import Manifest, Stored, Upload
from tenure.agent.sync.retry import Retry, SyncRefused, refusing
from tenure.agent.sync.rules import Rule
from tenure.runtime.clock import Clock

__all__ = ["Copier", "Counters", "Found"]

_ROUNDS = 20
_BETWEEN_ROUNDS_S = 0.15
_MARKERS_AT_ONCE = 32
_IN_PLACE_TRIES = 2
_TRIES = 5
# After so many files it is not the files.
_MAX_REFUSED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a scan of the rules' folders found.

    `changed`: every file whose object is not known to equal it, commit markers included. `folders`: every folder, with
    its inode, which tells when one was made anew under the same name. `refused`: names that cannot be objects'.
    """

    changed: list[tuple[Upload, Signature]]
    folders: frozenset[tuple[Path, int]]
    refused: SyncRefused | None

    def check(self) -> None:
        """Raise SyncRefused if there are names that cannot be objects'."""
        if self.refused is not None:
            raise self.refused


class Copier:
    """Copies for one attempt.

    Args:
        store: The object store.
        gate: Asked before every write to it.
        retry: Repeats requests that did not reach it.
        counters: Kept up to date.
        offload: Runs file work in threads.
        clock: Waits between the rounds of a last pass.
        manifest: What is known to be equal.
        compression: Whether files are stored packed.
        spool: Folder for copies of files on their way; None: the system's.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        gate: WriteGate,
        retry: Retry,
        counters: Counters,
        offload: Offload,
        clock: Clock,
        manifest: Manifest,
        compression: bool,
        spool: Path | None,
    ) -> None:
        self._store = store
        self._gate = gate
        self._retry = retry
        self._counters = counters
        self._offload = offload
        self._clock = clock
        self._spool = spool
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._manifest = manifest
        # Objects of which a write has failed: the store may carry it out yet, after a later one.
        self._doubtful: set[tuple[str, str]] = set()
        # Objects that were made from files which the command may have open; None once it has ended.
        self._stored_early: set[tuple[str, str]] | None = set()
        self.compression = compression

    def command_ended(self) -> None:
        """Have everything that was uploaded so far read once more: its bytes count now, not its time.

        The kernel sets a file's time when a page of it is first written through a mapping, and may set it no more while
        that page stays writable: what the command writes later leaves size, time and inode as they were.
        """
        for address in self._stored_early or ():
            if (stored := self._manifest.get(address)) is not None:
                self._manifest[address] = replace(stored, racy=True)
        self._stored_early = None

    async def scan(self, rules: Iterable[Rule]) -> Found:
        """Look at every file below the rules' folders, without reading it.

        Raises:
            SyncRefused: A folder cannot be used.
        """
        changed: list[tuple[Upload, Signature]] = []
        refused: list[tuple[str, str]] = []
        folders: set[tuple[Path, int]] = set()
        skipped = 0
        for rule in rules:
            with refusing():
                scan = await self._offload.run(beneath.scan, rule.place)
            uploads = plan.upload_plan(rule, scan.files, self._manifest, compression=self.compression)
            changed += uploads.changed
            refused += uploads.refused
            folders.update((rule.place.path / relative, inode) for relative, inode in scan.folders.items())
            skipped += scan.skipped
        self._counters.files_skipped = skipped
        why = SyncRefused(str(KeysRefused(refused, len(refused)))) if refused else None
        return Found(changed=changed, folders=frozenset(folders), refused=why)

    def is_stored(self, upload: Upload, signature: Signature) -> bool:
        """Whether the object is known to equal the file with this signature."""
        return plan.unchanged(upload, signature, self._manifest)

    async def upload(self, upload: Upload) -> Signature | None:
        """Make an object equal its file, as that is some time during this call.

        Returns:
            The signature of what is stored; None where the file is gone, or is none.

        Raises:
            SyncRefused, SyncUnreachable, FencedOff: See there.
        """
        async with self._lock(upload), self._slots:
            signature = await self._status(upload)
            if signature is None or self.is_stored(upload, signature):
                return signature
            for tried in range(_TRIES):
                reading = await self._read(upload, aside=tried >= _IN_PLACE_TRIES)
                if reading is None:
                    return None
                try:
                    await self._send(upload, reading)
                except ContentChanged:
                    continue
                finally:
                    reading.content.close()
                return reading.signature
        raise SyncRefused(f"The file {upload.path!a} could not be read.")

    async def commit(self, rules: Sequence[Rule], markers: Sequence[Upload]) -> None:
        """Store commit markers as they are now, after all data that was written before them.

        Args:
            rules: Whose data goes first.
            markers: Files; those that are gone, or written at this moment, are passed over. So are those that were
                written again while data went missing: what they said then may have been of that data.

        Raises:
            SyncRefused, SyncUnreachable, FencedOff: See there.
        """
        unsure = await self._commit(rules, markers, last=False)
        if unsure:
            await self._commit(rules, unsure, last=True)

    async def _commit(self, rules: Sequence[Rule], markers: Sequence[Upload], *, last: bool) -> list[Upload]:
        """One turn of `commit`; the markers that wait for another, which they do unless this is the last."""
        readings: list[tuple[Upload, Reading]] = []
        unsure: list[Upload] = []
        try:
            for marker in markers:
                reading = await self._read(marker, aside=True)
                if reading is not None:
                    readings.append((marker, reading))
            found = await self.scan(rules)
            whole = await self._upload_data(found)
            found.check()  # a marker may be of what was refused, also of that of another rule
            for marker, reading in sorted(readings, key=lambda read: read[1].signature.mtime_ns):
                if reading.torn:
                    continue
                async with self._lock(marker), self._slots:
                    now = await self._status(marker)
                    if now is None or not (whole or now == reading.signature):
                        continue
                    if whole or last:
                        await self._send(marker, reading)
                    else:
                        unsure.append(marker)
        finally:
            for _, reading in readings:
                reading.content.close()
        return unsure

    async def settle(self, rules: Sequence[Rule]) -> None:
        """Make every object equal its file; return when a scan has found nothing left to do.

        Raises:
            SyncRefused: Also when the files do not stop changing. Where some files are refused, it is raised when all
                others but commit markers are stored.
            SyncUnreachable, FencedOff: See there.
        """
        found: list[tuple[Upload, Signature]] = []
        for turn in range(_ROUNDS):
            scan = await self.scan(rules)
            found = [each for each in scan.changed if scan.refused is None or not each[0].marker]
            if not found and not await self._doubts():
                scan.check()
                return
            if turn:
                await self._clock.sleep(_BETWEEN_ROUNDS_S)
            markers = [upload for upload, _ in found if upload.marker]
            for start in range(0, len(markers), _MARKERS_AT_ONCE):
                await self.commit(rules, markers[start : start + _MARKERS_AT_ONCE])
            if not markers:
                await self._upload_data(scan)
        example = found[0][0].path if found else "an object"
        raise SyncRefused(f"Files keep changing although the command has ended, such as {example!a}.")

    async def _upload_data(self, found: Found) -> bool:
        """Upload all but commit markers; whether every file was still there.

        Raises:
            SyncRefused: When everything else is stored; earlier, where too much is refused.
        """
        whole = True
        refused: list[SyncRefused] = []

        async def one(upload: Upload) -> None:
            nonlocal whole
            try:
                if await self.upload(upload) is None:
                    whole = False
            except SyncRefused as error:
                refused.append(error)
                if len(refused) == _MAX_REFUSED:
                    raise

        await each([upload for upload, _ in found.changed if not upload.marker], one, self._counters)
        if refused:
            raise refused[0]
        return whole

    async def _doubts(self) -> bool:
        """Look again at objects of which a write has failed; whether one is not what we last stored."""
        found = False
        for bucket, key in sorted(self._doubtful):
            info = await self._retry.run(lambda bucket=bucket, key=key: self._store.head(bucket, key))  # type: ignore[misc]
            stored = self._manifest.get((bucket, key))
            if stored is not None and (info is None or info.etag != stored.etag):
                del self._manifest[bucket, key]
                found = True
            else:
                self._doubtful.discard((bucket, key))
        return found

    async def _status(self, upload: Upload) -> Signature | None:
        with refusing():
            return await self._offload.run(beneath.status, upload.rule.place, upload.relative)

    async def _read(self, upload: Upload, *, aside: bool) -> Reading | None:
        with refusing():
            return await self._offload.run_long(
                lambda abort: content.read(
                    upload.rule.place,
                    upload.relative,
                    abort,
                    pack=self.compression,
                    aside=aside,
                    spool=self._spool,
                )
            )

    async def _send(self, upload: Upload, reading: Reading) -> None:
        """Store what was read, unless the object has just these bytes; remember it."""
        stored = self._manifest.get(upload.address)
        if stored is not None and stored.sha256 == reading.sha256:
            etag = stored.etag
        else:
            # Until this is acknowledged, nobody knows what the object holds.
            self._manifest.pop(upload.address, None)
            etag = (await self._retry.run(lambda: self._put(upload, reading))).etag
            self._counters.files_uploaded += 1
        self._manifest[upload.address] = Stored(
            path=upload.path,
            signature=reading.signature,
            sha256=reading.sha256,
            etag=etag,
            racy=reading.racy or reading.torn,
        )
        if self._stored_early is not None:
            self._stored_early.add(upload.address)

    async def _put(self, upload: Upload, reading: Reading) -> ObjectInfo:
        try:
            return await self._store.put(
                upload.rule.bucket,
                upload.key,
                reading.content,
                gate=self._gate,
                content_encoding="gzip" if self.compression else "",
                metadata={SHA256_METADATA: reading.content.sha256.hex()},
                sent=self._count_sent,
            )
        except StoreUnreachable:
            self._doubtful.add(upload.address)
            raise

    def _count_sent(self, length: int) -> None:
        self._counters.bytes_uploaded += length

    def _lock(self, upload: Upload) -> asyncio.Lock:
        """One write of an object at a time: two could overtake each other."""
        return self._locks.setdefault(upload.address, asyncio.Lock())
