"""A small program beside the agent that ends its commands when the agent dies without doing so.

It is started by path with the standard library alone, reads lines from standard input (`+ PGID CGROUP` when a command
has started, `- PGID` when it is gone; CGROUP is `-` where there is none) and, at the end of its input, kills what is
left: those groups, and every process whose TENURE_JOB_DIR lies in the folder of its second argument, wherever it went.
Then it removes the cgroups below its first argument. The agent's death closes that pipe, whatever the agent died of.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time


def main() -> None:
    """Read until the agent is gone, then kill."""
    # A terminal's Ctrl-C and a supervisor's SIGTERM to the whole group are the agent's business.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"\n")  # the agent waits for this: from now on nothing is missed
    groups: dict[int, str] = {}
    for line in sys.stdin:
        sign, group, *rest = line.split(maxsplit=2)
        if sign == "+":
            groups[int(group)] = rest[0].strip() if rest else "-"
        else:
            groups.pop(int(group), None)
    for group, folder in groups.items():
        if folder != "-":
            with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.kill"), "w") as file:
                file.write("1\n")
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    cgroups, jobs = sys.argv[1:]
    if jobs:
        kill_strays(jobs)
    if cgroups:
        remove(cgroups)


def kill_strays(jobs: str) -> None:
    """Kill every process of a job below a folder, and what it forks meanwhile, each once; within 10 s.

    One that does not die at once is not waited for: by then an agent may have been started in that folder again, whose
    commands are none of ours.
    """
    known = {os.getpid()}
    mark = b"\0TENURE_JOB_DIR=" + os.fsencode(os.path.join(jobs, ""))
    for _ in range(500):
        running = set(map(int, filter(str.isdigit, os.listdir("/proc"))))
        found = {pid for pid in running - known if _has(pid, mark)}
        if not found:
            return
        known |= found
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _has(pid: int, mark: bytes) -> bool:
    """Whether a process was started with that in its environment; a dead one has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in b"\0" + file.read()
    except OSError:
        return False


def remove(parent: str) -> None:
    """Remove the cgroups in a folder and the folder, as soon as what was killed in them is gone; within 10 s."""
    for _ in range(500):
        with contextlib.suppress(OSError):
            for entry in [each.path for each in os.scandir(parent) if each.is_dir()]:
                os.rmdir(entry)
            os.rmdir(parent)
        if not os.path.isdir(parent):
            return
        time.sleep(0.02)


if __name__ == "__main__":
    main()
