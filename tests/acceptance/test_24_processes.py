"""Scenarios 19, 24, 26 and 29 with real processes: commands that are stopped, killed and resumed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.acceptance.callers import outcome_of, state_of, texts_of, type_of
from tests.acceptance.fleet import Fleet
from tests.acceptance.invariants import assert_one_owner

pytestmark = pytest.mark.processes

# Sums 1..100 with a checkpoint every 6 steps, and waits after three of them for somebody to kill it.
SUM = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
state, done, total = pathlib.Path("state/checkpoint.json"), 0, 0
if state.exists():
    saved = json.loads(state.read_text())
    done, total = saved["done"], saved["total"]
with open(folder / "starts", "a") as starts:
    starts.write(f"{done}\\n")
state.parent.mkdir(exist_ok=True)
for n in range(done + 1, 101):
    total += n
    if n % 6 == 0:
        new = state.with_name("new")
        new.write_text(json.dumps({"done": n, "total": total}))
        new.replace(state)
        while n in (12, 42, 78):
            time.sleep(0.1)
pathlib.Path("out").mkdir(exist_ok=True)
pathlib.Path("out/result.json").write_text(json.dumps({"sum": total}))
"""


async def test_scenario_24_three_lost_workers(fleet: Fleet, tmp_path: Path) -> None:
    specification = fleet.job(
        SUM, str(tmp_path), before=[("state", "state")], during=[("state", "state")], after=[("out", "out")]
    )
    specification.max_failures = 1
    job_id = await fleet.create(specification)
    names = []
    for number, checkpoint in enumerate((12, 42, 78), start=1):
        worker = await fleet.worker(f"w{number}")
        names.append(worker.id)
        await fleet.until_attempt(job_id, number)
        await fleet.until_object("state/checkpoint.json", f'"done": {checkpoint},'.encode())
        worker.kill()
        await _lost(fleet, job_id, number)
    names.append((await fleet.worker("w4")).id)
    job = await fleet.until_completed(job_id)
    assert await fleet.json("out/result.json") == {"sum": 5050}
    assert (tmp_path / "starts").read_text().split() == ["0", "12", "42", "78"]
    assert [attempt.machine_id for attempt in job.attempts] == names
    assert job.status.attempt == 4
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 3
    assert_one_owner(await fleet.caller.events(job_id))


async def _lost(fleet: Fleet, job_id: str, times: int) -> None:
    async def lost() -> bool:
        return [type_of(event) for event in await fleet.caller.events(job_id)].count("LeaseExpired") == times

    await fleet.eventually(lost, f"the loss of attempt {times}", 30)


# Counts; on the first signal it saves how far it came and ends, successfully or not.
SAVER = """
import json, os, pathlib, signal, sys, time
folder, code, pause = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
state = pathlib.Path("state/checkpoint.json")
state.parent.mkdir(exist_ok=True)
began = json.loads(state.read_text())["count"] if state.exists() else 0
count = began
start = len(list(folder.glob("began-*"))) + 1
def save(number, frame):
    time.sleep(pause)
    state.write_text(json.dumps({"count": count, "signal": signal.Signals(number).name}))
    (folder / f"saved-{start}").write_text(str(count))
    sys.exit(code)
signal.signal(signal.SIGINT, save)
(folder / f"began-{start}").write_text(f"{began} ")
while not (folder / "end").exists():
    count += 1
    time.sleep(0.01)
"""


@pytest.mark.parametrize("code", [0, 1], ids=["exit 0", "exit 1"])
async def test_scenario_26_drain(fleet: Fleet, tmp_path: Path, code: int) -> None:
    first = await fleet.worker("first", slots=2)
    rules = [("state", "state")]
    job_id = await fleet.create(fleet.job(SAVER, str(tmp_path), str(code), "1", before=rules, during=rules))
    await fleet.until_file(tmp_path / "began-1")
    said = len(first.output())
    first.signal(signal.SIGTERM)
    await first.says("draining", after=said)
    await first.says(r"\bconnected\b", after=said)
    # It has told the server: it has a free slot, but is given no new job.
    younger = await fleet.create(fleet.job("pass"))
    job = await fleet.until_state(job_id, "IN_QUEUE")
    assert await first.wait() == 0
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 1
    assert "was released" in texts_of(job)[-1]
    assert await fleet.caller.event_types(younger) == ["JobCreated"]
    saved = (tmp_path / "saved-1").read_text()
    # The last pass has stored what it saved after the signal.
    assert await fleet.json("state/checkpoint.json") == {"count": int(saved), "signal": "SIGINT"}

    second = await fleet.worker("second")
    assert (await fleet.until_file(tmp_path / "began-2")).strip() == saved
    (tmp_path / "end").touch()
    job = await fleet.until_completed(job_id)
    assert job.status.num_failures == 0
    assert job.status.num_interruptions == 1
    assert [attempt.machine_id for attempt in job.attempts] == [first.id, second.id]
    done = await fleet.until_completed(younger)
    assert [attempt.machine_id for attempt in done.attempts] == [second.id]


async def test_scenario_29_grace(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.worker("w")
    job_id = await fleet.create(fleet.job(SAVER, str(tmp_path), "0", "2", during=[("state", "state")]))
    await fleet.until_file(tmp_path / "began-1")
    await fleet.caller.terminate(job_id, grace_s=10)
    assert await fleet.state(job_id) == "CANCELING"
    job = await fleet.until_state(job_id, "SUCCESS")
    assert outcome_of(job) == "CANCELLED"
    assert texts_of(job)[2:] == ["Your job is being cancelled.", "Your job has been cancelled!"]
    saved = (tmp_path / "saved-1").read_text()
    assert await fleet.json("state/checkpoint.json") == {"count": int(saved), "signal": "SIGINT"}


async def test_scenario_04_the_command_is_stopped(fleet: Fleet, tmp_path: Path) -> None:
    """Ended without grace: the job is over at once, and soon nothing of it runs."""
    worker = await fleet.worker("w")
    program = SAVER.replace("signal.signal(signal.SIGINT, save)", "signal.signal(signal.SIGINT, signal.SIG_IGN)")
    job_id = await fleet.create(fleet.job(program, str(tmp_path), "0", "0"))
    await fleet.until_file(tmp_path / "began-1")
    await fleet.caller.terminate(job_id)
    assert outcome_of(await fleet.caller.job(job_id)) == "CANCELLED"
    # The slot is free again once the worker has said that the attempt is stopped.
    await fleet.until_completed(await fleet.create(fleet.job("pass")))
    assert worker.running


async def test_scenario_19_death_by_signal(fleet: Fleet) -> None:
    await fleet.worker("w")
    specification = fleet.job("import os; os.kill(os.getpid(), 9)")
    specification.max_failures = 1
    job_id = await fleet.create(specification)
    job = await fleet.until_state(job_id, "FAILURE")
    assert outcome_of(job) == "FAILED"
    assert job.attempts[0].signal == 9
    assert not job.attempts[0].HasField("exit_code")


async def test_scenario_10_a_command_that_has_not_started_never_starts(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.worker("w", slots=4)
    program = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
    ended = []
    for n in range(25):
        marker = tmp_path / f"ran-{n}"
        job_id = await fleet.create(fleet.job(program, str(marker)))
        await asyncio.sleep(0.001 * (n % 5))
        await fleet.caller.terminate(job_id)
        started = "JobStarted" in await fleet.caller.event_types(job_id)
        ended.append((job_id, marker, started))
    await fleet.until_completed(await fleet.create(fleet.job("pass")))
    await asyncio.sleep(0.5)
    for job_id, marker, started in ended:
        assert state_of(await fleet.caller.job(job_id)) == "SUCCESS"
        assert started or not marker.exists()
