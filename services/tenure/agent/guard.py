"""The agent's side of its guardian, the program that ends the commands should the agent die."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

from tenure.agent.cgroup import Cgroup, CgroupParent

# How long its start and its end are waited for.
START_S = 30.0
CLOSE_S = 10.0
# Where the modules of a cluster say that Python's own library is.
_KEPT = ("LD_LIBRARY_PATH",)


class Guard:
    """The agent's line to its guardian program, which in the end also removes the agent's cgroups.

    Args:
        cgroups: where the commands' cgroups are.
        jobs: what the job directories of all commands lie in, so that those that left their group are found, too.

    Attributes:
        pid: the guardian's.
        works: it runs; otherwise nobody ends the commands should this process be killed.
    """

    def __init__(self, cgroups: CgroupParent | None = None, jobs: Path | None = None) -> None:
        program = str(Path(__file__).with_name("guardian.py"))
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", program),
                *(str(cgroups.folder) if cgroups else "", str(jobs) if jobs else ""),
            ],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": os.defpath, **{name: os.environ[name] for name in _KEPT if name in os.environ}},
        )
        self.pid = self._process.pid
        self.works = self._has_begun()

    def add(self, group: int, cgroup: Cgroup | None) -> None:
        """A command has started."""
        self._say(f"+ {group} {cgroup.folder if cgroup else '-'}\n")

    def remove(self, group: int) -> None:
        """It is gone."""
        self._say(f"- {group}\n")

    def close(self) -> None:
        """End the guardian; it kills what is still registered, and goes on by itself where that takes long."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=CLOSE_S)

    def _has_begun(self) -> bool:
        """Wait for its first sign of life."""
        assert self._process.stdout is not None
        with self._process.stdout as said:
            ready, _, _ = select.select((said,), (), (), START_S)
            return bool(ready) and said.read(1) == b"\n"

    def _say(self, line: str) -> None:
        # Without its guardian the agent still ends every command itself; only its own sudden death is then not covered.
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            if self._process.stdin is not None:
                self._process.stdin.write(line.encode())
