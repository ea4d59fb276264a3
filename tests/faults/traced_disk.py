"""A server whose disk fails at a chosen call: strace makes the kernel answer a system call with an error.

The call is not carried out then, so what was written stays in the machine's memory; where that matters, the proof cuts
the power afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^(\d+) +(\d+\.\d+) (.*)$")


def injecting(trace: Path, *faults: str) -> Sequence[str]:
    """What goes in front of a command: strace, beside the process and not above it, with `-e inject=` for each fault.

    Only the calls that are injected into are stopped at, so that the rest runs at full speed.
    """
    calls = ",".join(sorted({fault.partition(":")[0] for fault in faults}))
    rules = [part for fault in faults for part in ("-e", f"inject={fault}")]
    return ["strace", "-D", "-f", "--seccomp-bpf", "-ttt", "-o", str(trace), "-e", f"trace={calls}", *rules]


@dataclass(frozen=True)
class Traced:
    """What a trace tells: how many calls failed, when the first did, and when the process was gone (wall time, s)."""

    failed: int
    first_s: float | None
    exited_s: float | None


def read_trace(trace: Path) -> Traced:
    """Read what strace has written so far."""
    failed, first, exited = 0, None, None
    text = trace.read_text(errors="replace") if trace.exists() else ""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        at_s, what = float(found[2]), found[3]
        if what.endswith("(INJECTED)"):
            failed += 1
            first = first or at_s
        elif what.startswith("+++"):
            exited = at_s
    return Traced(failed=failed, first_s=first, exited_s=exited)
