"""Workers that hold one attempt each and only beat, as fast as they are allowed to."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from benchmarks.rig.callers import OPTIONS
from benchmarks.rig.processes import Server
from tenure.v1 import worker_service_pb2 as pb
from tenure.v1 import worker_service_pb2_grpc

# Beats that may be under way unanswered.
WINDOW = 32


class Beater:
    """One worker on one stream. A server that does not answer is only written to."""

    def __init__(self, call: Any, lease_id: str, *, answered: bool) -> None:
        self._call = call
        self._lease_id = lease_id
        self._answered = answered
        self._count = 0
        self._unanswered = 0

    async def beat_until(self, end: float) -> int:
        """Beat until then (time.perf_counter), and hear all answers; returns how many beats were taken."""
        count = self._count
        while time.perf_counter() < end:
            self._count += 1
            beat = pb.Beat(lease_id=self._lease_id, count=self._count, stage=2)  # type: ignore[arg-type]
            await self._call.write(pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[beat])))
            self._unanswered += self._answered
            while self._unanswered >= WINDOW:
                await self._hear()
        while self._unanswered:
            await self._hear()
        return self._count - count

    async def _hear(self) -> None:
        message = await self._call.read()
        if message is grpc.aio.EOF:
            raise RuntimeError(f"the stream has ended: {await self._call.details()}")
        # Several answers may come as one message.
        self._unanswered -= len(message.heartbeat_ack.items)


@asynccontextmanager
async def beating(server: Server, count: int, kind: str) -> AsyncIterator[list[Beater]]:
    """So many workers of that kind: `bench` runs a job of the server, `echo` and `sink` are for the bare one."""
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address, options=OPTIONS))
            call: Any = worker_service_pb2_grpc.WorkerServiceStub(channel).Connect(metadata=server.metadata)
            stack.callback(call.cancel)
            name = f"{kind}-{os.urandom(4).hex()}-{number}"
            hello = pb.Hello(worker_id=name, incarnation=name, protocol_version=1, queues=["default"], slots=1)
            await call.write(pb.ConnectRequest(hello=hello))
            lease_id = await _started(call) if kind == "bench" else 36 * "0"
            if kind != "bench":
                await call.read()  # Welcome
            made.append(Beater(call, lease_id, answered=kind != "sink"))
        yield made


async def _started(call: Any) -> str:
    """Take a job and start it; its lease."""
    while True:
        message = await call.read()
        match message.WhichOneof("message"):
            case "assignments":
                lease_id: str = message.assignments.items[0].lease_id
                await call.write(pb.ConnectRequest(accept=pb.Accept(lease_ids=[lease_id])))
            case "accept_ack":
                item = pb.Report.Item(lease_id=lease_id, started=pb.Started())
                await call.write(pb.ConnectRequest(report=pb.Report(items=[item])))
            case "report_ack":
                return lease_id
