"""An object store that speaks S3, by boto3 in a bounded set of threads.

Nothing is repeated here: botocore's own retries are off, so that one request is one attempt and the caller's backoff
and budget decide. A request that writes is bounded by the gate's instant: it is sent by a client whose timeouts fit
into the time that is left, and its body ends with an error, which leaves nothing stored, when it is not sent in time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import mimetypes
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from tenure.agent.sync.gate import FencedOff, WriteGate
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
from tenure.agent.sync.offload import run_to_end
from tenure.agent.sync.s3_client import S3Clients
from tenure.agent.sync.s3_errors import SentTooLate, mapped
from tenure.runtime.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

T = TypeVar("T")

_MAX_PARTS = 10_000
_CHUNK = 1024 * 1024
_MIN_WINDOW_S = 0.5
_WINDOWS_S = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25)
_PARTS_OF_ONE_FILE = 4
_TYPES = mimetypes.MimeTypes()  # its own tables only: the machine's would make one file two objects


class S3Store:
    """An `ObjectStore` that speaks S3.

    Args:
        clients: Makes boto3 clients.
        executor: Threads for requests; its size bounds how many run at once in the whole agent. At least 8.
        clock: Compared with the instants that gates give; read in threads.
        read_timeout_s: How long a request that only reads waits for the next bytes.
        multipart_from: Size in bytes from which a file is stored in parts.
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
        trust_etag: bool = True,
    ) -> None:
        self._clients = clients
        self._executor = executor
        self._clock = clock
        self._read_timeout_s = read_timeout_s
        self._multipart_from = multipart_from
        self._trust_etag = trust_etag

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`."""
        token: str | None = ""
        while token is not None:
            page, token = await self.in_thread(partial(self._list_page, bucket, prefix, token))
            for info in page:
                yield info

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What the store knows about an object, or None."""
        return await self.in_thread(partial(self._head, bucket, key))

    async def get(self, bucket: str, key: str, target: BinaryIO, *, expected: ObjectInfo) -> ObjectInfo:
        """Write an object's stored bytes to `target` and check them."""
        abort = Event()
        return await self.in_thread(partial(self._get, bucket, key, target, expected, abort), abort)

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
        put = _Put(
            store=self,
            bucket=bucket,
            key=key,
            content=content,
            gate=gate,
            headers=_headers(key, content_encoding, metadata or {}),
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

    async def in_thread(self, function: Callable[[], T], abort: Event | None = None) -> T:
        """Run a bounded function in one of the threads; when cancelled, set `abort` and wait for its end."""
        return await run_to_end(self._executor, function, abort)

    def writer(self, until_ns: int, abort: Event) -> _Write:
        """What a request that begins now may use of the time until that instant.

        A quarter goes to the connection and half to the answer at most; the body has to be sent before the latter.

        Raises:
            SentTooLate: Too little time is left.
        """
        left_s = (until_ns - self._clock.monotonic_ns()) / 1e9
        for window_s in _WINDOWS_S:
            if window_s <= left_s:
                read_s = window_s / 2
                client = self._clients.get(connect_s=min(window_s / 4, 10.0), read_s=read_s)
                body_until_ns = until_ns - int(read_s * 1e9)
                return _Write(client=client, clock=self._clock, body_until_ns=body_until_ns, abort=abort)
        raise SentTooLate

    def _reader(self) -> S3Client:
        return self._clients.get(connect_s=min(5.0, self._read_timeout_s), read_s=self._read_timeout_s)

    def _list_page(self, bucket: str, prefix: str, token: str) -> tuple[list[ObjectInfo], str | None]:
        with mapped("list", bucket, prefix):
            if token:
                page = self._reader().list_objects_v2(Bucket=bucket, Prefix=prefix, ContinuationToken=token)
            else:
                page = self._reader().list_objects_v2(Bucket=bucket, Prefix=prefix)
            infos = [
                ObjectInfo(key=each["Key"], size=each["Size"], etag=each["ETag"]) for each in page.get("Contents", [])
            ]
            return infos, page.get("NextContinuationToken") if page["IsTruncated"] else None

    def _head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            with mapped("head", bucket, key):
                found = self._reader().head_object(Bucket=bucket, Key=key)
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
            found = self._reader().get_object(Bucket=bucket, Key=key, IfMatch=expected.etag, ChecksumMode="ENABLED")
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
        etag = found["ETag"].strip('"').lower()
        encrypted = found.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in found
        ours = found["Metadata"].get(SHA256_METADATA, "").lower()
        if len(ours) == 64:
            self._hash, self._expected = hashlib.sha256(), ours
        elif trust_etag and not encrypted and len(etag) == 32 and all(digit in "0123456789abcdef" for digit in etag):
            self._hash, self._expected = hashlib.md5(usedforsecurity=False), etag
        else:
            self._hash, self._expected = None, ""

    def update(self, data: bytes) -> None:
        if self._hash is not None:
            self._hash.update(data)

    def passed(self) -> bool:
        return self._hash is None or self._hash.hexdigest() == self._expected


class _Put:
    """One object being stored."""

    def __init__(
        self,
        *,
        store: S3Store,
        bucket: str,
        key: str,
        content: Content,
        gate: WriteGate,
        headers: dict[str, Any],
        sent: Callable[[int], None],
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._key = key
        self._content = content
        self._gate = gate
        self._headers = headers
        self._sent = sent

    async def whole(self) -> str:
        """By one request; returns the etag."""

        def put(write: _Write) -> str:
            content = self._content
            body = _Body(content.read_at(0, content.size), write)
            answer = write.client.put_object(
                Bucket=self._bucket, Key=self._key, Body=body, ChecksumSHA256=_base64(content.sha256), **self._headers
            )
            return answer["ETag"]

        etag = await self._write("put", put)
        self._sent(self._content.size)
        return etag

    async def in_parts(self) -> str:
        """By one request for each part; the object appears whole with the last one. Returns the etag."""
        upload_id = await self._write("begin upload of", self._create)
        try:
            parts = await self._parts(upload_id)

            def complete(write: _Write) -> str:
                answer = write.client.complete_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=upload_id, MultipartUpload={"Parts": parts}
                )
                return answer["ETag"]

            return await self._write("complete upload of", complete)
        except BaseException:
            await self._abort(upload_id)
            raise

    def _create(self, write: _Write) -> str:
        answer = write.client.create_multipart_upload(
            Bucket=self._bucket, Key=self._key, ChecksumAlgorithm="SHA256", **self._headers
        )
        return answer["UploadId"]

    async def _parts(self, upload_id: str) -> list[CompletedPartTypeDef]:
        size = self._content.size
        blocks = -(-size // BLOCK)
        length = BLOCK * -(-blocks // _MAX_PARTS)
        offsets = iter(range(0, size, length))
        done: list[CompletedPartTypeDef] = []

        async def send() -> None:
            for offset in offsets:
                done.append(await self._part(upload_id, offset, min(length, size - offset), offset // length + 1))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_PARTS_OF_ONE_FILE):
                    group.create_task(send())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return sorted(done, key=lambda part: part["PartNumber"])

    async def _part(self, upload_id: str, offset: int, length: int, number: int) -> CompletedPartTypeDef:
        def put(write: _Write) -> CompletedPartTypeDef:
            data = self._content.read_at(offset, length)
            checksum = _base64(hashlib.sha256(data).digest())
            answer = write.client.upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=upload_id,
                PartNumber=number,
                Body=_Body(data, write),
                ChecksumSHA256=checksum,
            )
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

        part = await self._write("put part of", put)
        self._sent(length)
        return part

    async def _abort(self, upload_id: str) -> None:
        """Give the parts back, as far as that goes: never wait for the gate, never hide the error we came from."""

        def abort(write: _Write) -> None:
            write.client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=upload_id)

        with contextlib.suppress(ObjectRefused, ObjectChanged, StoreUnreachable, FencedOff, TimeoutError):
            async with asyncio.timeout(_MIN_WINDOW_S):
                until_ns = await self._gate.enter(_MIN_WINDOW_S)
            await self._request("give up upload of", abort, until_ns)

    async def _write(self, operation: str, function: Callable[[_Write], T]) -> T:
        """Run one request that writes, in a thread, within what the gate allows."""
        return await self._request(operation, function, await self._gate.enter(_MIN_WINDOW_S))

    async def _request(self, operation: str, function: Callable[[_Write], T], until_ns: int) -> T:
        abort = Event()
        store = self._store

        def run() -> T:
            with mapped(operation, self._bucket, self._key):
                return function(store.writer(until_ns, abort))

        return await store.in_thread(run, abort)


class _Write:
    """What one request may use of the time that is left: a client whose timeouts fit, and the end of its body."""

    def __init__(self, *, client: S3Client, clock: Clock, body_until_ns: int, abort: Event) -> None:
        self.client = client
        self._clock = clock
        self._body_until_ns = body_until_ns
        self._abort = abort

    def check(self) -> None:
        """SentTooLate when no more of the body may be sent."""
        if self._abort.is_set() or self._clock.monotonic_ns() >= self._body_until_ns:
            raise SentTooLate


class _Body(io.BytesIO):
    """A body that stops being sent when its time is over: the store drops what it has got of it."""

    def __init__(self, data: bytes, write: _Write) -> None:
        super().__init__(data)
        self._write = write

    def read(self, size: int | None = -1, /) -> bytes:
        self._write.check()
        return super().read(size)


def _headers(key: str, content_encoding: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    kind, coding = _TYPES.guess_type(key)
    if coding is not None and not content_encoding:
        kind = "application/gzip" if coding == "gzip" else "application/octet-stream"
    headers: dict[str, Any] = {"ContentType": kind or "application/octet-stream", "Metadata": dict(metadata)}
    if content_encoding:
        headers["ContentEncoding"] = content_encoding
    return headers


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
