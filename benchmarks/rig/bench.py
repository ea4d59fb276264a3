"""How questions measure: cases one after the other, over and over, so that what disturbs the machine disturbs them all.

A case is a coroutine function that measures once. The first round is thrown away: it warms up caches and connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig.figures import Sample, Series, percentile
from benchmarks.rig.machine import Mark

RESULTS = Path(__file__).resolve().parents[1] / "results"


# Others that keep so much of a processor busy disturb a measurement.
DISTURBED = 0.15


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
        """Measure the cases in turn, `repeats` times, each round beginning with another one.

        Rounds in which other programs kept the machine busy are measured again, up to twice as many rounds in all; kept
        are the quietest, whatever their figures.
        """
        rounds: list[dict[str, Sample]] = []
        if not self.smoke:
            await self._round(cases, tell=False)
        while len(rounds) < 2 * self.repeats and sum(map(_quiet, rounds)) < self.repeats:
            turn = len(rounds) % len(cases)
            rounds.append(await self._round((*cases[turn:], *cases[:turn]), tell=True))
            if self.smoke:
                break
        kept = sorted(rounds, key=_disturbance)[: self.repeats]
        return {
            case.name: Series(
                name=case.name, unit=case.unit, how=case.how, samples=tuple(one[case.name] for one in kept)
            )
            for case in cases
        }

    async def _round(self, cases: Sequence[Case], *, tell: bool) -> dict[str, Sample]:
        found: dict[str, Sample] = {}
        for case in cases:
            gc.collect()
            sample = found[case.name] = await case.measure()
            if tell:
                self.tell(f"  {case.name}: {sample.value:,.6g} {case.unit}")
        if tell and not self.smoke and not _quiet(found):
            self.tell(f"  (others kept {_disturbance(found):.0%} of a processor busy)")
        return found

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """A folder on the disk of this checkout (a temporary one may be in memory), removed afterwards."""
        RESULTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RESULTS, prefix="scratch-", ignore_cleanup_errors=True) as name:
            yield Path(name)


def _disturbance(round_: dict[str, Sample]) -> float:
    return max((sample.others or 0.0 for sample in round_.values()), default=0.0)


def _quiet(round_: dict[str, Sample]) -> bool:
    return _disturbance(round_) <= DISTURBED


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
