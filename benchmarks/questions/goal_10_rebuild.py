"""Goal 10: how fast are all projections made anew, beside reading and parsing the log and nothing else?"""

from __future__ import annotations

from pathlib import Path

import apsw

from benchmarks.rig.bench import Bench, Case
from benchmarks.rig.figures import Answer, Claim, Sample, ratios
from benchmarks.rig.finished import EVENTS_A_LIFE, fill, opened
from benchmarks.rig.machine import Mark
from tenure.events.v1 import event_pb2
from tenure.store.sqlite_schema import NAME


async def ask(bench: Bench) -> Answer:
    """`Store.rebuild` of a log of whole lives beside reading each event and parsing its message."""
    jobs = bench.size(10_000, 1_000)
    async with bench.scratch() as folder:
        data = folder / "data"
        await fill(data, jobs)
        found = await bench.interleave(
            Case("read and parse", "events/s", "each row of the log, its message parsed", lambda: _parse(data)),
            Case(
                "rebuild",
                "events/s",
                "all projections dropped and made anew, in one transaction",
                lambda: _rebuild(data),
            ),
        )
    return Answer(
        goal=10,
        series=tuple(found.values()),
        claims=(
            Claim(
                text="rebuild ÷ reading and parsing the log",
                wanted=0.15,
                found=ratios(found["rebuild"], found["read and parse"]),
            ),
        ),
        notes=(f"the log has {jobs * EVENTS_A_LIFE:,} events of {jobs:,} jobs",),
    )


async def _parse(data: Path) -> Sample:
    connection = apsw.Connection(str(data / NAME), flags=apsw.SQLITE_OPEN_READONLY)
    before = Mark.now([])
    count = 0
    for (stored,) in connection.execute("SELECT data FROM events ORDER BY position"):
        event_pb2.Event.FromString(stored)
        count += 1
    sample = _sample(count, before)
    connection.close()
    return sample


async def _rebuild(data: Path) -> Sample:
    store = await opened(data)
    before = Mark.now([])
    async for _ in store.rebuild():
        pass
    sample = _sample(store.head().position, before)
    await store.close()
    return sample


def _sample(count: int, before: Mark) -> Sample:
    after = Mark.now([])
    elapsed = after.at_s - before.at_s
    return Sample(value=count / elapsed, count=count, seconds=elapsed, others=after.others_since(before))
