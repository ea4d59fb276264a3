"""Origins of jobs that were read or written lately, so that a job in use is decoded once and not at every read.

They never change, so nothing has to be kept up to date. Used by several threads.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from tenure.domain.job import Origin

# Bytes of specifications kept, and the number of jobs.
MOST_BYTES = 32 * 1024 * 1024
MOST_JOBS = 16_384


class Created(NamedTuple):
    """What a job was created as, with its specification."""

    origin: Origin
    specification: bytes


class Origins:
    """A bounded cache by job number; the oldest go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, Created] = {}
        self._bytes = 0

    def get(self, number: int) -> Created | None:
        """What is kept of a job; None: nothing."""
        return self._kept.get(number)

    def put(self, number: int, created: Created) -> None:
        """Keep it."""
        with self._lock:
            if number in self._kept:
                return
            self._kept[number] = created
            self._bytes += len(created.specification)
            while len(self._kept) > MOST_JOBS or self._bytes > MOST_BYTES:
                first = next(iter(self._kept))
                self._bytes -= len(self._kept.pop(first).specification)
