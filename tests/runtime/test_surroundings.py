"""A process that was started in odd surroundings; each test starts one."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes


def started(before: str, script: str, *, streams: str = "") -> str:
    """What a program says on descriptor 9 that is executed after `before`, with its streams redirected like that."""
    execute = f"{before}\nimport os, sys\nos.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    shell = f'exec 9>&1; exec "$@" {streams}'
    ended = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-c", execute, script],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        text=True,
    )
    return ended.stdout


SETTLED = "import os, signal, subprocess, sys\nfrom tenure.runtime import surroundings\nsurroundings.settle()\n"


def test_how_a_child_ended_is_known_although_nobody_wanted_to_hear_of_children() -> None:
    before = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    script = "os.write(9, b'%d' % subprocess.run(['sh', '-c', 'exit 3']).returncode)"
    assert started(before, f"import os, subprocess\n{script}") == "0"
    assert started(before, SETTLED + script) == "3"


def test_signals_that_were_blocked_come_again() -> None:
    before = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})"
    script = "os.write(9, b'%d' % len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    assert started(before, SETTLED + script) == "0"


def test_streams_that_were_closed_take_nothing_that_is_meant_for_others() -> None:
    script = "print('lost'); sys.stderr.write('lost'); os.write(9, b'%d %d' % (os.open('.', 0), len(sys.stdin.read())))"
    assert started("", SETTLED + script, streams="<&- >&- 2>&-") == "3 0"


def test_what_is_ignored_stays_so_but_not_for_commands() -> None:
    before = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)"
    script = (
        SETTLED
        + "surroundings.spare_commands()\n"
        + "os.kill(os.getpid(), signal.SIGHUP)\n"
        + "trapped = subprocess.run(['sh', '-c', 'trap \"exit 5\" HUP; kill -s HUP $$; exit 6']).returncode\n"
        + "os.write(9, b'%d' % trapped)"
    )
    assert started(before, script) == "5"
