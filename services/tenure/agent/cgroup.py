"""One cgroup (v2) a command, where the agent may make one: nothing of the command gets away.

`cgroup.kill` ends everything below it in one step, whatever it forked and however it left its process group, and
`memory.events` says whether the kernel killed for want of memory. Without the right to make one the agent falls back to
process groups, and to the memory counter of the group it lives in itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """The group of one command, a folder of the cgroup file system."""

    folder: Path

    def add(self, pid: int) -> None:
        """Move a process in; gone already is fine."""
        with contextlib.suppress(OSError):
            (self.folder / "cgroup.procs").write_text(f"{pid}\n")

    def pids(self) -> list[int]:
        """Its live processes."""
        try:
            return [int(line) for line in (self.folder / "cgroup.procs").read_text().split()]
        except (OSError, ValueError):
            return []

    def kill(self) -> None:
        """SIGKILL to everything in it."""
        try:
            (self.folder / "cgroup.kill").write_text("1\n")
        except OSError:  # before Linux 5.14
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def oom_kills(self) -> int | None:
        """How often the kernel killed in it for want of memory; None: the memory controller is not on."""
        return read_oom_kills(self.folder / "memory.events")

    def remove(self) -> bool:
        """Remove it; False: something in it has not quite gone yet."""
        try:
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


class CgroupParent:
    """The folder in which an agent makes the groups of its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str) -> Cgroup | None:
        """A fresh group; None: the system refuses one more."""
        folder = self.folder / name
        try:
            folder.mkdir(exist_ok=True)
        except OSError:
            return None
        return Cgroup(folder=folder)

    def kill_stale(self) -> int:
        """End what an earlier agent left behind; how many groups that were."""
        stale = [Cgroup(folder=entry) for entry in self.folder.iterdir() if entry.is_dir()]
        for group in stale:
            group.kill()
            group.remove()
        return len(stale)

    def remove(self) -> None:
        """Remove the parent itself, when nothing is left below it."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def find_cgroup_parent(name: str, proc: Path = Path("/proc/self")) -> CgroupParent | None:
    """Make (or find again) the agent's folder below the group it lives in.

    Args:
        name: the same at every start of the same agent, so that left-overs are found.
        proc: where the kernel describes this process.

    Returns:
        None when this process may not make groups, or has no cgroup v2.
    """
    own = _own_cgroup(proc)
    if own is None:
        return None
    folder = own / name
    try:
        folder.mkdir(exist_ok=True)
        probe = folder / "probe"
        probe.mkdir(exist_ok=True)
        usable = os.access(probe / "cgroup.procs", os.W_OK)
        probe.rmdir()
    except OSError:
        return None
    if not usable:
        return None
    # Only where the parent hands the memory controller down; what is above us is not ours to change.
    with contextlib.suppress(OSError):
        if "memory" in (folder / "cgroup.controllers").read_text().split():
            (folder / "cgroup.subtree_control").write_text("+memory\n")
    return CgroupParent(folder)


def own_oom_counter(proc: Path = Path("/proc/self")) -> Path | None:
    """The memory counter of the group this process lives in, version 2 or 1; None: there is none."""
    own = _own_cgroup(proc)
    candidates = [own / "memory.events"] if own is not None else []
    try:
        for line in (proc / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                for mount in _mounts(proc, "cgroup"):
                    candidates += [mount / path.lstrip("/") / "memory.oom_control", mount / "memory.oom_control"]
    except (OSError, ValueError):
        return None
    return next((file for file in candidates if read_oom_kills(file) is not None), None)


def read_oom_kills(file: Path) -> int | None:
    """The number behind `oom_kill` in such a file; None: it cannot be read."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
        return next((int(fields[1]) for fields in lines if len(fields) == 2 and fields[0] == "oom_kill"), None)
    except (OSError, ValueError):
        return None


def _own_cgroup(proc: Path) -> Path | None:
    try:
        path = next(line[3:] for line in (proc / "cgroup").read_text().splitlines() if line.startswith("0::"))
        mount = next(iter(_mounts(proc, "cgroup2")), None)
    except (OSError, StopIteration):
        return None
    return mount / path.strip().lstrip("/") if mount is not None else None


def _mounts(proc: Path, kind: str) -> list[Path]:
    """Where file systems of a kind are mounted (proc_pid_mountinfo(5): `… MOUNTPOINT … - KIND …`)."""
    found = []
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] == kind:
            found.append(Path(before.split(" ")[4]))
    return found
