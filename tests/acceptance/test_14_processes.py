"""Scenarios 14 and 15 with real processes: a lost worker, and one that comes back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tenure.v1 import job_pb2
from tests.acceptance.callers import texts_of, type_of
from tests.acceptance.faulty_store import faulty_store
from tests.acceptance.fleet import Fleet
from tests.acceptance.invariants import assert_one_owner
from tests.acceptance.waiting import eventually
from tests.acceptance.wire import wire

pytestmark = pytest.mark.processes

# Says where it is, then writes its attempt's number into the checkpoint again and again until it is told to end.
WRITER = """
import os, pathlib, sys, time
attempt, folder = os.environ["TENURE_ATTEMPT"], pathlib.Path(sys.argv[1])
(folder / f"pid-{attempt}").write_text(str(os.getpid()))
pathlib.Path("state").mkdir(exist_ok=True)
n = 0
while not (folder / "end").exists():
    n += 1
    pathlib.Path("state/checkpoint").write_text(f"attempt {attempt} write {n}")
    time.sleep(0.05)
"""


def _writer(fleet: Fleet, folder: Path) -> job_pb2.JobSpecification:
    return fleet.job(WRITER, str(folder), during=[("state", "state")], max_wait_s=0.3)


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_scenario_14_lost_worker(fleet: Fleet, tmp_path: Path) -> None:
    first = await fleet.worker("first")
    job_id = await fleet.create(_writer(fleet, tmp_path))
    await fleet.until_attempt(job_id, 1)
    command = int(await fleet.until_file(tmp_path / "pid-1"))
    second = await fleet.worker("second")
    first.kill()

    job = await fleet.until_attempt(job_id, 2)
    assert job.status.machine_id == second.id
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 1
    text = f"Attempt 1 on {first.id} was lost (no heartbeat for 2 s); trying again."
    assert text in texts_of(job)
    events = await fleet.caller.events(job_id)
    (expired,) = [event for event in events if event.HasField("lease_expired")]
    assert expired.lease_expired.silence.ToMilliseconds() >= 2_000

    async def gone() -> bool:
        return not _alive(command)

    # What the dead worker had started does not outlive it.
    await eventually(gone, "the end of the lost worker's command")
    await fleet.until_object("state/checkpoint", b"attempt 2")
    (tmp_path / "end").touch()
    await fleet.until_completed(job_id)
    assert (await fleet.get("state/checkpoint") or b"").startswith(b"attempt 2")
    assert_one_owner(await fleet.caller.events(job_id))


async def test_scenario_15_fencing(fleet: Fleet, tmp_path: Path) -> None:
    """A worker that is cut off stops writing before its lease is over, and gives up when it is told."""
    with faulty_store(fleet.store.endpoint_url) as own_store:
        async with wire(fleet.server.address) as line:
            old = await fleet.worker("old", faulty=own_store, server_address=line.address)
            job_id = await fleet.create(_writer(fleet, tmp_path))
            await fleet.until_attempt(job_id, 1)
            command = int(await fleet.until_file(tmp_path / "pid-1"))
            await fleet.until_object("state/checkpoint", b"attempt 1")
            new = await fleet.worker("new")
            line.cut()
            job = await fleet.until_attempt(job_id, 2)
            assert job.status.machine_id == new.id
            # It was not told to stop: the command goes on, but what it writes stays with it.
            assert _alive(command)
            (expired,) = [e for e in await fleet.caller.events(job_id) if type_of(e) == "LeaseExpired"]
            expired_at = expired.time.ToMicroseconds() / 1e6
            writes = [one for one in own_store.seen if one.method in ("PUT", "POST")]
            assert writes
            assert max(one.ended for one in writes) < expired_at
            await fleet.until_object("state/checkpoint", b"attempt 2")

            healed_at = time.time()
            await line.mend()

            async def gone() -> bool:
                return not _alive(command)

            await eventually(gone, "the end of the fenced command", within_s=40)
            await old.says(r"lost")
            await asyncio.sleep(1)
            late = [one for one in own_store.seen if one.method in ("PUT", "POST") and one.began > healed_at]
            assert late == []
            assert max(one.ended for one in own_store.seen if one.method in ("PUT", "POST")) < expired_at
            (tmp_path / "end").touch()
            done = await fleet.until_completed(job_id)
            assert done.status.num_interruptions == 1
            assert (await fleet.get("state/checkpoint") or b"").startswith(b"attempt 2")
            assert_one_owner(await fleet.caller.events(job_id))
