"""Why an attempt failed, in a few words."""

from __future__ import annotations

import signal

from tenure.domain import commands as c

NO_REASON = "no reason was given"


def failure_text(command: c.Fail) -> str:
    """Why an attempt failed, in a few words."""
    if command.oom:
        cause = "out of memory"
    elif command.signal is not None:
        try:
            cause = f"signal {command.signal} ({signal.Signals(command.signal).name})"
        except ValueError:
            cause = f"signal {command.signal}"
    elif command.exit_code is not None:
        cause = f"exit code {command.exit_code}"
    else:
        return command.message or NO_REASON
    if not command.message or command.message == cause:
        return cause
    return f"{cause}: {command.message}"
