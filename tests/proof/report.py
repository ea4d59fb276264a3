"""Makes the table of docs/proof.md from the records that proofs have left.

    python -m tests.proof.report build/proof

Everything between the two marks of the document is replaced; the rest is written by people. A proof that was not run
this time keeps no old figures: what the folder does not hold is named as missing.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.proof.breaking import proofs_in
from tests.proof.record import ROOT, bound_of

DOCUMENT = ROOT / "docs" / "proof.md"
BEGIN = "<!-- results: written by make prove -->"
END = "<!-- end of results -->"
# Where proofs are, as `make prove` runs them.
PLACES = ("faults", "hostile", "simulation")

Record = Mapping[str, Any]


def read(folder: Path) -> list[Record]:
    """The records in a folder, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def render(records: list[Record]) -> str:
    """The part of the document that is made: what was run and what was not, a table, then each with its figures."""
    if not records:
        raise ValueError("there is no record of any proof")
    parts = [_summary(records), _table(records)]
    parts += [_details(record) for record in records]
    return "\n\n".join(parts)


def all_proofs() -> set[str]:
    """The names of all proofs there are."""
    files = [path for place in PLACES for path in (ROOT / "tests" / place).rglob("*.py")]
    return {name for path in files for name in proofs_in(path.read_text(encoding="utf-8"))}


def replace(document: str, made: str) -> str:
    """The document with the part between the marks replaced.

    Raises:
        ValueError: it has not exactly one pair of marks.
    """
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"the document needs one {BEGIN} and one {END}")
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def _summary(records: list[Record]) -> str:
    dates = sorted({record["date"] for record in records})
    # A record that was made in parts has several.
    revisions = sorted({one for record in records for one in record["revision"].split(", ")})
    short = [record["name"] for record in records if not record["full"]]
    wrong = [record["name"] for record in records if record["violations"] or record["bites"] is False]
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    minutes = sum(record["seconds"] for record in records) / 60
    told = (
        f"Run on {when} at revision {', '.join(revisions)}: {len(records)} proofs in {minutes:.0f} minutes, on "
        f"Linux {platform.release()}, Python {platform.python_version()}."
    )
    told += f" **Did not hold: {', '.join(wrong)}.**" if wrong else " No violation; every control was noticed."
    if missing := sorted(all_proofs() - {record["name"] for record in records}):
        told += f" **Not run: {', '.join(missing)}.**"
    if short:
        told += f" In their short form only: {', '.join(short)}."
    return told


def _table(records: list[Record]) -> str:
    rows = ["| Proof | Runs | Faults | Acknowledged | Violations | Bound | Control | Minutes |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | --- | --- | ---: |")
    for record in records:
        violations = len(record["violations"])
        bound = bound_of(record["runs"], violations)
        control = {None: "–", True: "bites", False: "**does not bite**"}[record["bites"]]
        rows.append(
            f"| {record['name']} | {record['runs']:,} | {record['faults']:,} | {record['acknowledged']:,} "
            f"| {violations or 0} | {bound} | {control} | {record['seconds'] / 60:.1f} |"
        )
    return "\n".join(rows)


def _details(record: Record) -> str:
    lines = [f"### {record['name']}", "", f"*{record['promise']}* {record['fault']}"]
    if record["control"]:
        lines.append(f"Control: {record['control']}")
    if record["figures"]:
        lines += ["", "| Figure | Value |", "| --- | ---: |"]
        lines += [f"| {name} | {_shown(value)} |" for name, value in record["figures"].items()]
    if record["violations"]:
        lines += ["", "Violations:", ""]
        lines += [f"* {violation}" for violation in record["violations"]]
    return "\n".join(lines)


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


def main(arguments: list[str]) -> int:
    """Rewrite the document.

    Returns:
        1: something did not hold.
    """
    records = read(Path(arguments[0]))
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(replace(document, render(records)), encoding="utf-8")
    wrong = [record["name"] for record in records if record["violations"] or record["bites"] is False]
    print(
        f"{DOCUMENT.relative_to(ROOT)}: {len(records)} proofs"
        + (f"; did not hold: {', '.join(wrong)}" if wrong else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
