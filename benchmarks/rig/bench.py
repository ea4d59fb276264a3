"""How questions measure: cases one after the other, over and over, so that what disturbs the machine disturbs them all.

A case is a coroutine function that measures once. The first round is thrown away: it warms up caches and connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig.figures import Sample, Series, percentile
from benchmarks.rig.machine import Mark

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure: its name, the unit of its value, its conditions in words, and how."""

    name: str
    unit: str
    how: str
    measure: Callable[[], Awaitable[Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How much is measured. `smoke`: as little as shows that it works."""

    repeats: int
    smoke: bool
    tell: Callable[[str], None] = print

    def size(self, full: int, smoke: int) -> int:
        """How many."""
        return smoke if self.smoke else full

    def seconds(self, full: float) -> float:
        """How long."""
        return min(full, 0.3) if self.smoke else full

    async def interleave(self, *cases: Case) -> dict[str, Series]:
        """Measure the cases in turn, `repeats` times, each round beginning with another one."""
        samples: dict[str, list[Sample]] = {case.name: [] for case in cases}
        for round_ in range(0 if self.smoke else -1, self.repeats):
            turn = max(round_, 0) % len(cases)
            for case in (*cases[turn:], *cases[:turn]):
                gc.collect()
                sample = await case.measure()
                if round_ >= 0:
                    samples[case.name].append(sample)
                    self.tell(f"  {case.name}: {sample.value:,.6g} {case.unit}")
        return {
            case.name: Series(name=case.name, unit=case.unit, how=case.how, samples=tuple(samples[case.name]))
            for case in cases
        }

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """A folder on the disk of this checkout (a temporary one may be in memory), removed afterwards."""
        RESULTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RESULTS, prefix="scratch-", ignore_cleanup_errors=True) as name:
            yield Path(name)


def for_seconds(seconds: float) -> Iterator[object]:
    """One ticket after the other until the time is over."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        yield None


async def closed_loop(
    call: Callable[[], Awaitable[int]],
    tickets: Iterable[object],
    *,
    in_flight: int,
    server: int | None = None,
    until: Callable[[], Awaitable[None]] | None = None,
) -> Sample:
    """Callers that call again as soon as they are answered.

    Args:
        call: one call; returns how many items it was about.
        tickets: one call is made for each.
        in_flight: how many callers.
        server: the process that is called; None: this one.
        until: waited for before the clock stops.
    """
    times: list[float] = []
    done = 0
    shared = iter(tickets)

    async def caller() -> None:
        nonlocal done
        for _ in shared:
            began = time.perf_counter()
            items = await call()
            times.append(time.perf_counter() - began)
            done += items  # not before the call: others count meanwhile

    pids = [] if server is None else [server]
    before = Mark.now(pids)
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller())
    if until is not None:
        await until()
    after = Mark.now(pids)
    times.sort()
    elapsed = after.at_s - before.at_s
    used = None if server is None else after.used_since(before, server)
    return Sample(
        value=done / elapsed,
        count=done,
        seconds=elapsed,
        p50_ms=1e3 * percentile(times, 0.5),
        p99_ms=1e3 * percentile(times, 0.99),
        server_us=None if used is None else 1e6 * used / done,
        others=after.others_since(before),
    )
