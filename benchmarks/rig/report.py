"""What comes out: a table of the ratios, a table of what they were made of, and a JSON file with every sample."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rig import machine
from benchmarks.rig.bench import DISTURBED, RESULTS, Bench
from benchmarks.rig.figures import Answer, Claim, Series

WIDTH = 120
RATIOS = "Ratios: median of the repeats, and their range"
RATIO_HEADERS = ("Goal", "Ratio of", "Median", "Range", "Wanted", "So")
MEDIANS = "What they were made of: medians"
MEDIAN_HEADERS = ("Goal", "Case", "Value", "Unit", "p50 ms", "p99 ms", "Server µs", "Others")
LEFT = {"Ratio of", "So", "Case", "Unit"}


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


def show(answers: Sequence[Answer], *, markdown: bool = False) -> None:
    """Print the tables."""
    console = Console(width=WIDTH, highlight=False, soft_wrap=markdown)
    for title, headers, rows in ((RATIOS, RATIO_HEADERS, _claims), (MEDIANS, MEDIAN_HEADERS, _series)):
        groups = [rows(answer) for answer in answers]
        console.print()
        console.print(_markdown(headers, groups) if markdown else _table(title, headers, groups), markup=False)
    for answer in answers:
        for one in answer.series:
            console.print(f"Goal {answer.goal}, {one.name}: {one.how}.")
        for note in answer.notes:
            console.print(f"Goal {answer.goal}: {note}.")
    busy = max((others for answer in answers for one in answer.series for others in [_others(one)]), default=0.0)
    if busy > DISTURBED:
        console.print(f"Other programs kept up to {busy:.0%} of a processor busy: these figures are disturbed.")


def _table(title: str, headers: Sequence[str], groups: Iterable[Iterable[Sequence[str]]]) -> Table:
    table = Table(title=title, title_justify="left")
    for header in headers:
        table.add_column(header, justify="left" if header in LEFT else "right")
    for rows in groups:
        for row in rows:
            table.add_row(*row)
        table.add_section()
    return table


def _markdown(headers: Sequence[str], groups: Iterable[Iterable[Sequence[str]]]) -> str:
    ruler = ["---" if header in LEFT else "---:" for header in headers]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, ruler, *(row for rows in groups for row in rows)))


def _claims(answer: Answer) -> list[list[str]]:
    rows = []
    for claim in answer.claims:
        found, spread = "–", "–"
        if claim.found:
            found, spread = _figure(claim.ratio), f"{_figure(min(claim.found))} … {_figure(max(claim.found))}"
        rows.append([str(answer.goal), claim.text, found, spread, _wanted(claim), _verdict(claim)])
    return rows


def _series(answer: Answer) -> list[list[str]]:
    return [
        [
            str(answer.goal),
            one.name,
            _figure(one.median(lambda sample: sample.value) or 0.0),
            one.unit,
            _number(one.median(lambda sample: sample.p50_ms), ".2f"),
            _number(one.median(lambda sample: sample.p99_ms), ".2f"),
            _number(one.median(lambda sample: sample.server_us), ".0f"),
            _number(one.median(lambda sample: sample.others), ".0%"),
        ]
        for one in answer.series
    ]


def _figure(value: float) -> str:
    """Three digits that mean something, and no exponent."""
    return f"{float(f'{value:.3g}'):,.10g}"


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
