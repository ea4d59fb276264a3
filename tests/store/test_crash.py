"""A process that is killed at any instant loses nothing that it has acknowledged."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT
from tests.store.making import whole_log
from tests.store.opening import opened

ROUNDS = 10


@pytest.mark.processes
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    chance = random.Random(7)
    acknowledged: list[str] = []
    for number in range(ROUNDS):
        acknowledged += await run_and_kill(tmp_path, f"r{number}", chance.randint(1, 400))
        async with opened(tmp_path) as store:
            events = await whole_log(store)
            assert [event.position for event in events] == list(range(1, len(events) + 1))
            created = [event.stream.removeprefix("job/") for event in events if event.version == 1]
            assert set(acknowledged) <= set(created)
            assert len(created) == len(set(created))
            # One request, one job: also of what was written and not acknowledged any more.
            for job_id in created[-8:]:
                assert await store.find_request("user:user", "CreateJobs", job_id) is not None
    async with opened(tmp_path) as store:
        assert [report async for report in store.verify()][-1].problems == []
    assert len(acknowledged) > ROUNDS


async def run_and_kill(directory: Path, prefix: str, lines: int) -> list[str]:
    """Let the process write until it has acknowledged so much, kill it, and return all it has acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store.crashing",
        str(directory),
        prefix,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    seen: list[bytes] = []
    try:
        async with asyncio.timeout(60):
            while len(seen) < lines and (line := await process.stdout.readline()):
                seen.append(line)
    finally:
        process.kill()
        rest, _ = await process.communicate()
    # A line that was cut by the kill was not read by anybody.
    whole = [line for line in [*seen, *rest.splitlines(keepends=True)] if line.endswith(b"\n")]
    return [line.decode().strip() for line in whole]
