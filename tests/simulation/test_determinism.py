"""Everything follows from the seed: the same seed is the same world, to the nanosecond, in any process."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.proof.record import ROOT
from tests.simulation.plan import plan_of
from tests.simulation.running import run_seed

SEEDS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
_PROGRAM = """
from tests.simulation.running import run_seed
print(*(run_seed(seed).digest for seed in {seeds}))
"""


def test_the_same_seed_is_the_same_world() -> None:
    first = [run_seed(seed).digest for seed in SEEDS]
    assert [run_seed(seed).digest for seed in reversed(SEEDS)] == first[::-1]
    assert len(set(first)) == len(SEEDS)


def test_the_order_of_hashes_does_not_matter() -> None:
    mine = [run_seed(seed).digest for seed in SEEDS]
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(seeds=SEEDS)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.split() == mine, done.stderr


def test_watching_changes_nothing() -> None:
    lines: list[str] = []
    told = run_seed(1, told=lambda at_ns, who, what: lines.append(f"{at_ns} {who} {what}"))
    assert told.digest == run_seed(1).digest
    assert any("serves" in line for line in lines)


def test_plans_differ() -> None:
    plans = [plan_of(seed) for seed in range(1, 200)]
    assert {len(plan.workers) for plan in plans} == {2, 3, 4}
    assert {len(plan.clients) for plan in plans} == {1, 2, 3}
    assert {plan.shuffle for plan in plans} == {False, True}
    assert any(not plan.faults for plan in plans)
    assert max(len(plan.faults) for plan in plans) > 10
