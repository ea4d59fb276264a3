"""Origins of jobs that were read or written lately, so that a job in use is decoded once and not at every read.

They never change, so nothing has to be kept up to date. Used by several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from tenure.domain.events import JobCreated
from tenure.domain.job import Origin
from tenure.store.store import Unit

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
        self._kept: OrderedDict[int, Created] = OrderedDict()
        self._bytes = 0

    def get(self, number: int) -> Created | None:
        """What is kept of a job; None: nothing."""
        return self._kept.get(number)

    def put(self, created: Iterable[tuple[int, Created]]) -> None:
        """Keep what jobs were created as, by their numbers."""
        with self._lock:
            for number, one in created:
                if number not in self._kept:
                    self._kept[number] = one
                    self._bytes += len(one.specification)
            while len(self._kept) > MOST_JOBS or self._bytes > MOST_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest.specification)


def created_by(unit: Unit, first: int) -> list[tuple[int, Created]]:
    """The jobs that a unit has created, by their numbers; its first event is at that position."""
    created: list[tuple[int, Created]] = []
    number = first
    for append in unit.appends:
        if append.job is not None and append.expected_version == 0:
            payload = append.events[0].payload
            if isinstance(payload, JobCreated):
                created.append((number, Created(append.job.origin, payload.specification)))
        number += len(append.events)
    return created
