"""An object store in a folder of this machine: for tests and simulations, not for more than one process.

Each bucket is a folder, each object one file, named by the hash of its key, since a key may be anything: a first line
of JSON, then the bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.keys import escaped
from tenure.agent.sync.objects import BLOCK, Content, ObjectChanged, ObjectInfo, ObjectRefused
from tenure.agent.sync.offload import Offload

_WRITE_S = 0.05


class LocalStore:
    """An `ObjectStore` in a folder.

    Args:
        directory: Holds the buckets.
        offload: Runs the file work.
    """

    def __init__(self, directory: Path, *, offload: Offload) -> None:
        self._directory = directory
        self._offload = offload

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket; harmless when it is there."""
        (self._directory / bucket).mkdir(parents=True, exist_ok=True)

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`."""
        for info in await self._offload.run(self._list, bucket, prefix):
            yield info

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What is known about an object, or None."""
        return await self._offload.run(self._head, bucket, key)

    async def get(self, bucket: str, key: str, target: BinaryIO, *, expected: ObjectInfo) -> ObjectInfo:
        """Write an object's stored bytes to `target` and check them."""
        return await self._offload.run(self._get, bucket, key, target, expected)

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
        """Store an object."""
        await gate.enter(_WRITE_S)
        info = ObjectInfo(
            key=key,
            size=content.size,
            etag=f'"{content.sha256.hex()}"',
            content_encoding=content_encoding,
            metadata=dict(metadata or {}),
        )
        await self._offload.run(self._put, bucket, info, content)
        if sent is not None:
            sent(content.size)
        return info

    def _path(self, bucket: str, key: str) -> Path:
        folder = self._directory / bucket
        if "/" in bucket or not folder.is_dir():
            raise ObjectRefused(f"There is no bucket {bucket!r}.")
        return folder / hashlib.sha256(key.encode()).hexdigest()

    def _list(self, bucket: str, prefix: str) -> Sequence[ObjectInfo]:
        folder = self._path(bucket, "").parent
        found = []
        for path in folder.iterdir():
            if not path.name.startswith("."):
                with path.open("rb") as file:
                    found.append(_info(file))
        return sorted((info for info in found if info.key.startswith(prefix)), key=lambda info: info.key)

    def _head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            with self._path(bucket, key).open("rb") as file:
                return _info(file)
        except FileNotFoundError:
            return None

    def _get(self, bucket: str, key: str, target: BinaryIO, expected: ObjectInfo) -> ObjectInfo:
        target.seek(0)
        target.truncate()
        try:
            with self._path(bucket, key).open("rb") as file:
                info = _info(file)
                if info.etag != expected.etag:
                    raise ObjectChanged(f"{bucket}/{escaped(key)} was replaced.")
                digest = hashlib.sha256()
                while chunk := file.read(BLOCK):
                    digest.update(chunk)
                    target.write(chunk)
        except FileNotFoundError:
            raise ObjectChanged(f"{bucket}/{escaped(key)} was removed.") from None
        if info.etag != f'"{digest.hexdigest()}"':
            raise ObjectRefused(f"{bucket}/{escaped(key)} does not have the checksum it was stored with.")
        return info

    def _put(self, bucket: str, info: ObjectInfo, content: Content) -> None:
        path = self._path(bucket, info.key)
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        digest = hashlib.sha256()
        try:
            with temporary.open("xb") as file:
                file.write(json.dumps(_fields(info)).encode() + b"\n")
                for offset in range(0, content.size, BLOCK):
                    data = content.read_at(offset, min(BLOCK, content.size - offset))
                    digest.update(data)
                    file.write(data)
            if digest.digest() != content.sha256:
                raise ObjectRefused(f"{bucket}/{escaped(info.key)} arrived with another checksum.")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _fields(info: ObjectInfo) -> dict[str, object]:
    return {
        "key": info.key,
        "size": info.size,
        "etag": info.etag,
        "content_encoding": info.content_encoding,
        "metadata": dict(info.metadata),
    }


def _info(file: BinaryIO) -> ObjectInfo:
    return ObjectInfo(**json.loads(file.readline()))
