"""How an object gets into an S3 store: each request bounded by what its attempt may still write.

A request that writes is sent by a client whose timeouts fit into the time until the gate's instant. Its body ends with
an error when it is not sent in time, and a request whose body is not complete stores nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import mimetypes
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from tenure.agent.sync.gate import FencedOff, WriteGate
from tenure.agent.sync.objects import BLOCK, Content, ObjectChanged, ObjectRefused, StoreUnreachable
from tenure.agent.sync.offload import run_to_end
from tenure.agent.sync.s3_client import S3Clients
from tenure.agent.sync.s3_errors import SentTooLate, mapped
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

T = TypeVar("T")

_MAX_PARTS = 10_000
_PARTS_OF_ONE_FILE = 4
_MIN_WINDOW_S = 0.5
_WINDOWS_S = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25)
_TYPES = mimetypes.MimeTypes()  # its own tables only: with the machine's, the same file would be another object


class Requests:
    """Runs requests in threads, by clients with the right timeouts."""

    def __init__(self, *, clients: S3Clients, executor: Executor, clock: Clock, read_timeout_s: float) -> None:
        self._clients = clients
        self._executor = executor
        self._clock = clock
        self._read_timeout_s = read_timeout_s

    async def in_thread(self, function: Callable[[], T], abort: Event | None = None) -> T:
        """Run a bounded function in one of the threads; when cancelled, set `abort` and wait for its end."""
        return await run_to_end(self._executor, function, abort)

    def writer(self, until_ns: int, abort: Event) -> Write:
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
                return Write(client=client, clock=self._clock, body_until_ns=body_until_ns, abort=abort)
        raise SentTooLate

    def reader(self) -> S3Client:
        """The client for requests that only read."""
        return self._clients.get(connect_s=min(5.0, self._read_timeout_s), read_s=self._read_timeout_s)


class Write:
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

    def __init__(self, data: bytes, write: Write) -> None:
        super().__init__(data)
        self._size = len(data)
        self._write = write

    def read(self, size: int | None = -1, /) -> bytes:
        # Once all of it is sent, the store may carry the request out: then its answer is waited for.
        if self.tell() < self._size:
            self._write.check()
        return super().read(size)


class Put:
    """One object being stored."""

    def __init__(
        self,
        *,
        requests: Requests,
        bucket: str,
        key: str,
        content: Content,
        gate: WriteGate,
        headers: dict[str, Any],
        sent: Callable[[int], None],
    ) -> None:
        self._requests = requests
        self._bucket = bucket
        self._key = key
        self._content = content
        self._gate = gate
        self._headers = headers
        self._sent = sent

    async def whole(self) -> str:
        """By one request; returns the etag."""

        def put(write: Write) -> str:
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

            def complete(write: Write) -> str:
                answer = write.client.complete_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=upload_id, MultipartUpload={"Parts": parts}
                )
                return answer["ETag"]

            return await self._write("complete upload of", complete)
        except BaseException:
            await self._abort(upload_id)
            raise

    def _create(self, write: Write) -> str:
        answer = write.client.create_multipart_upload(
            Bucket=self._bucket, Key=self._key, ChecksumAlgorithm="SHA256", **self._headers
        )
        return answer["UploadId"]

    async def _parts(self, upload_id: str) -> list[CompletedPartTypeDef]:
        size = self._content.size
        blocks = -(-size // BLOCK)
        length = BLOCK * -(-blocks // _MAX_PARTS)
        offsets = iter(range(0, size, length))
        done: dict[int, CompletedPartTypeDef] = {}

        async def send() -> None:
            for offset in offsets:
                done[offset] = await self._part(upload_id, offset, min(length, size - offset), offset // length + 1)

        try:
            async with TaskGroup() as group:
                for _ in range(_PARTS_OF_ONE_FILE):
                    group.create_task(send())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [done[offset] for offset in sorted(done)]

    async def _part(self, upload_id: str, offset: int, length: int, number: int) -> CompletedPartTypeDef:
        def put(write: Write) -> CompletedPartTypeDef:
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

        def abort(write: Write) -> None:
            write.client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=upload_id)

        with contextlib.suppress(ObjectRefused, ObjectChanged, StoreUnreachable, FencedOff, TimeoutError):
            async with asyncio.timeout(_MIN_WINDOW_S):
                until_ns = await self._gate.enter(_MIN_WINDOW_S)
            await self._request("give up upload of", abort, until_ns)

    async def _write(self, operation: str, function: Callable[[Write], T]) -> T:
        """Run one request that writes, in a thread, within what the gate allows."""
        return await self._request(operation, function, await self._gate.enter(_MIN_WINDOW_S))

    async def _request(self, operation: str, function: Callable[[Write], T], until_ns: int) -> T:
        abort = Event()

        def run() -> T:
            with mapped(operation, self._bucket, self._key):
                return function(self._requests.writer(until_ns, abort))

        return await self._requests.in_thread(run, abort)


def headers(key: str, content_encoding: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The headers of an object: its type by the ending of its key, its encoding, our metadata."""
    kind, coding = _TYPES.guess_type(key)
    if coding is not None and not content_encoding:
        kind = "application/gzip" if coding == "gzip" else "application/octet-stream"
    fields: dict[str, Any] = {"ContentType": kind or "application/octet-stream", "Metadata": dict(metadata)}
    if content_encoding:
        fields["ContentEncoding"] = content_encoding
    return fields


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
