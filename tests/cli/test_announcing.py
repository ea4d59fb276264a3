from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tenure.cli.announcing import announce

pytestmark = pytest.mark.processes

TWICE = "from tenure.cli.announcing import announce; announce('one'); announce('two')"


def test_a_line_is_seen_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    announce("tenure: listening")
    assert capsys.readouterr().out == "tenure: listening\n"


@pytest.mark.parametrize("end", ["full", "gone"])
def test_where_nobody_can_be_told_it_goes_on(end: str, tmp_path: Path) -> None:
    tail = {"full": "> /dev/full", "gone": "| true"}[end]
    code = tmp_path / "code"
    shell = f'{{ sleep 0.1; "$0" -c "$1"; echo $? > "$2"; }} {tail}'
    ended = subprocess.run(
        ["sh", "-c", shell, sys.executable, TWICE, str(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (code.read_text(), ended.stderr) == ("0\n", "")
