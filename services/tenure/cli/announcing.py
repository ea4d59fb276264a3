"""The few lines that a server or a worker prints for whoever started it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def announce(line: str) -> None:
    """Print a line on standard output. Where nobody can be told any more, that is no reason to end."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        # What could not be written is kept, and tried again at the end, which would then count as a failure.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
