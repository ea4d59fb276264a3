"""Secrets in files: written once, for the owner only."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import structlog

from tenure.controlplane.secret_files import SecretFileError, keep, replace


def unwanted() -> str:
    raise AssertionError("there is a secret already")


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert keep(path, lambda: "first") == "first"
    assert keep(path, unwanted) == "first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_a_secret_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    keep(path, lambda: "first")
    replace(path, "second")
    assert keep(path, unwanted) == "second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_crash_has_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    for name in (".secret.1", ".secret.2"):
        (tmp_path / name).write_text("half")
    assert keep(path, lambda: "whole") == "whole"


def test_a_file_that_others_can_read_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("mine\n")
    path.chmod(0o644)
    with structlog.testing.capture_logs() as records:
        assert keep(path, unwanted) == "mine"
    assert [record["event"] for record in records] == ["secret_readable_by_others"]
    assert "mine" not in str(records)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(" \n")
    with pytest.raises(SecretFileError, match=r"secret is empty"):
        keep(path, unwanted)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SecretFileError, match=r"secret: it is not text"):
        keep(path, unwanted)
    with pytest.raises(SecretFileError, match=r"nowhere/secret: No such file"):
        keep(tmp_path / "nowhere" / "secret", lambda: "x")
    path.unlink()
    path.mkdir()
    with pytest.raises(SecretFileError, match=r"secret: Is a directory"):
        keep(path, unwanted)
