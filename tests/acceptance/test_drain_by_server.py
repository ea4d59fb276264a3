"""A real worker that the server asks to drain: with its job finished, or given back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.callers import state_of, texts_of
from tests.acceptance.fleet import Fleet
from tests.acceptance.processes import run_tenure

pytestmark = pytest.mark.processes

# Saves its work when it is told to stop; ends well by itself once the file is there.
PATIENT = """
import pathlib, signal, sys, time
end, state = pathlib.Path(sys.argv[1]), pathlib.Path("state/saved.txt")
state.parent.mkdir(exist_ok=True)
def stop(*_):
    state.write_text("saved")
    sys.exit(1)
signal.signal(signal.SIGINT, stop)
while not end.exists():
    time.sleep(0.05)
"""


async def drain(fleet: Fleet, worker_id: str, *more: str) -> None:
    done = await asyncio.to_thread(
        run_tenure, "--server", fleet.server.address, "workers", "drain", worker_id, *more, env=fleet.server.env
    )
    assert (done.returncode, done.stdout) == (0, f"{worker_id} drains\n"), done.stderr


async def test_a_worker_finishes_what_it_has_and_leaves(fleet: Fleet, tmp_path: Path) -> None:
    worker = await fleet.worker("a")
    first = await fleet.create(fleet.job(PATIENT, str(tmp_path / "end")))
    await fleet.until_state(first, "RUNNING")
    await drain(fleet, worker.id)
    second = await fleet.create(fleet.job(PATIENT, str(tmp_path / "end")))
    (shown,) = await fleet.caller.browse_workers(fleet.queue)
    assert (shown.draining, list(shown.job_ids)) == (True, [first])
    told = await fleet.caller.explain(second)
    assert "takes no more jobs (draining)" in told.summary
    assert told.workers_draining == 1
    (tmp_path / "end").touch()
    await fleet.until_completed(first)
    assert await worker.wait() == 0
    job = await fleet.caller.job(second)
    assert (state_of(job), job.status.attempt) == ("IN_QUEUE", 0)


async def test_a_worker_gives_back_what_it_has_and_leaves(fleet: Fleet, tmp_path: Path) -> None:
    worker = await fleet.worker("a")
    job_id = await fleet.create(fleet.job(PATIENT, str(tmp_path / "end"), during=[("state", "state")]))
    await fleet.until_state(job_id, "RUNNING")
    await drain(fleet, worker.id, "--release")
    assert await worker.wait() == 0
    job = await fleet.until_state(job_id, "IN_QUEUE")
    assert (job.status.num_failures, job.status.num_interruptions) == (0, 1)
    assert texts_of(job)[-1] == (f"Attempt 1 on {worker.id} was released (an operator asked for it); trying again.")
    assert await fleet.get("state/saved.txt") == b"saved"
    # The next one goes on with it.
    (tmp_path / "end").touch()
    await fleet.worker("b")
    job = await fleet.until_completed(job_id)
    assert job.status.attempt == 2
