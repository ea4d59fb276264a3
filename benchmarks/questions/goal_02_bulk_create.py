"""Goal 2: how much more is created a hundred at a time, and how far is that from what the disk's log could take?"""

from __future__ import annotations

from benchmarks.questions.goal_01_unary_create import IN_FLIGHT
from benchmarks.rig.bench import Bench, Case, closed_loop, for_seconds
from benchmarks.rig.callers import creating, stored_event_bytes
from benchmarks.rig.figures import Answer, Claim, Sample, ratios
from benchmarks.rig.processes import tenure
from benchmarks.rig.raw_sqlite import RawLog

ITEMS = 100
BULK_IN_FLIGHT = 8
SECONDS = 2.0


async def ask(bench: Bench) -> Answer:
    """CreateJobs of a hundred items beside CreateJobs of one, and beside raw SQLite."""
    async with bench.scratch() as folder, tenure(folder / "tenure") as server:
        raw = RawLog(folder / "raw.db")
        data = stored_event_bytes()

        async def calls(items: int, in_flight: int) -> Sample:
            async with creating(server, items) as call:
                tickets = for_seconds(bench.seconds(SECONDS))
                return await closed_loop(call, tickets, in_flight=in_flight, server=server.pid)

        async def insert() -> Sample:
            return raw.insert(data, ITEMS, bench.seconds(SECONDS / 2))

        found = await bench.interleave(
            Case("one", "jobs/s", f"one job a call, {IN_FLIGHT} calls in flight", lambda: calls(1, IN_FLIGHT)),
            Case(
                "bulk",
                "jobs/s",
                f"{ITEMS} jobs a call, {BULK_IN_FLIGHT} calls in flight",
                lambda: calls(ITEMS, BULK_IN_FLIGHT),
            ),
            Case("raw", "events/s", f"raw SQLite, {ITEMS} rows of {len(data)} bytes a transaction", insert),
        )
        raw.close()
    return Answer(
        goal=2,
        series=tuple(found.values()),
        claims=(
            Claim(text="bulk ÷ one job a call", wanted=8.0, found=ratios(found["bulk"], found["one"])),
            Claim(text="bulk ÷ raw SQLite", wanted=0.25, found=ratios(found["bulk"], found["raw"])),
        ),
    )
