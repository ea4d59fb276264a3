"""Goal 3: what do commits gain that come together and share a transaction, and what does a lone one pay for it?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice, repeat

from benchmarks.rig.bench import Bench, Case, closed_loop
from benchmarks.rig.callers import created_event, stored_event_bytes
from benchmarks.rig.figures import Answer, Claim, Sample, ratios
from benchmarks.rig.finished import opened
from benchmarks.rig.raw_sqlite import RawLog
from tenure.domain import events as e
from tenure.domain.job import create
from tenure.runtime import garbage
from tenure.runtime.ids import Uuid7Ids
from tenure.store.store import Append, Unit

TOGETHER = 64
SECONDS = 1.0


async def ask(bench: Bench) -> Answer:
    """Commits of one job each through the store's port: one after the other, and 64 at once."""
    garbage.settle()  # as a server does
    async with bench.scratch() as folder:
        store = await opened(folder / "data")
        raw = RawLog(folder / "raw.db")
        data = stored_event_bytes()

        async def commits(callers: int) -> Sample:
            units = list(islice(_units(), bench.size(2_000 if callers == 1 else 12_000, 3 * callers)))

            async def call() -> int:
                await store.commit(units.pop())
                return 1

            return await closed_loop(call, repeat(None, len(units)), in_flight=callers)

        async def insert() -> Sample:
            return raw.insert(data, 1, bench.seconds(SECONDS))

        found = await bench.interleave(
            Case("alone", "commits/s", "one caller, one job a commit", lambda: commits(1)),
            Case("together", "commits/s", f"{TOGETHER} callers, one job a commit", lambda: commits(TOGETHER)),
            Case("raw", "commits/s", f"raw SQLite, one row of {len(data)} bytes a transaction", insert),
        )
        raw.close()
        await store.close()
    alone, together, raw_series = found["alone"], found["together"], found["raw"]
    return Answer(
        goal=3,
        series=tuple(found.values()),
        claims=(
            Claim(text=f"{TOGETHER} callers ÷ one", wanted=10.0, found=ratios(together, alone)),
            Claim(
                text="median of a lone commit ÷ of a raw one",
                wanted=2.0,
                at_most=True,
                found=ratios(alone, raw_series, lambda sample: sample.p50_ms),
            ),
        ),
    )


def _units() -> Iterator[Unit]:
    ids, event = Uuid7Ids(), created_event()
    while True:
        job_id, now_us = ids.new(), time.time_ns() // 1000
        new = e.NewEvent(event_id=ids.new(), time_us=now_us, actor="admin:local", payload=event)
        append = Append(
            stream=e.job_stream(job_id), expected_version=0, events=(new,), job=create(job_id, event, now_us)
        )
        yield Unit(appends=(append,))
