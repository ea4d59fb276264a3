"""What a proof has found out: one record a proof, printed in one line, and written where the report is made from.

A proof that found a violation still writes its record before it fails, and one that breaks before its end gets a record
that says so, so that the report cannot look better than the run was.
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
# What a run of today is proven on: the rest may change while it goes on.
PROVEN = ("services", "protos", "tests")
# So much of a broken test's words is kept, from their end, and of so many tests.
MOST_WORDS, MOST_TOLD = 6000, 5
# Of this process: proofs that were settled, with whether they held; and what broke, by proof.
_settled: dict[str, bool] = {}
_broken: dict[str, list[str]] = {}
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
        return bound_of(self.runs, len(self.violations))

    def line(self) -> str:
        """Everything in one line."""
        told = (
            f"{self.name}: {self.runs} runs, {self.faults} faults, {self.acknowledged} acknowledged, "
            f"{len(self.violations)} violations, bound {self.bound()}"
        )
        if self.bites is not None:
            told += f"; control {'bites' if self.bites else 'DOES NOT BITE'}: {self.control}"
        return told


def bound_of(runs: int, violations: int) -> str:
    """3/N for people; nothing is said by so few runs that it would be 1 or more."""
    return "–" if violations or runs <= RULE_OF_THREE else f"< {RULE_OF_THREE / runs:.2g}"


def settle(proof: Proof) -> None:
    """Print a proof, keep its record for the report if one is made, and fail if the promise did not hold.

    Raises:
        AssertionError: there were violations, or the control was not noticed, or another test of the proof broke.
    """
    proof = dataclasses.replace(proof, violations=[*proof.violations, *_broken.get(proof.name, ())])
    print(proof.line())
    _settled[proof.name] = not proof.violations and proof.bites is not False
    _write(proof)
    assert not proof.violations, proof.line() + "\n" + "\n".join(proof.violations)
    assert proof.bites is not False, proof.line()


def broke(name: str, test: str, words: str) -> None:
    """A test of a proof has failed, maybe before there was anything to settle: put that into its record.

    Args:
        name: of the proof.
        test: which of its tests.
        words: what pytest says of it.
    """
    if _settled.get(name) is False:
        return  # its record says so already
    told = _broken.setdefault(name, [])
    if len(told) == MOST_TOLD:
        return
    told.append(f"{test} ended with an error: {words[-MOST_WORDS:]}")
    path = _path(name)
    if path is None:
        return
    if name in _settled:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["violations"].append(told[-1])
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        promise = "Nothing is known of it: it ended before it could be settled."
        _write(Proof(name=name, promise=promise, fault="", runs=0, faults=0, acknowledged=0, violations=told))


def _path(name: str) -> Path | None:
    folder = os.environ.get("TENURE_PROOF_DIR")
    return Path(folder, f"{name}.json") if folder else None


def _write(proof: Proof) -> None:
    """Write the record, if a report is made."""
    path = _path(proof.name)
    if path is None:
        return
    record = dataclasses.asdict(proof) | {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "revision": _revision(),
        "full": FULL,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _revision() -> str:
    """What was proven, as git knows it; with a plus, where something was changed since."""
    head = _git("rev-parse", "--short=10", "HEAD") or "unknown"
    return f"{head}+" if _git("status", "--porcelain", "--", *PROVEN) else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip()
