"""Workers that run nothing: each speaks `WorkerService.Connect` on a connection of its own, and says of every job it is
given that it was accepted, started and has succeeded, each time after the server has acknowledged what was said before.

A worker answers each message it gets with one message that has the same jobs in it, so that lists stay lists.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from benchmarks.rig.callers import OPTIONS
from benchmarks.rig.processes import Server
from tenure.v1 import worker_service_pb2 as pb
from tenure.v1 import worker_service_pb2_grpc

_WELCOME_S = 30.0
_HELD = pb.LEASE_STATE_HELD
_STARTED = pb.REPORT_KIND_STARTED


class Fleet:
    """Some workers. `finished` counts the jobs whose success was acknowledged."""

    def __init__(self, server: Server, *, workers: int, slots: int) -> None:
        self._server = server
        self._slots = slots
        self._awaited: tuple[int, asyncio.Event] | None = None
        self.count = workers
        self.finished = 0

    async def until_finished(self, total: int) -> None:
        """Wait until so many jobs have succeeded in all."""
        if self.finished < total:
            reached = asyncio.Event()
            self._awaited = total, reached
            await reached.wait()
            self._awaited = None

    async def run(self, welcomed: asyncio.Semaphore) -> None:
        """Work until cancelled; `welcomed` is released for each worker that the server has let in."""
        run = os.urandom(4).hex()
        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(self._work(f"bench-{run}-{number}", welcomed))

    async def _work(self, worker_id: str, welcomed: asyncio.Semaphore) -> None:
        hello = pb.Hello(
            worker_id=worker_id, incarnation=worker_id, protocol_version=1, queues=["default"], slots=self._slots
        )
        async with grpc.aio.insecure_channel(self._server.address, options=OPTIONS) as channel:
            call: Any = worker_service_pb2_grpc.WorkerServiceStub(channel).Connect(metadata=self._server.metadata)
            await call.write(pb.ConnectRequest(hello=hello))
            while (message := await call.read()) is not grpc.aio.EOF:
                if message.HasField("welcome"):
                    welcomed.release()
                elif (reply := self._reply(message)) is not None:
                    await call.write(reply)
        message = f"the stream of {worker_id} has ended: {await call.details()}"
        raise RuntimeError(message)

    def _reply(self, message: pb.ConnectResponse) -> pb.ConnectRequest | None:
        match message.WhichOneof("message"):
            case "assignments":
                lease_ids = [item.lease_id for item in message.assignments.items]
                return pb.ConnectRequest(accept=pb.Accept(lease_ids=lease_ids))
            case "accept_ack":
                items = [
                    pb.Report.Item(lease_id=item.lease_id, started=pb.Started())
                    for item in message.accept_ack.items
                    if item.state == _HELD
                ]
            case "report_ack":
                items = []
                for ack in message.report_ack.items:
                    if ack.state != _HELD:
                        raise RuntimeError(f"a report does not count: {ack}")
                    if ack.kind == _STARTED:
                        items.append(pb.Report.Item(lease_id=ack.lease_id, succeeded=pb.Succeeded()))
                    else:
                        self.finished += 1
                if self._awaited is not None and self.finished >= self._awaited[0]:
                    self._awaited[1].set()
            case _:
                return None
        return pb.ConnectRequest(report=pb.Report(items=items)) if items else None


@asynccontextmanager
async def fleet(server: Server, *, workers: int, slots: int) -> AsyncIterator[Fleet]:
    """Workers that are connected, and go on working meanwhile."""
    made = Fleet(server, workers=workers, slots=slots)
    welcomed = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.run(welcomed))
        async with asyncio.timeout(_WELCOME_S):
            for _ in range(workers):
                await welcomed.acquire()
        yield made
        running.cancel()
