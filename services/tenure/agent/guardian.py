"""A small program beside the agent that ends its commands when the agent dies without doing so.

It is started by path with the standard library alone, reads lines from standard input (`+ PGID CGROUP` when a command
has started, `- PGID` when it is gone; CGROUP is `-` where there is none) and, at the end of its input, kills what is
left and removes the cgroups below its argument. The agent's death closes that pipe, whatever the agent died of.
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
    if len(sys.argv) > 1:
        remove(sys.argv[1])


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
