"""Defects that are planted for the controls of the proofs: each breaks one promise, and the proof has to notice.

They change the product within one process, before its `main`; `warm` starts such processes.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable


def answers_before_commit() -> None:
    """Changes are acknowledged a moment before they are committed."""
    from tenure.store.sqlite_writer import Done, Work, Writer

    def commit(self: Writer, group: list[Work]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        staged = self._applier.apply([work.unit for work in group], careful=False)
        self._accept(staged)
        self._deliver(Done(list(zip(group, staged.results, strict=True)), self._head))
        time.sleep(0.03)
        self._connection.execute("COMMIT")

    Writer._commit = commit  # type: ignore[method-assign]


def leases_by_wall_clock() -> None:
    """The server measures spans with the wall clock."""
    from tenure.runtime.clock import SystemClock

    made = SystemClock.__init__

    def naive_ns() -> int:
        try:
            return time.time_ns()
        except OverflowError:  # a year that does not fit into nanoseconds
            return 2**63

    def make(self: SystemClock) -> None:
        made(self, monotonic_ns=naive_ns)

    SystemClock.__init__ = make  # type: ignore[method-assign, assignment]


def no_fence() -> None:
    """A worker writes to the object store until it is told that its lease is lost."""
    from tenure.agent.lease import Lease

    def write_left_ns(self: Lease, now_ns: int) -> int:
        return 0 if self.lost else 60_000_000_000

    Lease.write_left_ns = write_left_ns  # type: ignore[method-assign]


def no_brake() -> None:
    """The server takes every silence for the workers' fault, even its own."""
    from tenure.controlplane.leases import Leases, Live, Sweep

    def sweep(self: Leases) -> Sweep:
        now_ns = self._clock.monotonic_ns()
        due = [live for live in self._first() if live.ends_ns <= now_ns]
        found = Sweep(
            unaccepted=[live for live in due if not live.accepted], silent=[live for live in due if live.accepted]
        )
        for live in due:
            self._wait(live, now_ns, 1_000_000_000)
        return found

    def brake(self: Leases, silent: list[Live], now_ns: int) -> list[Live]:
        return silent

    Leases.sweep = sweep  # type: ignore[method-assign]
    Leases._brake = brake  # type: ignore[method-assign]


def no_grace() -> None:
    """After a start leases last no longer than usual."""
    from tenure.controlplane import leases

    leases.START_GRACE_NS = 0
    no_brake()


def forgets_requests() -> None:
    """A repeat of a request is not known as one."""
    from tenure.controlplane import changes, handler
    from tenure.controlplane.changes import RequestKey
    from tenure.store.store import Request

    stored = changes.stored_request
    made = itertools.count()

    def under_another_name(key: RequestKey | None, answer: bytes, at_us: int) -> Request | None:
        known = stored(key, answer, at_us)
        return known and dataclasses.replace(known, principal=f"{known.principal}-{next(made)}")

    setattr(handler, stored.__name__, under_another_name)


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (answers_before_commit, forgets_requests, leases_by_wall_clock, no_brake, no_fence, no_grace)
}
