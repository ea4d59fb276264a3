"""Goal 11: does work cost more when many finished jobs lie in the store?"""

from __future__ import annotations

from itertools import repeat

import grpc

from benchmarks.questions.goal_04_whole_lives import BULK_IN_FLIGHT, ITEMS, SLOTS
from benchmarks.rig.bench import Bench, Case, closed_loop
from benchmarks.rig.callers import OPTIONS, creating
from benchmarks.rig.figures import Answer, Claim, Sample, ratios
from benchmarks.rig.finished import fill
from benchmarks.rig.processes import Server, tenure
from benchmarks.rig.workers import fleet
from tenure.v1 import job_service_pb2, job_service_pb2_grpc

FEW = 1_000


async def ask(bench: Bench) -> Answer:
    """Whole lives, and the first page of BrowseJobs, beside few and beside many finished jobs."""
    many = bench.size(50_000, 2_000)
    lives = bench.size(5_000, 200)
    async with bench.scratch() as folder:
        await fill(folder / "few" / "data", FEW)
        await fill(folder / "many" / "data", many)
        async with tenure(folder / "few") as with_few, tenure(folder / "many") as with_many:
            how = f"batched, 10 workers of {SLOTS} slots, {{:,}} finished jobs"
            page = "first page of BrowseJobs, 50 jobs, one call at a time, {:,} finished jobs"
            found = await bench.interleave(
                Case("lives, few", "jobs/s", how.format(FEW), lambda: _lives(with_few, lives)),
                Case("lives, many", "jobs/s", how.format(many), lambda: _lives(with_many, lives)),
                Case("page, few", "calls/s", page.format(FEW), lambda: _pages(with_few, bench)),
                Case("page, many", "calls/s", page.format(many), lambda: _pages(with_many, bench)),
            )
    return Answer(
        goal=11,
        series=tuple(found.values()),
        claims=(
            Claim(
                text=f"whole lives with {many:,} finished jobs ÷ with {FEW:,}",
                wanted=0.9,
                found=ratios(found["lives, many"], found["lives, few"]),
            ),
            Claim(
                text="first page of BrowseJobs: median of the one ÷ of the other",
                wanted=2.0,
                at_most=True,
                found=ratios(found["page, many"], found["page, few"], lambda sample: sample.p50_ms),
            ),
        ),
    )


async def _lives(server: Server, jobs: int) -> Sample:
    async with fleet(server, workers=10, slots=SLOTS) as at_work, creating(server, ITEMS) as call:
        return await closed_loop(
            call,
            repeat(None, jobs // ITEMS),
            in_flight=BULK_IN_FLIGHT,
            server=server.pid,
            until=lambda: at_work.until_finished(jobs),
        )


async def _pages(server: Server, bench: Bench) -> Sample:
    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        browse = job_service_pb2_grpc.JobServiceStub(channel).BrowseJobs

        async def call() -> int:
            await browse(job_service_pb2.BrowseJobsRequest(), metadata=server.metadata)
            return 1

        return await closed_loop(call, repeat(None, bench.size(200, 5)), in_flight=1, server=server.pid)
