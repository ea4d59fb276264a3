"""What comes out: a table of the ratios, a table of what they were made of, and a JSON file with every sample."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rig import machine
from benchmarks.rig.bench import RESULTS, Bench
from benchmarks.rig.figures import Answer, Claim, Series

WIDTH = 120
# Other programs kept so much of a processor busy: the figures are theirs as well.
DISTURBED = 0.15


class Run:
    """One run: when it was, on what machine, and how busy that was."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._started = datetime.now(UTC)
        self._start = time.monotonic()
        self._load = machine.load_average()

    def write(self, answers: Sequence[Answer]) -> Path:
        """Write everything down; the file's name is the time of the start."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self._started:%Y-%m-%dT%H%M%SZ}{'-smoke' if self._bench.smoke else ''}.json"
        document = {
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._start),
            "smoke": self._bench.smoke,
            "repeats": self._bench.repeats,
            "machine": machine.describe(),
            "load_average": {"before": self._load, "after": machine.load_average()},
            "answers": [_answer(answer) for answer in answers],
        }
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def show(answers: Sequence[Answer]) -> None:
    """Print the tables."""
    console = Console(width=WIDTH, highlight=False)
    console.print()
    console.print(_claims(answers))
    console.print(_series(answers))
    for answer in answers:
        for one in answer.series:
            console.print(f"Goal {answer.goal}, {one.name}: {one.how}.")
        for note in answer.notes:
            console.print(f"Goal {answer.goal}: {note}.")
    busy = max((others for answer in answers for one in answer.series for others in [_others(one)]), default=0.0)
    if busy > DISTURBED:
        console.print(f"Other programs kept up to {busy:.0%} of a processor busy: these figures are disturbed.")


def _claims(answers: Sequence[Answer]) -> Table:
    table = Table(title="Ratios: median of the repeats, and their range", title_justify="left")
    for header, justify in (
        ("Goal", "right"),
        ("", "left"),
        ("Ratio", "right"),
        ("Range", "right"),
        ("Wanted", "right"),
    ):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    table.add_column("")
    for answer in answers:
        for claim in answer.claims:
            found, spread = "–", "–"
            if claim.found:
                found, spread = f"{claim.ratio:.3g}", f"{min(claim.found):.3g} … {max(claim.found):.3g}"
            table.add_row(str(answer.goal), claim.text, found, spread, _wanted(claim), _verdict(claim))
    return table


def _series(answers: Sequence[Answer]) -> Table:
    table = Table(title="What they were made of: medians", title_justify="left")
    for header in ("Goal", "Case", "Value", "Unit", "p50 ms", "p99 ms", "Server µs", "Others"):
        table.add_column(header, justify="left" if header in ("Case", "Unit") else "right")
    for answer in answers:
        for one in answer.series:
            table.add_row(
                str(answer.goal),
                one.name,
                f"{one.median(lambda sample: sample.value):,.4g}",
                one.unit,
                _number(one.median(lambda sample: sample.p50_ms), ".2f"),
                _number(one.median(lambda sample: sample.p99_ms), ".2f"),
                _number(one.median(lambda sample: sample.server_us), ".0f"),
                _number(one.median(lambda sample: sample.others), ".0%"),
            )
        table.add_section()
    return table


def _wanted(claim: Claim) -> str:
    if claim.wanted is None:
        return ""
    return f"{'≤' if claim.at_most else '≥'} {claim.wanted:g}"


def _verdict(claim: Claim) -> str:
    if not claim.found:
        return claim.why_not
    return {True: "met", False: "missed", None: ""}[claim.met]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _others(series: Series) -> float:
    return series.median(lambda sample: sample.others) or 0.0


def _answer(answer: Answer) -> dict[str, object]:
    document = asdict(answer)
    for claim, values in zip(document["claims"], answer.claims, strict=True):
        claim["ratio"] = values.ratio if values.found else None
        claim["met"] = values.met
    return document
