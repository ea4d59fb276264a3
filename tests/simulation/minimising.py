"""Of a broken seed: which of its faults it needs to break the same promise."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.plan import Plan
from tests.simulation.running import run_seed


def smallest(plan: Plan, broken: frozenset[str], planted: str | None = None) -> Plan:
    """The plan with faults left out one after the other, as long as one of the same promises is broken.

    Leaving out a fault changes what comes after it, so the result is small, and not always the smallest.
    """
    changed = True
    while changed:
        changed = False
        for index in range(len(plan.faults)):
            fewer = replace(plan, faults=plan.faults[:index] + plan.faults[index + 1 :])
            if run_seed(plan.seed, planted, plan=fewer).broken & broken:
                plan, changed = fewer, True
                break
    return plan
