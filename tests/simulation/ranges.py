"""Many seeds, in one process or several, and what came of them all."""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.plan import KINDS, LATER
from tests.simulation.running import Outcome, run_seed

# So many seeds are one piece of work, and between collections of garbage.
PIECE = 50
# States that a fault may meet; see `World._states`.
STATES = (
    "idle",
    "writing",
    "queued",
    "assigned",
    "running",
    "stopping",
    "starting",
    "no server",
    "frozen server",
    "agent down",
    "disk full",
    "blocked",
)
# What cannot be: what hits a server process needs one that runs, what hits an agent one that is there.
_NEEDS_A_SERVER = ("no server", "frozen server")


@dataclass(slots=True, kw_only=True)
class Totals:
    """What came of many seeds."""

    seeds: int = 0
    acknowledged: int = 0
    events: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    coverage: Counter[str] = field(default_factory=Counter)
    broken: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """One more seed."""
        self.seeds += 1
        self.acknowledged += outcome.acknowledged
        self.events += outcome.events
        self.steps += outcome.steps
        self.virtual_s += outcome.virtual_s
        self.faults += outcome.faults
        self.coverage += outcome.coverage
        if outcome.violations:
            self.broken.append(outcome)

    def join(self, other: Totals) -> None:
        """Those of another piece of work."""
        self.seeds += other.seeds
        self.acknowledged += other.acknowledged
        self.events += other.events
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.faults += other.faults
        self.coverage += other.coverage
        self.broken.extend(other.broken)

    def line(self) -> str:
        """All of it in one line."""
        return (
            f"{self.seeds} seeds, {sum(self.faults.values())} faults, {self.acknowledged} acknowledged, "
            f"{self.events} events, {self.virtual_s / 3600:.1f} virtual hours, {len(self.broken)} broken:"
        )

    def never_met(self) -> list[str]:
        """Pairs of fault and state that did not occur."""
        return [
            f"{kind} × {state}"
            for kind in (*KINDS, *LATER)
            for state in STATES
            if not (kind.startswith("server.") and state in _NEEDS_A_SERVER) and not self.coverage[f"{kind} × {state}"]
        ]

    def coverage_lines(self) -> list[str]:
        """How often each pair occurred, the rarest last, and those that never did."""
        lines = [f"{count:8} {pair}" for pair, count in self.coverage.most_common()]
        return [*lines, *(f"   never {pair}" for pair in self.never_met())]


def run_range(first: int, last: int, *, planted: str | None = None, processes: int = 1, every: bool = False) -> Totals:
    """Run seeds, both ends included; unless `every`, none after the piece in which the first one broke."""
    pieces = [(begin, min(begin + PIECE - 1, last), planted, every) for begin in range(first, last + 1, PIECE)]
    totals = Totals()
    if processes == 1:
        for piece in pieces:
            totals.join(_piece(piece))
            if totals.broken and not every:
                break
        return totals
    # Fresh interpreters: what this one has running (threads, an event loop) is not theirs.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, maxtasksperchild=100) as pool:
        for found in pool.imap(_piece, pieces):
            totals.join(found)
            if totals.broken and not every:
                pool.terminate()
                break
    return totals


def _piece(piece: tuple[int, int, str | None, bool]) -> Totals:
    first, last, planted, every = piece
    totals = Totals()
    before, sys.unraisablehook = sys.unraisablehook, lambda _said: None
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a seed finds nothing; one after many finds all of it at once
    try:
        for seed in range(first, last + 1):
            totals.add(run_seed(seed, planted))
            if totals.broken and not every:
                break
        gc.collect()
        if not gc.get_freeze_count():
            # What stays is what all seeds share; looking at it again and again would be in vain.
            gc.freeze()
    finally:
        sys.unraisablehook = before
        if collecting:
            gc.enable()
    return totals
