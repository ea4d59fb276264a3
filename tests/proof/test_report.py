"""The report shows what the records say, and nothing better."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.proof.record import Proof
from tests.proof.report import BEGIN, END, all_proofs, render, replace


def _record(**changed: Any) -> dict[str, Any]:
    proof = Proof(
        name="kill-server",
        promise="No acknowledged event is lost.",
        fault="kill -9 at random instants.",
        runs=1000,
        faults=1000,
        acknowledged=123456,
        figures={"jobs": 4321, "p99 ms": 12.345},
        seconds=600.0,
    )
    return dataclasses.asdict(proof) | {"date": "2026-01-02", "revision": "abc", "full": True} | changed


def test_table_and_figures() -> None:
    text = render([_record()])
    assert "Run on 2026-01-02 at revision abc: 1 proofs in 10 minutes" in text
    assert "| kill-server | 1,000 | 1,000 | 123,456 | 0 | < 0.003 | – | 10.0 |" in text
    assert "| jobs | 4,321 |" in text
    assert "| p99 ms | 12.3 |" in text
    assert "No violation; every control was noticed." in text


@pytest.mark.parametrize("changed", [{"violations": ["job 7 is gone"]}, {"bites": False, "control": "a blunt one"}])
def test_what_did_not_hold_is_said_first(changed: dict[str, Any]) -> None:
    text = render([_record(**changed), _record(name="other")])
    assert "**Did not hold: kill-server.**" in text
    assert "No violation" not in text


def test_short_forms_are_named() -> None:
    assert "In their short form only: kill-server." in render([_record(full=False)])


def test_each_revision_is_named_once() -> None:
    made = render([_record(revision="aaaa, bbbb"), _record(name="other", revision="bbbb")])
    assert "at revision aaaa, bbbb: 2 proofs" in made


def test_what_was_not_run_is_named() -> None:
    known = all_proofs()
    assert {"kill-server", "power-loss", "http2-attacks", "simulation", "planted-bugs"} <= known
    missing = ", ".join(sorted(known - {"power-loss"}))
    assert f"**Not run: {missing}.**" in render([_record(name="power-loss")])
    assert "Not run" not in render([_record(name=name) for name in known])


def test_only_what_is_between_the_marks_is_replaced() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace(document, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match="needs one"):
        replace("no marks", "new")


def test_no_records_is_no_report() -> None:
    with pytest.raises(ValueError, match="no record"):
        render([])
