"""Lines for standard error, written by a thread of their own.

What is said must not decide what is done: whoever reads standard error may be gone, be stopped or have a full disk.
None of that is seen by those who say something, neither as an error nor as a wait.
"""

from __future__ import annotations

import contextlib
import os
import select
from abc import ABC, abstractmethod
from queue import SimpleQueue
from threading import Event, Thread
from typing import TextIO

MOST_WAITING = 10_000
_MOST_BYTES_A_WRITE = 64 * 1024


class Lines(ABC):
    """Has the methods of a logger that structlog calls with a finished record."""

    @abstractmethod
    def msg(self, line: str) -> None:
        """Have a line written, without its line break; raises nothing."""

    def log(self, line: str) -> None:
        """The same, whatever its level."""
        self.msg(line)

    debug = info = warn = warning = err = error = critical = exception = fatal = failure = log


class StreamLines(Lines):
    """Lines for a stream, written at once; None: there is no stream, and they are forgotten."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write a line."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(f"{line}\n")
                self._stream.flush()


class LineWriter(Lines):
    """Lines for a descriptor, written by a thread.

    Args:
        descriptor: where to; it stays open.
        most_waiting: so many lines wait at most, further ones are dropped, and their number is told once there is room.
    """

    def __init__(self, descriptor: int, *, most_waiting: int = MOST_WAITING) -> None:
        self._descriptor = descriptor
        self._most_waiting = most_waiting
        # Of all queues the one that may be used again while it is being used: a record may be written by a finaliser,
        # and that is called wherever memory is asked for.
        self._waiting: SimpleQueue[str | Event] = SimpleQueue()
        self._dropped = 0
        Thread(target=self._run, name="log", daemon=True).start()

    def msg(self, line: str) -> None:
        """Have a line written; returns at once."""
        if self._waiting.qsize() < self._most_waiting:
            self._waiting.put(line)
        else:
            self._dropped += 1

    def flush(self, seconds: float) -> bool:
        """Wait until everything has been written or given up, at most so long; whether it was."""
        written = Event()
        self._waiting.put(written)
        return written.wait(seconds)

    def _run(self) -> None:
        while True:
            line = self._waiting.get()
            if isinstance(line, Event):
                line.set()
            else:
                self._write(line)
                if self._dropped and self._waiting.empty():
                    dropped, self._dropped = self._dropped, 0
                    self._write(f"{dropped} lines were dropped here: they could not be written as fast as they came")

    def _write(self, line: str) -> None:
        rest = memoryview(f"{line}\n".encode(errors="backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest[:_MOST_BYTES_A_WRITE]) :]
            except BlockingIOError:
                # Somebody else with this terminal or pipe has asked not to be kept waiting, for all of us.
                select.select((), (self._descriptor,), ())
            except OSError:
                return
