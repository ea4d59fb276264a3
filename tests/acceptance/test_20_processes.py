"""Scenarios 20, 21, 22 and 23 with a real object store: what is copied before, during and after a command."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from pathlib import Path

import pytest

from tenure.v1 import job_pb2
from tests.acceptance.callers import duration, texts_of
from tests.acceptance.fleet import Fleet

pytestmark = pytest.mark.processes

DIGESTS = """
import hashlib, json, pathlib, sys
pathlib.Path(sys.argv[1]).touch()
files = [p for p in pathlib.Path("in").rglob("*") if p.is_file() and not p.name.startswith(".")]
digests = {str(p.relative_to("in")): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
pathlib.Path("out").mkdir(exist_ok=True)
pathlib.Path("out/digests.json").write_text(json.dumps(digests))
"""


async def _forty_five(fleet: Fleet) -> dict[str, str]:
    generator = random.Random(45)
    files = {
        f"{'deep/er/' * (n % 3)}file-{n:02}": generator.randbytes(generator.randrange(1, 60_000)) for n in range(44)
    }
    files["empty"] = b""
    for name, data in files.items():
        await fleet.put(f"in/{name}", data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


async def test_scenario_20_before_sync_is_complete_or_nothing_runs(fleet: Fleet, tmp_path: Path) -> None:
    expected = await _forty_five(fleet)
    assert len(expected) == 45
    ran = tmp_path / "ran"
    fleet.faulty.refuse("GET", "file-17")
    first = await fleet.worker("first")
    job_id = await fleet.create(fleet.job(DIGESTS, str(ran), before=[("in", "in")], after=[("out", "out")]))
    await fleet.until_event(job_id, "AttemptFailed")
    assert not ran.exists()
    job = await fleet.caller.job(job_id)
    assert job.attempts[0].stage == job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
    assert job.attempts[0].machine_id == first.id
    assert "file-17" in job.attempts[0].message
    assert not job.status.HasField("started_at")
    assert job.status.num_failures == 1

    fleet.faulty.heal()
    await fleet.worker("second")
    await fleet.until_completed(job_id)
    assert await fleet.json("out/digests.json") == expected


async def test_scenario_20_a_key_with_dots_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.put("in/a-file", b"harmless")
    fleet.faulty.rewrite("", b"/in/a-file</Key>", b"/in/../../../a-file</Key>")
    await fleet.worker("first")
    ran = tmp_path / "ran"
    job_id = await fleet.create(fleet.job(DIGESTS, str(ran), before=[("in", "in")]))
    await fleet.until_event(job_id, "AttemptFailed")
    job = await fleet.caller.job(job_id)
    assert job.attempts[0].stage == job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
    assert not ran.exists()
    assert not any("a-file" in names for _, _, names in os.walk(tmp_path))


# Writes early.txt at once and a file again and again; the last time when it is told that an upload is in flight.
REWRITER = """
import os, pathlib, sys, time
folder, times, pause, code = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.01)
pathlib.Path("state").mkdir(exist_ok=True)
pathlib.Path("state/early.txt").write_text("made before anybody watched")
target = pathlib.Path("state/file")
for n in range(1, times - 1):
    target.write_text(f"write {n} " + "x" * 50_000)
    time.sleep(pause)
(folder / "nearly").write_text("x")
wait_for("hold")
target.write_text(f"write {times - 1} " + "x" * 50_000)
wait_for("go")
target.write_text(f"write {times} " + "y" * 70_000)
(folder / "done").write_text("x")
os._exit(code)
"""


@pytest.mark.parametrize(("code", "pause_s"), [(0, 0.2), (3, 0.03)], ids=["exit 0", "exit 3"])
async def test_scenario_21_the_last_write_is_never_lost(
    fleet: Fleet, tmp_path: Path, code: int, pause_s: float
) -> None:
    await fleet.worker("w")
    specification = fleet.job(REWRITER, str(tmp_path), "50", str(pause_s), str(code), during=[("state", "state")])
    specification.max_failures = 1
    job_id = await fleet.create(specification)
    await fleet.until_file(tmp_path / "nearly")
    await fleet.until_object("state/file", b"write 48 ")
    held = fleet.faulty.hold("PUT", "state/file")
    (tmp_path / "hold").touch()
    assert await asyncio.to_thread(held.arrived.wait, 60)
    # The upload of the last but one write is in flight; now comes the last, and the process is gone at once.
    (tmp_path / "go").touch()
    await fleet.until_file(tmp_path / "done")
    assert await fleet.state(job_id) == "RUNNING"
    assert (await fleet.get("state/file") or b"").startswith(b"write 48 ")
    held.release()
    job = await fleet.until_state(job_id, "SUCCESS" if code == 0 else "FAILURE")
    # The very moment the end is known the store has the last bytes.
    assert await fleet.get("state/file") == b"write 50 " + b"y" * 70_000
    assert await fleet.get("state/early.txt") == b"made before anybody watched"
    assert job.status.attempt == 1


OUTPUT = """
import pathlib
pathlib.Path("out").mkdir(exist_ok=True)
for n in range(25):
    pathlib.Path(f"out/result-{n:02}").write_bytes(bytes([n]) * 10_000)
"""


async def test_scenario_22_success_implies_uploaded(fleet: Fleet) -> None:
    fleet.faulty.fail("PUT", "/out/", times=2)
    held = fleet.faulty.hold("PUT", "/out/result-24")
    await fleet.worker("w")
    job_id = await fleet.create(fleet.job(OUTPUT, after=[("out", "out")]))
    assert await asyncio.to_thread(held.arrived.wait, 60)
    await fleet.until_event(job_id, "JobHeartbeat")
    assert await fleet.state(job_id) == "RUNNING"
    held.release()
    await fleet.until_completed(job_id)
    assert await fleet.keys("out") == {f"result-{n:02}" for n in range(25)}
    assert fleet.faulty.count("PUT", "/out/", status=503) == 2
    assert await fleet.get("out/result-24") == bytes([24]) * 10_000


async def test_scenario_22_unreachable_beyond_the_budget(fleet: Fleet) -> None:
    specification = fleet.job(OUTPUT, after=[("out", "out")])
    specification.sync_retry_budget.CopyFrom(duration(4))
    await fleet.worker("w")
    fleet.faulty.down = True
    job_id = await fleet.create(specification)
    await fleet.until_event(job_id, "AttemptReleased")
    job = await fleet.caller.job(job_id)
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 1
    assert "was released" in next(text for text in texts_of(job) if text.startswith("Attempt 1"))
    types = await fleet.caller.event_types(job_id)
    assert "LeaseExpired" not in types
    assert "JobTerminated" not in types
    # Twice the length of its lease it was out of reach of the store, and was heard of all the time.
    assert job.attempts[0].num_heartbeats >= 3

    fleet.faulty.heal()
    job = await fleet.until_completed(job_id)
    assert job.status.attempt >= 2
    assert await fleet.keys("out") == {f"result-{n:02}" for n in range(25)}


COMPRESSED = """
import pathlib
pathlib.Path("out/deep").mkdir(parents=True)
pathlib.Path("out/text").write_text("compress me " * 5000)
pathlib.Path("out/deep/empty").write_bytes(b"")
pathlib.Path("out/own.gz").write_bytes(b"not really gzip, but mine")
"""


async def test_scenario_23_compression_round_trip(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.worker("w")
    writer = fleet.job(COMPRESSED, after=[("in", "out")])
    writer.compression = True
    await fleet.until_completed(await fleet.create(writer))
    keys = await fleet.keys("in")
    assert {"text.gz", "deep/empty.gz"} <= keys
    assert await fleet.encoding("in/text.gz") == "gzip"
    assert len(await fleet.get("in/text.gz") or b"") < 5000

    # Somebody else's file that only looks compressed.
    await fleet.put("in/x.gz", b"\x1f\x8b somebody's own")
    reader = fleet.job(DIGESTS, str(tmp_path / "ran"), before=[("in", "in")], after=[("result", "out")])
    await fleet.until_completed(await fleet.create(reader))
    expected = {
        "text": b"compress me " * 5000,
        "deep/empty": b"",
        "own.gz": b"not really gzip, but mine",
        "x.gz": b"\x1f\x8b somebody's own",
    }
    assert await fleet.json("result/digests.json") == {
        name: hashlib.sha256(data).hexdigest() for name, data in expected.items()
    }
