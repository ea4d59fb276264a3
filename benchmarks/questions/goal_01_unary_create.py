"""Goal 1: what does a call that creates one job cost beside a call that does nothing?"""

from __future__ import annotations

from benchmarks.rig.bench import Bench, Case, closed_loop, for_seconds
from benchmarks.rig.callers import creating
from benchmarks.rig.figures import Answer, Claim, Sample, ratios
from benchmarks.rig.processes import Server, bare, tenure

IN_FLIGHT = 64
SECONDS = 2.0


async def ask(bench: Bench) -> Answer:
    """CreateJobs of one item beside the same call on a bare grpc.aio server."""
    async with bench.scratch() as folder, tenure(folder / "tenure") as ours, bare(folder / "bare") as theirs:

        async def calls(server: Server) -> Sample:
            async with creating(server, 1) as call:
                tickets = for_seconds(bench.seconds(SECONDS))
                return await closed_loop(call, tickets, in_flight=IN_FLIGHT, server=server.pid)

        how = f"one job a call, {IN_FLIGHT} calls in flight on one connection"
        found = await bench.interleave(
            Case("no-op", "calls/s", f"bare grpc.aio, {how}", lambda: calls(theirs)),
            Case("create", "jobs/s", how, lambda: calls(ours)),
        )
    create, noop = found["create"], found["no-op"]
    return Answer(
        goal=1,
        series=tuple(found.values()),
        claims=(
            Claim(text="create ÷ no-op call", wanted=0.75, found=ratios(create, noop)),
            Claim(
                text="the same in processor time of the server",
                found=ratios(noop, create, lambda sample: sample.server_us),
            ),
        ),
    )
