"""The agent's side of its guardian; what the guardian ends is in test_strays.py and test_app.py."""

from __future__ import annotations

import os
import signal
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
