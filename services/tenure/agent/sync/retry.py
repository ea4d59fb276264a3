"""How long a store is asked again, and what it means when that is over."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import TypeVar

from tenure.agent.sync.beneath import PathRefused
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.folders import FolderRefused
from tenure.agent.sync.objects import ObjectRefused, StoreUnreachable
from tenure.agent.sync.rules import RuleRefused
from tenure.runtime.clock import Clock

T = TypeVar("T")

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 20.0
_MAX_DOUBLINGS = 10


class SyncRefused(Exception):
    """The sync cannot be done, however often it is tried: the attempt fails. The message is for people."""


class SyncUnreachable(Exception):
    """The store could not be reached for too long: the attempt is interrupted, which is nobody's failure."""


class Retry:
    """Repeats requests to a store that cannot be reached, with full jitter: delays are random up to a growing limit.

    Args:
        clock: Measures the budget and waits.
        random: Jitter.
        budget_s: How long after its first failure one request is repeated.
        deadline_ns: Instant after which nothing is repeated, asked each time; None: no deadline.
        counters: Its `errors` are counted here.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        budget_s: float,
        deadline_ns: Callable[[], int | None],
        counters: Counters,
    ) -> None:
        self._clock = clock
        self._random = random
        self._budget_ns = int(budget_s * 1e9)
        self._deadline_ns = deadline_ns
        self._counters = counters

    async def run(self, request: Callable[[], Awaitable[T]]) -> T:
        """What `request` returns, once it does.

        Raises:
            SyncRefused: The store refused it.
            SyncUnreachable: It could not be reached until the budget or the deadline was over.
        """
        first_ns: int | None = None
        failures = 0
        while True:
            try:
                return await request()
            except ObjectRefused as error:
                raise SyncRefused(str(error)) from None
            except StoreUnreachable as error:
                self._counters.errors += 1
                now_ns = self._clock.monotonic_ns()
                first_ns = now_ns if first_ns is None else first_ns
                left_ns = self._give_up_ns(first_ns) - now_ns
                if left_ns <= 0:
                    waited_s = (now_ns - first_ns) / 1e9
                    raise SyncUnreachable(
                        f"The object store could not be reached for {waited_s:.0f} s ({failures + 1} tries). "
                        f"The last one: {error}"
                    ) from None
                longest_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, _MAX_DOUBLINGS))
                failures += 1
                await self._clock.sleep(min(self._random.uniform(0, longest_s), left_ns / 1e9))

    def _give_up_ns(self, first_ns: int) -> int:
        budget_over_ns = first_ns + self._budget_ns
        deadline_ns = self._deadline_ns()
        return budget_over_ns if deadline_ns is None else min(budget_over_ns, deadline_ns)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn what is wrong with folders, files, names and rules into `SyncRefused`."""
    try:
        yield
    except (PathRefused, FolderRefused, RuleRefused, ObjectRefused) as error:
        raise SyncRefused(str(error)) from None
    except OSError as error:
        where = f" {error.filename!a}" if error.filename else ""
        raise SyncRefused(f"A file on the worker{where} could not be used: {error.strerror or 'I/O error'}.") from None
