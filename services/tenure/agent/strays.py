"""Processes that left their command's process group, and how to tell whose they are.

A process that calls `setsid` and lets its parent die is no longer in the group that a signal reaches. The agent makes
itself the reaper of such orphans (`PR_SET_CHILD_SUBREAPER`), finds them below itself in /proc and knows them by the
`TENURE_JOB_DIR` of their environment, which is different for every attempt.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
MARK = "TENURE_JOB_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as /proc shows it. `session` is the process number of its session's leader, dead or alive."""

    pid: int
    parent: int
    session: int
    zombie: bool


def processes() -> list[Process]:
    """All processes of this machine (of this PID namespace)."""
    found = []
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            stat = Path(entry.path, "stat").read_bytes()
        except OSError:
            continue
        # The name stands in brackets and may hold anything, brackets too.
        state, parent, _, session = stat[stat.rindex(b")") + 2 :].split(b" ", 4)[:4]
        found.append(
            Process(pid=int(entry.name), parent=int(parent), session=int(session), zombie=state in (b"Z", b"X"))
        )
    return found


def below(root: int, everything: Iterable[Process]) -> list[Process]:
    """The descendants of a process."""
    children: dict[int, list[Process]] = {}
    for process in everything:
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = list(children.get(root, ()))
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting.extend(children.get(process.pid, ()))
    return found


def sessions_below(root: int) -> frozenset[int]:
    """The sessions of a process and of its descendants, by the number of the leader."""
    everything = processes()
    known = below(root, everything) + [process for process in everything if process.pid == root]
    return frozenset(process.session for process in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """All processes at one moment, those of them that descend from this one, and whose those say they are."""

    everything: list[Process]
    ours: list[Process]
    job_dirs: dict[int, str]


def census() -> Census:
    """Look at every process once. Takes some 30 µs for each: call it in a thread."""
    everything = processes()
    ours = below(os.getpid(), everything)
    found = {process.pid: job_dir_of(process.pid) for process in ours if not process.zombie}
    return Census(everything=everything, ours=ours, job_dirs={pid: each for pid, each in found.items() if each})


def job_dir_of(pid: int) -> str | None:
    """TENURE_JOB_DIR of a process's first environment; None: it has none, or it may not be read."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = MARK.encode() + b"="
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def kill_below(folder: Path) -> int:
    """SIGKILL to every process whose job directory lies below a folder: what an earlier agent left running.

    Returns:
        How many there were.
    """
    killed = 0
    for process in processes():
        job_dir = None if process.zombie or process.pid == os.getpid() else job_dir_of(process.pid)
        if job_dir is not None and Path(job_dir).is_relative_to(folder):
            kill(process.pid)
            killed += 1
    return killed


def kill(pid: int) -> None:
    """SIGKILL; gone already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def reap(found: Iterable[Process], leaders: Collection[int]) -> None:
    """Collect dead orphans that became our children; never those whose end somebody else waits for."""
    for process in found:
        if process.zombie and process.parent == os.getpid() and process.pid not in leaders:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's environment and memory (it knows a token).

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
