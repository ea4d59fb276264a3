"""A proof that did not hold says so, everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof import record
from tests.proof.breaking import proofs_of
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
    assert [record.bound_of(runs, 0) for runs in (0, 1, 3, 4)] == ["–", "–", "–", "< 0.75"]


def test_line(capsys: pytest.CaptureFixture[str]) -> None:
    settle(HELD)
    assert capsys.readouterr().out == ("example: 1000 runs, 1000 faults, 5 acknowledged, 0 violations, bound < 0.003\n")


def test_violation_is_kept_before_the_proof_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENURE_PROOF_DIR", str(tmp_path / "proof"))
    with pytest.raises(AssertionError, match="job 7 is not there"):
        settle(VIOLATED)
    found = json.loads((tmp_path / "proof" / "example.json").read_text(encoding="utf-8"))
    assert found["violations"] == ["job 7 is not there"]
    assert found["full"] is False


def test_control_that_does_not_bite_fails_the_proof() -> None:
    blunt = Proof(
        name="example", promise="", fault="", runs=1, faults=0, acknowledged=0, control="synchronous off", bites=False
    )
    with pytest.raises(AssertionError, match="DOES NOT BITE: synchronous off"):
        settle(blunt)


# --- proofs that break ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TENURE_PROOF_DIR", str(tmp_path))
    monkeypatch.setattr(record, "_settled", {})
    monkeypatch.setattr(record, "_broken", {})
    return tmp_path


def _violations(folder: Path) -> list[str]:
    found: list[str] = json.loads((folder / "example.json").read_text(encoding="utf-8"))["violations"]
    return found


def test_a_proof_that_breaks_before_its_end_has_a_record_in_the_place_of_an_older_one(folder: Path) -> None:
    settle(HELD)
    record._settled.clear()  # it was another run
    record.broke("example", "test_it", "seed 7\nTimeoutError: no server")
    assert _violations(folder) == ["test_it ended with an error: seed 7\nTimeoutError: no server"]
    # Whatever comes after it: it did not hold.
    with pytest.raises(AssertionError, match="no server"):
        settle(HELD)


def test_what_breaks_after_its_end_is_added(folder: Path) -> None:
    settle(HELD)
    record.broke("example", "test_another", "gone")
    assert _violations(folder) == ["test_another ended with an error: gone"]


def test_a_violation_is_not_told_twice(folder: Path) -> None:
    with pytest.raises(AssertionError):
        settle(VIOLATED)
    record.broke("example", "test_it", "AssertionError: job 7 is not there")
    assert _violations(folder) == ["job 7 is not there"]


def test_without_a_report_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENURE_PROOF_DIR")
    record.broke("example", "test_it", "gone")
    assert list(folder.iterdir()) == []


FAILING = """
from tests.conftest import pytest_runtest_makereport
"""
PROOF_FILE = """
from tests.proof.breaking import proofs_of
from tests.proof.record import Proof, settle

def test_helper():
    raise ValueError("the helper has fallen")

def test_proof():
    settle(Proof(
        name="example-of-two", promise="", fault="", runs=1, faults=1, acknowledged=1))

def test_other_proof():
    raise OSError("no such device")
    settle(Proof(name="example-other", promise="", fault="", runs=1, faults=1, acknowledged=1))
"""


def test_a_test_is_part_of_the_proof_that_its_file_or_its_parts_settle(request: pytest.FixtureRequest) -> None:
    test = request.node
    for file, names in (
        ("faults/test_kill_server.py", ["kill-server"]),
        ("simulation/test_simulation_more.py", ["simulation"]),
    ):
        test.path = record.ROOT / "tests" / file
        assert proofs_of(test) == names


def test_pytest_tells_the_proofs_of_a_test_that_it_failed(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(FAILING)
    (tmp_path / "test_example.py").write_text(PROOF_FILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    proof = tmp_path / "proof"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(record.ROOT), "TENURE_PROOF_DIR": str(proof)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    told = {path.stem: json.loads(path.read_text(encoding="utf-8"))["violations"] for path in proof.glob("*.json")}
    assert told.keys() == {"example-of-two", "example-other"}
    assert "the helper has fallen" in told["example-of-two"][0]
    assert "no such device" in told["example-other"][-1]
