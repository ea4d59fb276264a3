"""An object store that speaks S3, by boto3 in a bounded set of threads.

Nothing is repeated here: botocore's own retries are off, so that one request is one attempt and the caller's backoff
and budget decide. A request that writes is bounded by the gate's instant: it is sent by a client whose timeouts fit
into the time that is left, and its body ends with an error, which leaves nothing stored, when it is not sent in time.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.keys import escaped
from tenure.agent.sync.objects import (
    BLOCK,
    SHA256_METADATA,
    Content,
    ObjectChanged,
    ObjectInfo,
    ObjectRefused,
    StoreUnreachable,
)
from tenure.agent.sync.s3_client import S3Clients
from tenure.agent.sync.s3_errors import mapped
from tenure.agent.sync.s3_put import Put, Requests, headers
from tenure.runtime.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

# Whoever is told to stop looks at it after each of these: a slow line must not take long over one.
_CHUNK = 64 * 1024


class S3Store:
    """An `ObjectStore` that speaks S3.

    Args:
        clients: Makes boto3 clients.
        executor: Threads for requests; its size bounds how many run at once in the whole agent. At least 8.
        clock: Compared with the instants that gates give; read in threads.
        read_timeout_s: How long a request that only reads waits for the next bytes.
        multipart_from: Size in bytes from which a file is stored in parts.
        page_size: How many objects one request lists; stores give no more than 1000.
        trust_etag: Whether an ETag of 32 hex digits is the MD5 of the bytes where the store sends no other checksum;
            false for stores that make ETags in another way.
    """

    def __init__(
        self,
        *,
        clients: S3Clients,
        executor: Executor,
        clock: Clock,
        read_timeout_s: float = 20.0,
        multipart_from: int = 2 * BLOCK,
        page_size: int = 1000,
        trust_etag: bool = True,
    ) -> None:
        self._requests = Requests(clients=clients, executor=executor, clock=clock, read_timeout_s=read_timeout_s)
        self._multipart_from = multipart_from
        self._page_size = page_size
        self._trust_etag = trust_etag

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`."""
        token: str | None = ""
        while token is not None:
            page, token = await self._requests.in_thread(partial(self._list_page, bucket, prefix, token))
            for info in page:
                yield info

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What the store knows about an object, or None."""
        return await self._requests.in_thread(partial(self._head, bucket, key))

    async def get(self, bucket: str, key: str, target: BinaryIO, *, expected: ObjectInfo) -> ObjectInfo:
        """Write an object's stored bytes to `target` and check them."""
        abort = Event()
        return await self._requests.in_thread(partial(self._get, bucket, key, target, expected, abort), abort)

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
        """Store an object; see the port for what it promises."""
        put = Put(
            requests=self._requests,
            bucket=bucket,
            key=key,
            content=content,
            gate=gate,
            headers=headers(key, content_encoding, metadata or {}),
            sent=sent or (lambda _: None),
        )
        etag = await (put.whole() if content.size < self._multipart_from else put.in_parts())
        return ObjectInfo(
            key=key,
            size=content.size,
            etag=etag,
            content_encoding=content_encoding,
            metadata=dict(metadata or {}),
        )

    def _list_page(self, bucket: str, prefix: str, token: str) -> tuple[Sequence[ObjectInfo], str | None]:
        with mapped("list", bucket, prefix):
            list_objects = self._requests.reader().list_objects_v2
            if token:
                page = list_objects(Bucket=bucket, Prefix=prefix, MaxKeys=self._page_size, ContinuationToken=token)
            else:
                page = list_objects(Bucket=bucket, Prefix=prefix, MaxKeys=self._page_size)
            infos = [
                ObjectInfo(key=each["Key"], size=each["Size"], etag=each["ETag"]) for each in page.get("Contents", [])
            ]
            return infos, page.get("NextContinuationToken") if page["IsTruncated"] else None

    def _head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            with mapped("head", bucket, key):
                found = self._requests.reader().head_object(Bucket=bucket, Key=key)
        except ObjectChanged:
            return None
        return ObjectInfo(
            key=key,
            size=found["ContentLength"],
            etag=found["ETag"],
            content_encoding=found.get("ContentEncoding", ""),
            metadata=found["Metadata"],
        )

    def _get(self, bucket: str, key: str, target: BinaryIO, expected: ObjectInfo, abort: Event) -> ObjectInfo:
        target.seek(0)
        target.truncate()
        shown = f"s3://{bucket}/{escaped(key)}"
        with mapped("get", bucket, key):
            found = self._requests.reader().get_object(
                Bucket=bucket, Key=key, IfMatch=expected.etag, ChecksumMode="ENABLED"
            )
        if found["ETag"] != expected.etag or found["ContentLength"] != expected.size:
            found["Body"].close()
            raise ObjectChanged(f"get {shown}: the object was replaced.")
        check = _Check(found, trust_etag=self._trust_etag and not bucket.endswith("--x-s3"))
        length = 0
        with contextlib.closing(found["Body"]) as body:
            while True:
                with mapped("get", bucket, key):
                    chunk = body.read(_CHUNK)
                if not chunk:
                    break
                if abort.is_set():
                    raise StoreUnreachable(f"get {shown}: given up.")
                length += len(chunk)
                check.update(chunk)
                target.write(chunk)
        if length != expected.size:
            raise StoreUnreachable(f"get {shown}: it ended after {length} of {expected.size} bytes.")
        if not check.passed():
            raise ObjectRefused(f"get {shown}: the bytes do not have the object's checksum.")
        return ObjectInfo(
            key=key,
            size=length,
            etag=found["ETag"],
            content_encoding=found.get("ContentEncoding", ""),
            metadata=found["Metadata"],
        )


class _Check:
    """The strongest checksum that came with an object, held against its bytes.

    boto3 itself checks what a store sends as a checksum of the whole object. Beyond that we have the SHA-256 that our
    own uploads carry, which is there for objects stored in parts, too, and the MD5 that an ETag often is.
    """

    def __init__(self, found: GetObjectOutputTypeDef, *, trust_etag: bool) -> None:
        self._hash: hashlib._Hash | None
        etag = found["ETag"].strip('"').lower()
        encrypted = found.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in found
        ours = found["Metadata"].get(SHA256_METADATA, "").lower()
        is_md5 = trust_etag and not encrypted and len(etag) == 32 and all(each in "0123456789abcdef" for each in etag)
        if len(ours) == 64:
            self._expected, self._hash = ours, hashlib.sha256()
        elif is_md5:
            self._expected, self._hash = etag, hashlib.md5(usedforsecurity=False)
        else:
            self._expected, self._hash = "", None

    def update(self, data: bytes) -> None:
        if self._hash is not None:
            self._hash.update(data)

    def passed(self) -> bool:
        return self._hash is None or self._hash.hexdigest() == self._expected
