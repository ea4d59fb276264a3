"""What a process inherits from whoever started it, put as everything else here expects it.

Signals that are ignored or blocked and descriptors that are closed outlive the execution of a program, and a start
script, a scheduler's daemon or `nohup` leaves some of each.
"""

from __future__ import annotations

import os
import signal
import sys

# Python ignores SIGPIPE and SIGXFSZ itself, and takes that back for the commands it starts.
_PYTHONS_OWN = {signal.SIGPIPE, signal.SIGXFSZ}


def settle() -> None:
    """Put signals and the standard streams in order. Called first of all, in the main thread."""
    # While SIGCHLD is ignored the kernel forgets how a child ended, and Python tells that as 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _open_standard_streams()


def spare_commands() -> None:
    """Go on ignoring what is ignored, but not on behalf of the commands that this process starts.

    A shell cannot `trap` a signal that was ignored when it started, so a job could not save its state at it.
    """
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            # Unlike an ignored signal, one with a handler is as new in an executed program.
            signal.signal(number, _nothing)


def _nothing(_number: int, _frame: object) -> None:
    """Stands for ignoring a signal."""


def _open_standard_streams() -> None:
    """Where one is closed, what is opened next would take its number, and get what was meant for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    # For the whole life of the process.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
