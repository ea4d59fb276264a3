"""The seeds that are run with every `make test`, and the many that `make prove` runs, told as one proof."""

from __future__ import annotations

import time

from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, size
from tests.simulation.__main__ import again
from tests.simulation.ranges import Totals, run_range

SEEDS = size(short=500, full=100_000)
PROMISE = (
    "Nothing acknowledged is lost or done twice, no stale attempt counts as the live one, nothing unflushed is seen, "
    "leases and deadlines are kept, and every job ends once the faults do."
)
FAULT = (
    "The real control plane and real agents on virtual time, each world from one seed: disk slow, full, failing or cut "
    "off by a crash; network late, cut, blocked in one direction or both; servers and agents killed, frozen, suspended "
    "or moved; clocks that drift and jump; an object store that is away or refuses; clients that repeat and contradict "
    "themselves."
)


def run(part: int, parts: int) -> Totals:
    """One part of the seeds, each of the same length; all of them in one go when it is the full form."""
    if FULL:
        return run_range(1, SEEDS, processes=2, every=True)
    share = SEEDS // parts
    return run_range(part * share + 1, (part + 1) * share)


def tell(totals: Totals) -> list[str]:
    """What was broken, each seed with what to type to see it again."""
    return [
        f"seed {outcome.seed}: {violation}\n    {again(outcome.seed, None)}"
        for outcome in totals.broken
        for violation in outcome.violations[:3]
    ]


def settled(totals: Totals, begun: float) -> None:
    """Write the record of the proof; fails if a promise was broken."""
    spent = time.monotonic() - begun
    settle(
        Proof(
            name="simulation",
            promise=PROMISE,
            fault=FAULT,
            runs=totals.seeds,
            faults=sum(totals.faults.values()),
            acknowledged=totals.acknowledged,
            violations=tell(totals),
            figures={
                "kinds of faults": len(totals.faults),
                "pairs of fault and state met": len(totals.coverage),
                "pairs never met": len(totals.never_met()),
                "events in the logs": totals.events,
                "virtual hours": round(totals.virtual_s / 3600, 1),
                "seeds a second": round(totals.seeds / spent, 1),
            },
            seconds=round(spent, 1),
        )
    )
