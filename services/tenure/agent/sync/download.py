"""Copies objects to files, eight at a time: all that a rule selects, each checked, or an error."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tenure.agent.sync import content, plan
from tenure.agent.sync.beneath import NewFile
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.keys import escaped
from tenure.agent.sync.objects import ObjectChanged, ObjectInfo, ObjectStore
from tenure.agent.sync.offload import Offload
from tenure.agent.sync.parallel import each
from tenure.agent.sync.plan import Download, Manifest, Stored
from tenure.agent.sync.retry import Retry, SyncRefused, refusing
from tenure.agent.sync.rules import PACKED, Rule

_MAX_OBJECTS = 1_000_000
_LISTINGS = 5


class Loader:
    """Loads the input of one attempt.

    Args:
        store: The object store.
        retry: Repeats requests that did not reach it.
        counters: Kept up to date.
        offload: Runs file work in threads.
        manifest: Learns which files equal which objects.
        compression: Whether the job's own uploads are stored packed.
        spool: Folder for packed objects on their way; None: the system's.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        retry: Retry,
        counters: Counters,
        offload: Offload,
        manifest: Manifest,
        compression: bool,
        spool: Path | None,
    ) -> None:
        self._store = store
        self._retry = retry
        self._counters = counters
        self._offload = offload
        self._manifest = manifest
        self._compression = compression
        self._spool = spool

    async def load(self, rule: Rule) -> None:
        """Copy everything a rule selects to its folder, all of it or raise.

        Raises:
            SyncRefused, SyncUnreachable: See there.
        """
        done: set[tuple[str, str]] = set()
        for _ in range(_LISTINGS):
            try:
                with refusing():
                    await self._load_listed(rule, done)
            except ObjectChanged:
                continue  # list again: somebody writes to the prefix
            return
        raise SyncRefused(f"The objects below s3://{rule.bucket}/{escaped(rule.prefix)} change while they are loaded.")

    async def _load_listed(self, rule: Rule, done: set[tuple[str, str]]) -> None:
        listing = await self._retry.run(lambda: self._list(rule))
        objects = plan.listed(rule, listing)

        async def look(relative: str) -> None:
            info = await self._retry.run(lambda: self._store.head(rule.bucket, objects[relative].key))
            if info is None:
                raise ObjectChanged(f"{rule.bucket}/{escaped(objects[relative].key)} was removed.")
            objects[relative] = info

        await each([relative for relative in objects if relative.endswith(PACKED)], look)
        downloads = plan.download_plan(rule, objects, compression=self._compression)

        async def load(download: Download) -> None:
            await self._load(rule, download)
            done.add((download.info.key, download.info.etag))

        missing = [item for item in downloads if (item.info.key, item.info.etag) not in done]
        await each(missing, load, self._counters)

    async def _list(self, rule: Rule) -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        async for info in self._store.list(rule.bucket, rule.prefix):
            found.append(info)
            if len(found) > _MAX_OBJECTS:
                raise SyncRefused(
                    f"There are more than {_MAX_OBJECTS} objects below s3://{rule.bucket}/{escaped(rule.prefix)}."
                )
        return found

    async def _load(self, rule: Rule, download: Download) -> None:
        file = await self._offload.run(NewFile, rule.place, download.relative)
        try:
            info, sha256 = await self._fetch(rule, download, file)
            signature = await self._offload.run(file.keep)
        finally:
            await self._offload.run(file.close)
        self._counters.files_downloaded += 1
        self._counters.bytes_downloaded += info.size
        path = str(rule.place.path / download.relative)
        self._manifest[rule.bucket, info.key] = Stored(
            path=path, signature=signature, sha256=sha256, etag=info.etag, racy=False
        )

    async def _fetch(self, rule: Rule, download: Download, file: NewFile) -> tuple[ObjectInfo, bytes]:
        """Write an object's bytes, unpacked where it is packed; with the SHA-256 of what was written."""
        key, expected = download.info.key, download.info
        if not download.unpack:
            info = await self._retry.run(lambda: self._store.get(rule.bucket, key, file.file, expected=expected))
            return info, await self._offload.run_long(partial(content.sha256_of, file.file))
        packed = await self._offload.run(content.spooled, self._spool)
        try:
            info = await self._retry.run(lambda: self._store.get(rule.bucket, key, packed, expected=expected))
            shown = f"s3://{rule.bucket}/{escaped(key)}"
            return info, await self._offload.run_long(partial(content.unpack, packed, file.file, shown))
        finally:
            packed.close()
