"""Nothing of a command stays behind, however it left its process group and whoever died first."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tenure.agent import strays
from tenure.agent.guard import Guard
from tenure.agent.process import LocalRunner
from tests.agent.commands import alive, line, pid_in, python, ready
from tests.agent.conftest import Eventually

NS = 1_000_000_000

pytestmark = pytest.mark.processes


FORKS = """
import os, sys, time
if os.fork() == 0:
    {leave}
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
{end}
"""


@pytest.mark.parametrize("leave", ["pass", "os.setpgid(0, 0)", "os.setsid()"])
@pytest.mark.parametrize("end", ["pass", "print('ready', flush=True); time.sleep(600)"])
async def test_no_process_stays_behind(
    runner: LocalRunner, tmp_path: Path, eventually: Eventually, leave: str, end: str
) -> None:
    file = tmp_path / "pid"
    command = await runner.start(python(tmp_path, FORKS.format(leave=leave, end=end), str(file)))
    pid = await pid_in(file, eventually)
    if end != "pass":
        await ready(command, eventually)
        command.kill()
    ended = await command.wait()
    assert ended.signal == (None if end == "pass" else signal.SIGKILL)
    assert not alive(pid)


async def test_an_orphan_that_hides_its_environment_is_found_when_the_process_is_ours(
    tmp_path: Path, make: Callable[..., LocalRunner], eventually: Eventually
) -> None:
    strays.adopt_orphans()
    runner = make(owns_process=True)
    script = "echo $$ > pid; exec sleep 600"
    command = await runner.start(line(tmp_path, "sh", "-c", f"(setsid env -i /bin/sh -c '{script}' &) ; sleep 0.3"))
    pid = await pid_in(tmp_path / "pid", eventually)
    await command.wait()
    assert not alive(pid)


@pytest.mark.parametrize("session", ["the agent's", "its own"])
async def test_what_a_start_script_left_running_is_no_commands(
    tmp_path: Path, make: Callable[..., LocalRunner], session: str
) -> None:
    sidecar = subprocess.Popen(["sleep", "600"], start_new_session=session == "its own")  # noqa: ASYNC220
    try:
        command = await make(owns_process=True).start(line(tmp_path, "true"))
        await command.wait()
        assert sidecar.poll() is None
    finally:
        sidecar.kill()
        sidecar.wait()


async def test_the_end_of_what_a_library_starts_is_left_to_it(
    tmp_path: Path, make: Callable[..., LocalRunner], eventually: Eventually
) -> None:
    runner = make(owns_process=True)
    started = subprocess.Popen(["sh", "-c", "exit 3"])  # noqa: ASYNC220
    await eventually(lambda: not alive(started.pid))
    command = await runner.start(line(tmp_path, "true"))
    await command.wait()
    assert started.wait() == 3


async def test_one_command_does_not_end_another(runner: LocalRunner, tmp_path: Path) -> None:
    first = await runner.start(line(tmp_path, "sleep", "600", TENURE_JOB_DIR="/first"))
    second = await runner.start(line(tmp_path, "true", TENURE_JOB_DIR="/second"))
    assert (await second.wait()).code == 0
    assert alive(first.pid)
    first.kill()
    assert (await first.wait()).signal == signal.SIGKILL


async def test_the_guardian_ends_what_its_agent_left(tmp_path: Path, make: Callable[..., LocalRunner]) -> None:
    guard = Guard()
    runner = make(guard=guard)
    done = await runner.start(line(tmp_path, "true"))
    await done.wait()
    left = await runner.start(line(tmp_path, "sleep", "600"))
    guard.close()
    assert (await left.wait()).signal == signal.SIGKILL


@pytest.mark.parametrize("leave", ["os.setpgid(0, 0)", "os.setsid()"])
async def test_the_guardian_finds_what_left_its_group(
    tmp_path: Path, make: Callable[..., LocalRunner], eventually: Eventually, leave: str
) -> None:
    guard = Guard(jobs=tmp_path / "jobs")
    folder = tmp_path / "jobs" / "job-1"
    folder.mkdir(parents=True)
    file = tmp_path / "pid"
    code = FORKS.format(leave=leave, end="time.sleep(600)")
    await make(guard=guard).start(python(folder, code, str(file)))
    other = await make().start(line(tmp_path, "sleep", "600", TENURE_JOB_DIR=f"{tmp_path}/jobs-of-another/1"))
    pid = await pid_in(file, eventually)
    guard.close()
    assert not alive(pid)
    assert alive(other.pid)


async def test_left_overs_of_an_earlier_agent_are_found_by_their_folder(
    tmp_path: Path, make: Callable[..., LocalRunner], eventually: Eventually
) -> None:
    runner = make()
    jobs = tmp_path / "jobs"
    mine = await runner.start(line(tmp_path, "sleep", "600", TENURE_JOB_DIR=str(jobs / "a-1" / "work")))
    other = await runner.start(line(tmp_path, "sleep", "600", TENURE_JOB_DIR=str(tmp_path / "jobs2" / "work")))
    # A program's environment is there a moment after it was started.
    await eventually(lambda: strays.job_dir_of(mine.pid) and strays.job_dir_of(other.pid))
    assert strays.kill_below(jobs) == 1
    assert (await mine.wait()).signal == signal.SIGKILL
    assert alive(other.pid)
    other.kill()
    await other.wait()
