"""Commands as real processes: what starts, what is told, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tenure.agent.process import LocalRunner
from tenure.agent.runner import CommandNotStarted, Exit, Ladder
from tenure.agent.sync.offload import Threads
from tenure.runtime.clock import SystemClock
from tests.agent.commands import line, python, ready
from tests.agent.conftest import Eventually

NS = 1_000_000_000

pytestmark = pytest.mark.processes


async def test_exit_code_and_output(runner: LocalRunner, tmp_path: Path) -> None:
    command = await runner.start(line(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 7"))
    assert await command.wait() == Exit(code=7, signal=None)
    assert command.output.tail() == b"out\nerr\n"
    assert str(await command.wait()) == "exit code 7"


async def test_environment_is_exactly_what_was_given(runner: LocalRunner, tmp_path: Path) -> None:
    wanted = line(tmp_path, "env", "-0", ODD="a=b\nc")
    command = await runner.start(wanted)
    await command.wait()
    pairs = command.output.tail().decode().rstrip("\0").split("\0")
    assert dict(pair.split("=", 1) for pair in pairs) == wanted.environment


async def test_arguments_meet_no_shell(runner: LocalRunner, tmp_path: Path) -> None:
    command = await runner.start(line(tmp_path, "printf", "%s|", "$HOME", "; echo no", "*", ""))
    await command.wait()
    assert command.output.tail() == b"$HOME|; echo no|*||"


async def test_program_is_found_on_the_agents_path_not_the_jobs(runner: LocalRunner, tmp_path: Path) -> None:
    (tmp_path / "echo").write_text("#!/bin/sh\necho hijacked\n")
    (tmp_path / "echo").chmod(0o755)
    command = await runner.start(line(tmp_path, "echo", "mine", PATH=str(tmp_path)))
    await command.wait()
    assert command.output.tail() == b"mine\n"


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
async def test_what_the_machine_lacks_is_not_the_commands_fault(
    runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refused)
    open_before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as raised:
        await runner.start(line(tmp_path, "true"))
    assert raised.value.errno == number
    assert os.listdir("/proc/self/fd") == open_before


async def test_relative_path_counts_from_the_job_directory(runner: LocalRunner, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/run").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "bin/run").chmod(0o755)
    command = await runner.start(line(tmp_path, "bin/run"))
    await command.wait()
    assert command.output.tail().decode().strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("program", "content", "why"),
    [
        ("no-such-program", None, "there is no program 'no-such-program' on the worker's PATH"),
        ("./missing", None, "there is no program './missing'"),
        ("./plain", "#!/bin/sh\n", "may not be run"),
        ("./bad", "#!/no/such/interpreter\n", "interpreter"),
    ],
)
async def test_what_cannot_be_started_says_why(
    runner: LocalRunner, tmp_path: Path, program: str, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / program).write_text(content)
        (tmp_path / program).chmod(0o755 if "bad" in program else 0o644)
    with pytest.raises(CommandNotStarted) as caught:
        await runner.start(line(tmp_path, program))
    assert why in str(caught.value)


async def test_nul_in_an_argument_is_refused(runner: LocalRunner, tmp_path: Path) -> None:
    with pytest.raises(CommandNotStarted, match="NUL"):
        await runner.start(line(tmp_path, "echo", "a\0b"))


async def test_death_by_signal_is_told_as_signal(runner: LocalRunner, tmp_path: Path) -> None:
    command = await runner.start(python(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    ended = await command.wait()
    assert (ended.code, ended.signal, ended.oom) == (None, signal.SIGSEGV, False)
    assert str(ended) == "ended by SIGSEGV"


DEAF = """
import os, signal, sys, time
def note(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if number == signal.{last}: sys.exit(3)
signal.signal(signal.SIGINT, note); signal.signal(signal.SIGTERM, note)
os.write(1, b"ready\\n")
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize(
    ("last", "told", "code", "number", "ladder"),
    [
        ("SIGINT", "SIGINT", 3, None, Ladder(terminate_after_ns=60 * NS)),
        ("SIGTERM", "SIGINT SIGTERM", 3, None, Ladder(terminate_after_ns=NS // 2, kill_after_ns=60 * NS)),
        ("SIGKILL", "SIGINT SIGTERM", None, signal.SIGKILL, Ladder(terminate_after_ns=NS // 2, kill_after_ns=NS // 2)),
    ],
)
async def test_the_ladder_goes_down_as_far_as_needed(
    runner: LocalRunner,
    tmp_path: Path,
    clock: SystemClock,
    eventually: Eventually,
    last: str,
    told: str,
    code: int | None,
    number: int | None,
    ladder: Ladder,
) -> None:
    command = await runner.start(python(tmp_path, DEAF.format(last=last)))
    await ready(command, eventually)
    descent = asyncio.ensure_future(ladder.descend(command, clock))
    ended = await command.wait()
    descent.cancel()
    await asyncio.gather(descent, return_exceptions=True)
    assert command.output.tail().decode().split()[1:] == told.split()
    assert (ended.code, ended.signal) == (code, number)


async def test_a_signal_reaches_the_whole_group(runner: LocalRunner, tmp_path: Path, eventually: Eventually) -> None:
    code = """
    import os, signal, subprocess, sys
    inner = '''
    import os, signal, sys, time
    def note(number, frame):
        os.write(1, b"inner ")
        sys.exit()
    signal.signal(signal.SIGINT, note)
    os.write(1, b"ready ")
    time.sleep(60)
    '''
    signal.signal(signal.SIGINT, lambda *_: None)
    subprocess.run([sys.executable, "-c", inner])
    print("outer", flush=True)
    """
    command = await runner.start(python(tmp_path, code))
    await ready(command, eventually)
    command.signal(signal.SIGINT)
    assert (await command.wait()).code == 0
    assert command.output.tail().decode().split() == ["ready", "inner", "outer"]


async def test_output_without_end_delays_nobody(runner: LocalRunner, tmp_path: Path) -> None:
    command = await runner.start(line(tmp_path, "yes", "x" * 1000))
    turns = 0
    async with asyncio.timeout(60):
        while command.output.end < 20_000_000:
            await asyncio.sleep(0)
            turns += 1
    command.kill()
    await command.wait()
    # Every turn of the loop read at most one piece, so others had their turn in between.
    assert turns >= 20_000_000 / 65536
    assert len(command.output.tail()) == 64 * 1024
    assert command.output.end >= 20_000_000


async def test_what_is_printed_last_is_kept(runner: LocalRunner, tmp_path: Path) -> None:
    command = await runner.start(python(tmp_path, "print('y' * 900_000); print('end')"))
    await command.wait()
    assert command.output.end == 900_005
    assert command.output.last_lines(1, 100) == "end"


async def test_output_may_be_closed_early(runner: LocalRunner, tmp_path: Path) -> None:
    command = await runner.start(line(tmp_path, "sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 4"))
    assert (await command.wait()).code == 4


async def test_standard_input_is_empty(runner: LocalRunner, tmp_path: Path) -> None:
    command = await runner.start(line(tmp_path, "cat"))
    assert (await command.wait()).code == 0


async def test_out_of_memory_is_told(
    tmp_path: Path, make: Callable[..., LocalRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's counter is played: only some machines hand the memory controller down."""
    runner, kills = make(), [0, 1]
    monkeypatch.setattr(runner, "oom_kills", lambda cgroup: kills.pop(0))
    command = await runner.start(line(tmp_path, "sleep", "600"))
    os.kill(command.pid, signal.SIGKILL)
    ended = await command.wait()
    assert ended == Exit(code=None, signal=signal.SIGKILL, oom=True)
    assert str(ended) == "ended by SIGKILL (out of memory)"


async def test_an_end_is_told_while_files_are_read_that_take_long(
    clock: SystemClock, tmp_path: Path, eventually: Eventually
) -> None:
    """Another attempt's uploads may keep all their places for minutes; this one's grace may be over by then."""
    go_on, begun = Event(), []

    def long(abort: Event) -> None:
        begun.append(abort)
        go_on.wait(60)

    with ThreadPoolExecutor(2) as threads:
        files = Threads(threads, long_at_once=1)
        reading = [asyncio.create_task(files.run_long(long)) for _ in range(3)]
        try:
            await eventually(lambda: begun)
            runner = LocalRunner(clock=clock, offload=files, path="/usr/bin:/bin")
            command = await runner.start(line(tmp_path, "true"))
            async with asyncio.timeout(20):
                assert (await command.wait()).code == 0
                assert await files.run(lambda: "short") == "short"
            assert not any(each.done() for each in reading)
        finally:
            go_on.set()
            await asyncio.gather(*reading)


def test_a_ladder_leaves_time_for_the_last_upload() -> None:
    ladder = Ladder(terminate_after_ns=30 * NS)
    assert ladder.inside(30 * NS) == Ladder(terminate_after_ns=25 * NS, kill_after_ns=int(2.5 * NS))
    assert ladder.inside(0) == Ladder(terminate_after_ns=0, kill_after_ns=0)
    assert ladder.inside(3600 * NS) == Ladder(terminate_after_ns=30 * NS, kill_after_ns=int(2.5 * NS))
