"""The demo as a newcomer runs it: real processes from start to end, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The temporary folder and the state folder are the test's, so that what stays is seen."""
    return {**os.environ, "TMPDIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "dumb"}


@pytest.fixture
def started(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tenure", "demo"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(30)


def of(folder: Path) -> list[str]:
    """The command lines of processes that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def left_behind(folder: Path) -> tuple[list[str], list[str]]:
    """Processes and folders of the demo that are still there, once they have had time to go."""
    deadline = time.monotonic() + 10
    while True:
        left = of(folder), sorted(path.name for path in folder.glob("tenure-demo-*"))
        if left == ([], []) or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def test_the_whole_story(started: subprocess.Popen[str], tmp_path: Path) -> None:
    try:
        text, _ = started.communicate(timeout=300)
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it came no further than this:\n{(error.output or b'').decode()}")
    assert started.returncode == 0, text
    story = ["assigned to worker-", "kill -9 worker-", "lease expired", "resumed on worker-", "completed: the sum"]
    story += ["extended by 1 h", "cancelled: Your job", "JobTerminated", "verified:", "Try next"]
    places = [text.find(words) for words in story]
    assert -1 not in places, dict(zip(story, places, strict=True))
    assert places == sorted(places)
    assert left_behind(tmp_path) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_stopped_at_any_time(started: subprocess.Popen[str], tmp_path: Path, number: signal.Signals) -> None:
    assert started.stdout is not None
    for line in started.stdout:
        if "submitted: job" in line:
            break
    started.send_signal(number)
    text, _ = started.communicate(timeout=30)
    assert started.returncode == 130, text
    assert left_behind(tmp_path) == ([], [])
