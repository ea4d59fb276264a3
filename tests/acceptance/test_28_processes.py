"""Scenario 28 with real processes: the server is away for a minute under ten jobs with a lease of two seconds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.faulty_store import faulty_store
from tests.acceptance.fleet import BUCKET, Fleet
from tests.acceptance.invariants import assert_dense, assert_one_owner
from tests.acceptance.processes import ServerProcess
from tests.servers.seaweedfs import SeaweedFS

pytestmark = pytest.mark.processes

JOBS = 10
# The scenario says 60; a shorter outage is for those who try something out.
OUTAGE_S = float(os.environ.get("TENURE_TEST_OUTAGE_S", "60"))

# Beats a drum of its own until it is told to end.
STEADY = """
import os, pathlib, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / f"began-{name}").write_text(os.environ["TENURE_ATTEMPT"])
while not (folder / f"end-{name}").exists():
    time.sleep(0.1)
pathlib.Path("out").mkdir(exist_ok=True)
pathlib.Path(f"out/{name}").write_text("done in attempt " + os.environ["TENURE_ATTEMPT"])
"""


@pytest.fixture
async def own_fleet(tmp_path: Path, seaweedfs: SeaweedFS) -> AsyncIterator[Fleet]:
    """A fleet whose server this test may kill."""
    server = ServerProcess(tmp_path / "server")
    seaweedfs.create_bucket(BUCKET)
    try:
        await server.up()
        with faulty_store(seaweedfs.endpoint_url) as faulty:
            opened = Fleet("outage", tmp_path, server, seaweedfs, faulty)
            try:
                yield opened
            finally:
                await opened.close()
    finally:
        server.close()


@pytest.mark.timeout(240)
async def test_scenario_28_outage(own_fleet: Fleet, tmp_path: Path) -> None:
    fleet = own_fleet
    await fleet.worker("a", slots=5)
    await fleet.worker("b", slots=5)
    ids = [await fleet.create(fleet.job(STEADY, str(tmp_path), str(n), after=[("out", "out")])) for n in range(JOBS)]
    for n in range(JOBS):
        await fleet.until_file(tmp_path / f"began-{n}")

    fleet.server.kill()
    # Half of them end while nobody can be told.
    for n in range(JOBS // 2):
        (tmp_path / f"end-{n}").touch()
    await asyncio.sleep(OUTAGE_S)
    await fleet.server.up()
    await asyncio.sleep(3)
    for n in range(JOBS // 2, JOBS):
        (tmp_path / f"end-{n}").touch()

    for n, job_id in enumerate(ids):
        job = await fleet.until_completed(job_id)
        assert job.status.attempt == 1, n
        assert job.status.num_interruptions == 0
        assert job.status.num_failures == 0
        assert await fleet.get(f"out/{n}") == b"done in attempt 1"
        assert (tmp_path / f"began-{n}").read_text() == "1"
    events = await fleet.caller.events()
    assert_dense(events)
    assert_one_owner(events)
