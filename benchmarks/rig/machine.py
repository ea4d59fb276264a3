"""The machine in words, and who else keeps it busy: a benchmark on a busy machine measures the others.

Processor times come from /proc; elsewhere than on Linux they are left out.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PACKAGES = ("tenure", "grpcio", "protobuf", "apsw", "uvloop", "protovalidate")


def describe() -> dict[str, object]:
    """Processors, memory, system and versions; nothing that names the machine."""
    return {
        "processors": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def processor_s(pid: int) -> float | None:
    """Processor time that a process has used; None where that cannot be had."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * _TICK_S


@dataclass(frozen=True, slots=True)
class Mark:
    """The processor times at one instant: all of the machine, and of each of our processes."""

    at_s: float
    busy_s: float | None
    ours_s: dict[int, float]

    @classmethod
    def now(cls, pids: Sequence[int]) -> Mark:
        """Now; `pids` are the processes that take part."""
        ours = {pid: used for pid in (*pids, os.getpid()) if (used := processor_s(pid)) is not None}
        return cls(time.monotonic(), _busy_s(), ours)

    def used_since(self, start: Mark, pid: int) -> float | None:
        """Processor time that one of our processes has used since then, in seconds."""
        if pid not in self.ours_s or pid not in start.ours_s:
            return None
        return self.ours_s[pid] - start.ours_s[pid]

    def others_since(self, start: Mark) -> float | None:
        """How many processors were busy with something else since then, on average."""
        if self.busy_s is None or start.busy_s is None or self.at_s - start.at_s < 50 * _TICK_S:
            return None  # ticks are too coarse for less
        ours = sum(used - start.ours_s.get(pid, 0.0) for pid, used in self.ours_s.items())
        return max(0.0, (self.busy_s - start.busy_s - ours) / (self.at_s - start.at_s))


def _busy_s() -> float | None:
    try:
        user, nice, system, _idle, _wait, irq, softirq = Path("/proc/stat").read_text().split()[1:8]
    except (OSError, ValueError):
        return None
    return sum(map(int, (user, nice, system, irq, softirq))) * _TICK_S


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
