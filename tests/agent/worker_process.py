"""`tenure worker` as a process: how it is started, what it ends with, and a command of its that runs."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from tests.agent.conftest import Eventually
from tests.agent.fake_server import Session, assignment

Start: TypeAlias = Callable[..., Awaitable[Process]]


async def ended(process: Process) -> tuple[int, str, str]:
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def running(session: Session, folder: Path, eventually: Eventually, name: str = "job-of-lease-1-1") -> int:
    """A command that notes its number and runs on; its number."""
    script = "echo $$ > pid.new; mv pid.new pid; exec sleep 600"
    await session.started(assignment(command="sh", arguments=("-c", script)))
    file = folder / "agent" / "jobs" / name / "work" / "pid"
    await eventually(file.exists)
    return int(file.read_text())
