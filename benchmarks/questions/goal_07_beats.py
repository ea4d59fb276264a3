"""Goal 7: how many heartbeats are taken, beside a server that only reads them, and how few of them reach the log?"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from benchmarks.rig.beats import Beater, beating
from benchmarks.rig.bench import Bench, Case
from benchmarks.rig.callers import creating
from benchmarks.rig.figures import Answer, Claim, Sample, ratios
from benchmarks.rig.machine import Mark
from benchmarks.rig.processes import Server, bare, tenure

SECONDS = 1.5


async def ask(bench: Bench) -> Answer:
    """One attempt a stream, one beat a message, on 200 streams."""
    streams = bench.size(200, 10)
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(bench.scratch())
        ours = await stack.enter_async_context(tenure(folder / "tenure"))
        theirs = await stack.enter_async_context(bare(folder / "bare"))
        async with creating(ours, streams) as create:
            await create()
        beaters = await stack.enter_async_context(beating(ours, streams, "bench"))
        echoes = await stack.enter_async_context(beating(theirs, streams, "echo"))
        sinks = await stack.enter_async_context(beating(theirs, streams, "sink"))

        how = f"{streams} streams, each on a connection of its own; one beat a message"
        found = await bench.interleave(
            Case("sink", "beats/s", f"bare grpc.aio that only reads; {how}", lambda: _beat(bench, theirs, sinks)),
            Case("echo", "beats/s", f"bare grpc.aio that answers; {how}", lambda: _beat(bench, theirs, echoes)),
            Case("beats", "beats/s", how, lambda: _beat(bench, ours, beaters)),
        )
    return Answer(
        goal=7,
        series=tuple(found.values()),
        claims=(
            Claim(text="beats ÷ no-op sink", wanted=0.8, found=ratios(found["beats"], found["sink"])),
            Claim(text="beats ÷ no-op sink that answers, as we do", found=ratios(found["beats"], found["echo"])),
        ),
    )


async def _beat(bench: Bench, server: Server, beaters: list[Beater]) -> Sample:
    before = Mark.now([server.pid])
    end = time.perf_counter() + bench.seconds(SECONDS)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.beat_until(end)) for one in beaters]
    count = sum(task.result() for task in tasks)
    after = Mark.now([server.pid])
    used = after.used_since(before, server.pid)
    elapsed = after.at_s - before.at_s
    return Sample(
        value=count / elapsed,
        count=count,
        seconds=elapsed,
        server_us=None if used is None else 1e6 * used / count,
        others=after.others_since(before),
    )
