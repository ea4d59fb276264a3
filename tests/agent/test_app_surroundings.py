"""A worker whose starter left it odd surroundings: signals turned off, nobody to listen, another character set."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.agent.conftest import Eventually
from tests.agent.fake_server import FakeServer, assignment
from tests.agent.worker_process import Start, ended, running

pytestmark = pytest.mark.processes

SIGNALS_OFF = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
os.execv(sys.argv[1], sys.argv[1:])
"""


async def test_signals_that_its_starter_turned_off_count_for_it_and_its_commands(
    start: Start, server: FakeServer, eventually: Eventually
) -> None:
    process = await start(before=(sys.executable, "-c", SIGNALS_OFF))
    session = await server.session()
    await session.welcome()
    # With SIGCHLD ignored the kernel forgets how a child ended, and Python tells that as 0.
    names = ("HUP", "INT", "QUIT", "USR2")
    trapped = "; ".join(f"trap 'heard=${{heard}}{name}' {name}; kill -s {name} $$" for name in names)
    script = f"{trapped}; echo $heard; exit 3"
    await session.started(assignment(command="sh", arguments=("-c", script)))
    failed = (await session.reported("failed")).failed
    assert (failed.exit_code, failed.message) == (3, "HUPINTQUITUSR2")
    process.send_signal(signal.SIGHUP)  # it goes on ignoring that, as `nohup` asks for
    status = Path(f"/proc/{process.pid}/status")
    # For a moment all are blocked wherever a process or a thread is started.
    await eventually(lambda: "SigBlk:\t0000000000000000\n" in status.read_text())


UNHEARD = ("sh", "-c", 'exec "$@" > /dev/full 2> /dev/full', "sh")


async def drains(
    start: Start, server: FakeServer, tmp_path: Path, eventually: Eventually, number: int, before: tuple[str, ...] = ()
) -> None:
    """A worker that runs a job gives it back at the signal, and ends."""
    process = await start(before=before)
    session = await server.session()
    await session.welcome()
    await running(session, tmp_path, eventually)
    process.send_signal(number)
    session = await server.session()
    await session.keep("lease-1")
    assert (await session.reported("released")).released.reason == "worker is draining"
    await session.next("goodbye")
    session.end()
    assert (await ended(process))[0] == 0


async def test_what_cannot_be_logged_takes_no_job_along(
    start: Start, server: FakeServer, tmp_path: Path, eventually: Eventually
) -> None:
    await drains(start, server, tmp_path, eventually, signal.SIGTERM, UNHEARD)


async def test_a_terminal_that_goes_away_drains(
    start: Start, server: FakeServer, tmp_path: Path, eventually: Eventually
) -> None:
    await drains(start, server, tmp_path, eventually, signal.SIGHUP)


async def test_names_of_files_have_to_be_utf_8(start: Start) -> None:
    code, out, err = await ended(await start(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"))
    assert (code, out) == (2, "")
    assert err.startswith("tenure: file names are not UTF-8 with this locale\n")
    assert "set LC_ALL=C.UTF-8" in err
