"""Gates that tests work by hand, a store that fails when it is told to, and short ways to write and read objects."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import BinaryIO

from tenure.agent.sync.content import FileContent
from tenure.agent.sync.gate import FencedOff, WriteGate
from tenure.agent.sync.objects import Content, ObjectInfo, ObjectStore, StoreUnreachable
from tenure.runtime.clock import Clock


class OpenGate:
    """Always open, for a minute at a time."""

    def __init__(self, clock: Clock, window_s: float = 60.0) -> None:
        self._clock = clock
        self.window_s = window_s
        self.entered = 0

    async def enter(self, at_least_s: float) -> int:
        assert at_least_s <= self.window_s
        self.entered += 1
        return self._clock.monotonic_ns() + int(self.window_s * 1e9)


class HandGate(OpenGate):
    """Opened and closed by a test."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.open = asyncio.Event()
        self.waiting = 0
        self._over = False

    async def enter(self, at_least_s: float) -> int:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        if self._over:
            raise FencedOff
        return await super().enter(at_least_s)

    def fence_off(self) -> None:
        """The attempt is over for good."""
        self._over = True
        self.open.set()


class Watched:
    """A store in front of another: remembers what was stored and in which order, and fails or waits when told to.

    `puts` holds key and bytes of every acknowledged put. `fail_puts` and `fail_gets` are how many calls still fail;
    `before_get`, `before_put` and `after_put` are awaited with the key, the last one when the bytes are stored.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.puts: list[tuple[str, bytes]] = []
        self.gets: list[str] = []
        self.fail_puts = 0
        self.fail_gets = 0
        self.before_get: Callable[[str], Awaitable[None]] | None = None
        self.before_put: Callable[[str], Awaitable[None]] | None = None
        self.after_put: Callable[[str], Awaitable[None]] | None = None

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectInfo]:
        async for info in self._store.list(bucket, prefix):
            yield info

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        return await self._store.head(bucket, key)

    async def get(self, bucket: str, key: str, target: BinaryIO, *, expected: ObjectInfo) -> ObjectInfo:
        if self.fail_gets:
            self.fail_gets -= 1
            target.write(b"half of it")
            raise StoreUnreachable("told to fail")
        self.gets.append(key)
        if self.before_get is not None:
            await self.before_get(key)
        return await self._store.get(bucket, key, target, expected=expected)

    async def put(
        self,
        bucket: str,
        key: str,
        content: Content,
        *,
        gate: WriteGate,
        content_encoding: str = "",
        metadata: Mapping[str, str] | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> ObjectInfo:
        if self.fail_puts:
            self.fail_puts -= 1
            raise StoreUnreachable("told to fail")
        if self.before_put is not None:
            await self.before_put(key)
        data = content.read_at(0, content.size)
        info = await self._store.put(
            bucket, key, content, gate=gate, content_encoding=content_encoding, metadata=metadata, sent=sent
        )
        self.puts.append((key, data))
        if self.after_put is not None:
            await self.after_put(key)
        return info


def content(data: bytes, sha256: bytes | None = None) -> FileContent:
    """Bytes to be stored."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the content
    file.write(data)
    file.flush()
    return FileContent(file, size=len(data), sha256=sha256 or hashlib.sha256(data).digest())


async def put(
    store: ObjectStore, bucket: str, key: str, data: bytes, *, gate: WriteGate, content_encoding: str = ""
) -> ObjectInfo:
    """Store these bytes."""
    body = content(data)
    try:
        return await store.put(bucket, key, body, gate=gate, content_encoding=content_encoding)
    finally:
        body.close()


async def stored(store: ObjectStore, bucket: str, key: str) -> bytes | None:
    """The bytes of an object; None where there is none."""
    info = await store.head(bucket, key)
    if info is None:
        return None
    target = io.BytesIO()
    await store.get(bucket, key, target, expected=info)
    return target.getvalue()


async def listing(store: ObjectStore, bucket: str, prefix: str = "") -> list[str]:
    """All keys, sorted."""
    return sorted([info.key async for info in store.list(bucket, prefix)])
