"""Goal 13: what does a server do while nothing is done, with a thousand workers that only beat?"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc

from benchmarks.rig.bench import Bench, Case
from benchmarks.rig.callers import OPTIONS
from benchmarks.rig.figures import Answer, Claim, Sample, ratios
from benchmarks.rig.machine import Mark
from benchmarks.rig.processes import Server, bare, tenure
from tenure.v1 import worker_service_pb2 as pb
from tenure.v1 import worker_service_pb2_grpc

BEAT_S = 30.0
WATCHED_S = 4.0
# The first seconds still hold what connecting has left to do.
SETTLE_S = 4.0


async def ask(bench: Bench) -> Answer:
    """Processor time and bytes written to disk of a server with idle workers."""
    count = bench.size(1000, 20)
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(bench.scratch())
        server = await stack.enter_async_context(tenure(folder / "tenure"))
        theirs = await stack.enter_async_context(bare(folder / "bare"))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        connected = asyncio.Semaphore(0)
        workers = [
            group.create_task(_idle(one, number / count * BEAT_S, connected))
            for one in (server, theirs)
            for number in range(count)
        ]
        for _ in workers:
            await connected.acquire()
        await asyncio.sleep(SETTLE_S)
        written = _written_bytes(server.pid)

        async def watch(one: Server) -> Sample:
            before = Mark.now([server.pid, theirs.pid])
            await asyncio.sleep(bench.seconds(WATCHED_S))
            after = Mark.now([server.pid, theirs.pid])
            elapsed = after.at_s - before.at_s
            used = after.used_since(before, one.pid) or 0.0
            return Sample(value=used / elapsed, seconds=elapsed, others=after.others_since(before))

        how = f"{count} workers on connections of their own, a beat every {BEAT_S:.0f} s"
        found = await bench.interleave(
            Case("idle", "processors", how, lambda: watch(server)),
            Case("bare", "processors", f"bare grpc.aio that answers beats; {how}", lambda: watch(theirs)),
        )
        written_after = _written_bytes(server.pid)
        for worker in workers:
            worker.cancel()
    return Answer(
        goal=13,
        series=tuple(found.values()),
        claims=(
            Claim(
                text=f"processors used with {count} idle workers",
                wanted=0.01,
                at_most=True,
                found=tuple(sample.value for sample in found["idle"].samples),
            ),
            Claim(
                text="the same ÷ what a bare grpc.aio server uses for answering the beats",
                found=ratios(found["idle"], found["bare"]),
            ),
            Claim(
                text="bytes written to disk meanwhile",
                wanted=0,
                at_most=True,
                found=() if written is None or written_after is None else (float(written_after - written),),
                why_not="not known on this system",
            ),
        ),
    )


async def _idle(server: Server, first_beat_s: float, connected: asyncio.Semaphore) -> None:
    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        call: Any = worker_service_pb2_grpc.WorkerServiceStub(channel).Connect(metadata=server.metadata)
        name = f"echo-{os.urandom(8).hex()}"
        hello = pb.Hello(worker_id=name, incarnation=name, protocol_version=1, queues=["default"], slots=1)
        await call.write(pb.ConnectRequest(hello=hello))
        await call.read()
        connected.release()
        await asyncio.sleep(first_beat_s)
        while True:
            await call.write(pb.ConnectRequest(heartbeat=pb.Heartbeat()))
            await call.read()
            await asyncio.sleep(BEAT_S)


def _written_bytes(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
