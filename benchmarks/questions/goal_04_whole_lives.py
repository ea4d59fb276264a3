"""Goal 4: how many jobs live their whole life in a second, beside a queue written in C that also syncs each write?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import repeat

from benchmarks.rig import beanstalk
from benchmarks.rig.bench import Bench, Case, closed_loop
from benchmarks.rig.callers import creating, specification
from benchmarks.rig.figures import Answer, Claim, Sample, Series, ratios
from benchmarks.rig.processes import Server, beanstalkd, beanstalkd_path, tenure
from benchmarks.rig.workers import fleet

PRODUCERS = 64
ITEMS = 100
BULK_IN_FLIGHT = 8
SLOTS = 128

NOT_INSTALLED = "beanstalkd is not installed"


async def ask(bench: Bench) -> Answer:
    """Created, assigned, accepted, started, succeeded: all durable; beside put, reserve, delete of `beanstalkd -f0`."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(bench.scratch())
        server = await stack.enter_async_context(tenure(folder / "tenure"))

        def lives(workers: int, items: int, in_flight: int, jobs: int) -> Callable[[], Awaitable[Sample]]:
            async def measure() -> Sample:
                async with fleet(server, workers=workers, slots=SLOTS) as at_work, creating(server, items) as call:
                    return await closed_loop(
                        call,
                        repeat(None, jobs // items),
                        in_flight=in_flight,
                        server=server.pid,
                        until=lambda: at_work.until_finished(jobs),
                    )

            return measure

        one, bulk = bench.size(2_000, 100), bench.size(8_000, 400)
        how = f"{SLOTS} slots each, {{}} workers on connections of their own; "
        single = how + f"one job a call, {PRODUCERS} calls in flight"
        batched = how + f"{ITEMS} jobs a call, {BULK_IN_FLIGHT} calls in flight"
        cases = [
            Case("unary, 10 workers", "jobs/s", single.format(10), lives(10, 1, PRODUCERS, one)),
            Case("batched, 10 workers", "jobs/s", batched.format(10), lives(10, ITEMS, BULK_IN_FLIGHT, bulk)),
            Case("batched, 100 workers", "jobs/s", batched.format(100), lives(100, ITEMS, BULK_IN_FLIGHT, bulk)),
        ]
        if beanstalkd_path() is not None:
            peer = await stack.enter_async_context(beanstalkd(folder / "peer"))
            cases.append(await _peer(stack, peer, bench))
        found = await bench.interleave(*cases)
    theirs = found.get("beanstalkd -f0")
    return Answer(
        goal=4,
        series=tuple(found.values()),
        claims=(
            _beside(found["unary, 10 workers"], theirs, 0.5),
            _beside(found["batched, 10 workers"], theirs, 2.5),
            _beside(found["batched, 100 workers"], theirs, 2.0),
        ),
        notes=() if theirs is not None else (NOT_INSTALLED,),
    )


async def _peer(stack: AsyncExitStack, peer: Server, bench: Bench) -> Case:
    body = specification().SerializeToString()
    producers = await stack.enter_async_context(beanstalk.connections(peer, PRODUCERS))
    put = beanstalk.putting(producers, body)
    jobs = bench.size(4_000, 100)

    async def measure() -> Sample:
        async with beanstalk.consuming(peer, 10) as consumers:
            return await closed_loop(
                put,
                repeat(None, jobs),
                in_flight=PRODUCERS,
                server=peer.pid,
                until=lambda: consumers.until_finished(jobs),
            )

    how = f"put by {PRODUCERS} connections, reserve and delete by 10; bodies of {len(body)} bytes"
    return Case("beanstalkd -f0", "jobs/s", how, measure)


def _beside(ours: Series, theirs: Series | None, wanted: float) -> Claim:
    return Claim(
        text=f"{ours.name} ÷ beanstalkd -f0",
        wanted=wanted,
        found=ratios(ours, theirs) if theirs is not None else (),
        why_not=NOT_INSTALLED,
    )
