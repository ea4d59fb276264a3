"""Command lines, and looking at what they started."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

from tenure.agent import strays
from tenure.agent.process import LocalCommand
from tenure.agent.runner import CommandLine
from tests.agent.conftest import Eventually

KEEP = str(Path(sys.executable).parent) + ":/usr/bin:/bin"


def line(tmp_path: Path, program: str, *arguments: str, **environment: str) -> CommandLine:
    return CommandLine(
        name=f"job-{os.urandom(4).hex()}",
        program=program,
        arguments=arguments,
        environment={"PATH": KEEP, "TENURE_JOB_DIR": str(tmp_path), **environment},
        directory=tmp_path,
    )


def python(tmp_path: Path, code: str, *arguments: str) -> CommandLine:
    return line(tmp_path, sys.executable, "-c", textwrap.dedent(code), *arguments)


def alive(pid: int) -> bool:
    return any(process.pid == pid and not process.zombie for process in strays.processes())


async def pid_in(file: Path, eventually: Eventually) -> int:
    text = ""

    def written() -> bool:
        nonlocal text
        text = file.read_text().strip() if file.exists() else ""
        return bool(text)

    await eventually(written)
    return int(text)


async def ready(command: LocalCommand, eventually: Eventually) -> None:
    await eventually(lambda: b"ready" in command.output.tail())
