"""Runs seeds from the command line.

    python -m tests.simulation --seeds 1..500
    python -m tests.simulation --seeds 4711 --trace
    python -m tests.simulation --seeds 1..2000 --planted no-lease-check --processes 2

The first seed that breaks a promise is told with what was broken, what to type to see it again, and which of its
faults it needs.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.minimising import smallest
from tests.simulation.plan import plan_of
from tests.simulation.ranges import run_range
from tests.simulation.running import Outcome, run_seed


def main() -> int:
    """Run what was asked for; 1: a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1..500", help="A..B, or one seed")
    parser.add_argument("--processes", type=int, default=1, help="how many processes share them")
    parser.add_argument("--planted", help="a bug that the product is to have meanwhile")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens (of one seed)")
    parser.add_argument("--smallest", action="store_true", help="leave out faults that a broken seed does not need")
    parser.add_argument("--coverage", action="store_true", help="tell how often which fault met which state")
    parser.add_argument("--all", action="store_true", help="go on after the first broken seed")
    asked = parser.parse_args()
    first, last = _seeds(asked.seeds)
    if asked.trace:
        return _told(first, asked.planted)
    begun = time.monotonic()
    totals = run_range(first, last, planted=asked.planted, processes=asked.processes, every=asked.all)
    spent = time.monotonic() - begun
    print(totals.line(), f"{totals.seeds / spent:.1f} seeds/s")
    if asked.coverage:
        print("\n".join(totals.coverage_lines()))
    for outcome in totals.broken:
        _say(outcome, asked.planted, smaller=asked.smallest)
    return 1 if totals.broken else 0


def _told(seed: int, planted: str | None) -> int:
    def tell(at_ns: int, who: str, what: str) -> None:
        print(f"{at_ns / 1e9:12.6f}  {who:14} {what}")

    outcome = run_seed(seed, planted, told=tell)
    _say(outcome, planted, smaller=False)
    return 1 if outcome.violations else 0


def _say(outcome: Outcome, planted: str | None, *, smaller: bool) -> None:
    if not outcome.violations:
        print(f"seed {outcome.seed}: nothing is broken ({outcome.digest})")
        return
    print(f"seed {outcome.seed} ({outcome.digest}):")
    for violation in outcome.violations:
        print(f"  {violation}")
    print(f"  again: {again(outcome.seed, planted)}")
    if smaller:
        plan = smallest(plan_of(outcome.seed), outcome.broken, planted)
        print("  needed: " + ("; ".join(_fault(fault) for fault in plan.faults) or "no fault at all"))


def _fault(fault: object) -> str:
    kind, begin_ns = getattr(fault, "kind", ""), getattr(fault, "begin_ns", 0)
    return f"{kind} at {begin_ns / 1e9:.3f} s for {getattr(fault, 'length_ns', 0) / 1e9:.3f} s"


def again(seed: int, planted: str | None) -> str:
    """What to type to see a seed again, with everything that happens."""
    return f"python -m tests.simulation --seeds {seed} --trace" + (f" --planted {planted}" if planted else "")


def _seeds(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    return (int(first), int(last)) if dots else (int(first), int(first))


if __name__ == "__main__":
    sys.exit(main())
