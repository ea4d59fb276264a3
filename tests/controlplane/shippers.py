"""The two ends of an output, by hand: a worker's `ShipLogs` and a user's `FollowLogs`, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from tenure.v1 import worker_service_pb2 as pb
from tenure.v1 import worker_service_pb2_grpc
from tenure.v1.job_service_pb2 import FollowLogsRequest, FollowLogsResponse
from tests.acceptance.callers import Caller, Refusal, refusal
from tests.acceptance.scripted_worker import ScriptedWorker
from tests.acceptance.waiting import GENEROUS_S
from tests.acceptance.world import World


class Shipper:
    """One call of ShipLogs."""

    def __init__(self, world: World, token: str, lease_id: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            world.server.address, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        stub = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        self._call = stub.ShipLogs(metadata=(("authorization", f"Bearer {token}"),))
        self.lease_id = lease_id

    async def begin(self) -> int | None:
        """Name the lease; the offset to begin at, None: nothing is wanted."""
        await self._call.write(pb.ShipLogsRequest(lease_id=self.lease_id))
        response = await self.hear()
        assert response is not None
        return None if response.stop else response.from_offset

    async def send(self, offset: int, data: bytes = b"", *, end: bool = False, printed: int | None = None) -> None:
        """Send a piece."""
        known = printed if printed is not None else offset + len(data)
        request = pb.ShipLogsRequest(lease_id=self.lease_id, offset=offset, data=data, end=end, printed=known)
        await self._call.write(request)

    async def hear(self) -> pb.ShipLogsResponse | None:
        """The next message of the server; None: it has ended the call well."""
        async with asyncio.timeout(GENEROUS_S):
            message = await self._call.read()
        if message is grpc.aio.EOF:
            assert await self._call.code() is grpc.StatusCode.OK
            return None
        assert isinstance(message, pb.ShipLogsResponse)
        return message

    async def stopped(self) -> bool:
        """Wait for the end of the call; whether it was told to stop."""
        told = False
        while (response := await self.hear()) is not None:
            told = told or response.stop
        return told

    async def refused(self) -> Refusal:
        """How the call is refused."""
        return await refusal(self._to_the_end())

    async def _to_the_end(self) -> None:
        while await self.hear() is not None:
            pass

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()


class Reader:
    """One call of FollowLogs, read as it comes.

    Attributes:
        pieces: what has come.
        ended: how it has ended; None: it has not.
    """

    def __init__(self, caller: Caller, job_id: str, **more: Any) -> None:
        self.pieces: list[FollowLogsResponse] = []
        self.ended: grpc.StatusCode | None = None
        self._call = caller.jobs.FollowLogs(FollowLogsRequest(job_id=job_id, **more), metadata=caller.metadata)
        self._news = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            async for piece in self._call:
                self.pieces.append(piece)
                self._news.set()
            self.ended = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            self.ended = error.code()
        finally:
            self._news.set()

    @property
    def text(self) -> str:
        """All bytes so far; a gap is shown by the offset at which it goes on."""
        shown, reached = "", None
        for piece in self.pieces:
            if piece.data:
                shown += "" if reached in (None, piece.offset) else f"[{piece.offset}]"
                shown += piece.data.decode()
                reached = piece.offset + len(piece.data)
        return shown

    async def until(self, what: Callable[[], object]) -> None:
        """Wait for a condition on what has come."""
        try:
            async with asyncio.timeout(GENEROUS_S):
                while not what():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"came: {self.pieces}, ended: {self.ended}") from None

    async def reads(self, text: str) -> None:
        """Wait until exactly this has come."""
        await self.until(lambda: self.text == text)

    async def end(self) -> FollowLogsResponse:
        """The last message, which says that nothing more comes."""
        await self.until(lambda: self.ended)
        assert self.ended is grpc.StatusCode.OK, self.ended
        assert [piece.end for piece in self.pieces] == [False] * (len(self.pieces) - 1) + [True]
        return self.pieces[-1]

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def asked(worker: ScriptedWorker) -> list[str]:
    """The leases whose output the worker was asked for, in order."""
    return [lease_id for message in worker.heard for lease_id in message.follow_output.lease_ids]


async def told(worker: ScriptedWorker, times: int = 1) -> None:
    """Wait until a worker was asked so often."""
    await worker.until(lambda: True if len(asked(worker)) >= times else None, f"FollowOutput {times} times")
    assert len(asked(worker)) == times
