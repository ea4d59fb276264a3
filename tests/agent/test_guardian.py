"""What the guardian kills when its agent is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenure.agent import guardian

pytestmark = pytest.mark.processes


def test_a_process_that_does_not_die_is_killed_once_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent may have been started again by then, and have commands of its own."""
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, env={"TENURE_JOB_DIR": str(tmp_path / "j-1" / "work")}
    ) as process:
        guardian.kill_strays(str(tmp_path))
        assert killed == [process.pid]
        process.communicate(b"\n")


def test_jobs_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, env={**os.environ, "TENURE_JOB_DIR": f"{tmp_path}-other/j-1/work"}
    ) as process:
        guardian.kill_strays(str(tmp_path))
        assert killed == []
        process.communicate(b"\n")
