"""A proof that did not hold says so, everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.proof.record import Proof, settle

HELD = Proof(name="example", promise="Nothing is lost.", fault="kill -9", runs=1000, faults=1000, acknowledged=5)
VIOLATED = Proof(
    name="example",
    promise="Nothing is lost.",
    fault="kill -9",
    runs=10,
    faults=10,
    acknowledged=5,
    violations=["job 7 is not there"],
)


def test_bound() -> None:
    assert HELD.bound() == "< 0.003"
    assert VIOLATED.bound() == "–"


def test_line(capsys: pytest.CaptureFixture[str]) -> None:
    settle(HELD)
    assert capsys.readouterr().out == ("example: 1000 runs, 1000 faults, 5 acknowledged, 0 violations, bound < 0.003\n")


def test_violation_is_kept_before_the_proof_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENURE_PROOF_DIR", str(tmp_path / "proof"))
    with pytest.raises(AssertionError, match="job 7 is not there"):
        settle(VIOLATED)
    record = json.loads((tmp_path / "proof" / "example.json").read_text(encoding="utf-8"))
    assert record["violations"] == ["job 7 is not there"]
    assert record["full"] is False


def test_control_that_does_not_bite_fails_the_proof() -> None:
    blunt = Proof(
        name="example", promise="", fault="", runs=1, faults=0, acknowledged=0, control="synchronous off", bites=False
    )
    with pytest.raises(AssertionError, match="DOES NOT BITE: synchronous off"):
        settle(blunt)
