"""The port to an object store, and the closed set of errors that every implementation maps its own onto.

Every error of a store is one of three: `ObjectRefused` (trying again is in vain), `StoreUnreachable` (trying again is
right) and `ObjectChanged` (look again first). Messages name bucket and key, never a secret or a foreign exception text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from tenure.agent.sync.gate import WriteGate

BLOCK = 8 * 1024 * 1024
"""Bytes of a file that are checked together; parts of a multipart upload are whole blocks."""

SHA256_METADATA = "tenure-sha256"
"""Name of the user metadata that holds the SHA-256 (hex) of the stored bytes of an object that we wrote."""


class ObjectRefused(Exception):
    """The store will not do it, however often it is asked: no permission, no such bucket, a checksum that is wrong."""


class StoreUnreachable(Exception):
    """The store could not be asked or could not answer: connection, timeout, throttling, an error on its side."""


class ObjectChanged(Exception):
    """The object is not the one that was listed: it was replaced or removed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What a store says about one object.

    `etag` is compared for equality only. `content_encoding` and `metadata` are known after `head` and `get`; a listing
    leaves them empty.
    """

    key: str
    size: int
    etag: str
    content_encoding: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Content(Protocol):
    """Bytes to be stored: a fixed length that can be read at any place, from any thread."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the bytes, 32 bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly the `length` bytes from `offset` on. Blocks; called in a thread.

        `offset` is a multiple of `BLOCK`, or `length` is 0.

        Raises:
            ContentChanged: The file below has other bytes there than those that `sha256` was made of.
        """


class ContentChanged(Exception):
    """The file under a `Content` was changed since it was read first; what is stored of it must not be kept."""


class ObjectStore(Protocol):
    """Buckets of objects. Safe for concurrent use from one event loop."""

    def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, in no certain order.

        Raises:
            ObjectRefused: No such bucket, or no permission.
            StoreUnreachable: See there; the listing starts from the beginning when tried again.
        """

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What the store knows about an object, or None when there is none.

        Raises:
            ObjectRefused: No permission, or no such bucket where the store tells that apart.
            StoreUnreachable: See there.
        """

    async def get(self, bucket: str, key: str, target: BinaryIO, *, expected: ObjectInfo) -> ObjectInfo:
        """Write an object's stored bytes to `target`, a file of this machine, and check them.

        `target` is emptied first, so that a get can be tried again. Size and every checksum that the store has are
        checked; an object that is not `expected` (its etag) is not accepted.

        Raises:
            ObjectRefused: No permission, or the bytes do not have the checksum that the store has for them.
            ObjectChanged: The object is gone or has another etag or size than `expected`.
            StoreUnreachable: See there; `target` holds some of the bytes.
            OSError: `target` could not be written.
        """

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
        """Store an object, whole or not at all; return when the store has acknowledged it.

        The gate is asked before every request that writes, and each ends before the instant the gate gave. `sent` is
        told the number of bytes of each acknowledged request.

        Raises:
            ObjectRefused: No such bucket, no permission, or the bytes arrived with another checksum.
            StoreUnreachable: See there; the object may or may not have been stored.
            ContentChanged: `content` could not be read in full.
            FencedOff: The gate is closed for good.
        """
