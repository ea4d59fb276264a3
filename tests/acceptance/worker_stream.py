"""One stream of a worker: what is said on it, what was heard, and waiting for what will be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

import grpc
import grpc.aio

from tenure.v1 import worker_service_pb2, worker_service_pb2_grpc
from tenure.v1.worker_service_pb2 import ConnectRequest, ConnectResponse
from tests.acceptance.waiting import GENEROUS_S

T = TypeVar("T")


class StreamOver(Exception):
    """The stream ended while something was waited for on it."""


class WorkerStream:
    """`heard` has all messages of the server, over all streams that were opened; `assigned` the assignments in them.

    `ended` is how the last stream has ended; None: it is open, or none was opened.
    """

    def __init__(self, address: str, token: str, name: str) -> None:
        self.heard: list[ConnectResponse] = []
        self.assigned: list[worker_service_pb2.Assignment] = []
        self.ended: grpc.StatusCode | None = None
        self._name = name
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._channel = grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        self._stub = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        self._call: grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    def open(self) -> None:
        """Begin a stream."""
        self.ended = None
        self._call = self._stub.Connect(metadata=self._metadata)
        self._reader = asyncio.get_running_loop().create_task(self._read(self._call))

    @property
    def connected(self) -> bool:
        """Its stream is open."""
        return self._call is not None and self.ended is None

    async def vanish(self) -> None:
        """Drop the stream without a word."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    async def close(self) -> None:
        """Drop the stream and the connection."""
        await self.vanish()
        await self._channel.close()

    async def done_writing(self) -> None:
        """Say that nothing more will be said."""
        assert self._call is not None
        await self._call.done_writing()

    async def until(self, look: Callable[[], T | None], what: str, *, within_s: float = GENEROUS_S) -> T:
        """Wait until what was heard makes `look` answer.

        Raises:
            StreamOver: the stream has ended, and it never will.
        """
        try:
            async with asyncio.timeout(within_s):
                while (found := look()) is None:
                    if self.ended is not None:
                        raise StreamOver(f"worker {self._name}: {self.ended.name} instead of {what}")
                    self._news.clear()
                    await self._news.wait()
                return found
        except TimeoutError:
            heard = [m.WhichOneof("message") for m in self.heard]
            raise AssertionError(
                f"worker {self._name} waited {within_s} s in vain for {what}; heard {heard}, stream ended: {self.ended}"
            ) from None

    async def ask(self, question: ConnectRequest, answer: Callable[[ConnectResponse], T | None], what: str) -> T:
        """Send a message and wait for its answer. Raises as `until`."""
        start = len(self.heard)
        await self.say(question)
        return await self.until(
            lambda: next((found for m in self.heard[start:] if (found := answer(m)) is not None), None), what
        )

    async def say(self, message: ConnectRequest) -> None:
        """Send a message.

        Raises:
            StreamOver: the stream has ended.
        """
        assert self._call is not None, f"worker {self._name} is not connected"
        try:
            async with self._writing:  # one at a time, or the stream breaks
                await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise StreamOver(f"worker {self._name}: the stream has ended") from None

    async def _read(self, call: grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse]) -> None:
        ended = grpc.StatusCode.UNKNOWN
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                assert isinstance(message, ConnectResponse)
                self.heard.append(message)
                self.assigned.extend(message.assignments.items)
                self._news.set()
            ended = await call.code()
        except grpc.aio.AioRpcError as error:
            ended = error.code()
        except asyncio.InvalidStateError:
            ended = await call.code()
        finally:
            self.ended = ended
            self._news.set()
