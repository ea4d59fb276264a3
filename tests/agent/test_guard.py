"""The agent's side of its guardian; what the guardian ends is in test_strays.py and test_app.py."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tenure.agent import guard
from tenure.agent.guard import Guard

pytestmark = pytest.mark.processes


def test_one_that_takes_its_time_does_not_hold_the_agents_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CLOSE_S", 0.05)
    made = Guard(None, tmp_path)
    os.kill(made.pid, signal.SIGSTOP)
    try:
        made.close()
    finally:
        os.kill(made.pid, signal.SIGCONT)
    assert made._process.wait(timeout=10) == 0


def test_one_that_does_not_start_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    made = Guard(None, tmp_path)
    assert not made.works
    made.close()


def test_a_python_that_needs_its_libraries_named_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picky = tmp_path / "python"
    picky.write_text(f'#!/bin/sh\ntest "$LD_LIBRARY_PATH" = /opt/lib || exit 127\nexec {sys.executable} "$@"\n')
    picky.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(picky))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    made = Guard(None, tmp_path)
    assert made.works
    made.close()
