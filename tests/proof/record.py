"""What a proof has found out: one record a proof, printed in one line, and written where the report is made from.

A proof that found a violation still writes its record before it fails, so that the report cannot look better than the
run was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.proof.sizes import FULL

ROOT = Path(__file__).resolve().parents[2]
# "Rule of three": with no failure in N independent runs, the chance of one is below 3/N with 95 % confidence.
RULE_OF_THREE = 3


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One proof and its outcome.

    Attributes:
        name: of the proof and of its file, as in `power-loss`.
        promise: what must hold, one sentence for the report.
        fault: what was done to it and by which tool, one sentence.
        runs: how many independent runs (kills, seeds, cuts, cases).
        faults: how many faults were injected in all of them.
        acknowledged: how many operations were acknowledged to clients meanwhile.
        violations: what was found wrong, one sentence each; empty is what we hope for.
        figures: measured on the way, by name with the unit in it; shown as they are.
        control: what was broken on purpose and how that was noticed; empty: there is no control.
        bites: the control was noticed. None: there is no control.
        seconds: how long it took.
    """

    name: str
    promise: str
    fault: str
    runs: int
    faults: int
    acknowledged: int
    violations: Sequence[str] = ()
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    control: str = ""
    bites: bool | None = None
    seconds: float = 0.0

    def bound(self) -> str:
        """The 95 % upper bound of the chance that one run violates the promise, for people."""
        if self.violations or not self.runs:
            return "–"
        return f"< {RULE_OF_THREE / self.runs:.2g}"

    def line(self) -> str:
        """Everything in one line."""
        told = (
            f"{self.name}: {self.runs} runs, {self.faults} faults, {self.acknowledged} acknowledged, "
            f"{len(self.violations)} violations, bound {self.bound()}"
        )
        if self.bites is not None:
            told += f"; control {'bites' if self.bites else 'DOES NOT BITE'}: {self.control}"
        return told


def settle(proof: Proof) -> None:
    """Print a proof, keep its record for the report if one is made, and fail if the promise did not hold.

    Raises:
        AssertionError: there were violations, or the control was not noticed.
    """
    print(proof.line())
    folder = os.environ.get("TENURE_PROOF_DIR")
    if folder:
        record = dataclasses.asdict(proof) | {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "revision": _revision(),
            "full": FULL,
        }
        path = Path(folder, f"{proof.name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert not proof.violations, proof.line() + "\n" + "\n".join(proof.violations)
    assert proof.bites is not False, proof.line()


def _revision() -> str:
    """What was proven, as git knows it."""
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
