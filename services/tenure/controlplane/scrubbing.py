"""The whole log read again in the background, a pass a day, so that damage is found while there is a good backup.

A piece that is wrong is read a second time: what only came wrong over the wire is counted and no more. Damage that
stays ends changes (see docs/decisions/0017-a-damaged-log-is-read-only.md): reads, heartbeats and running jobs go on.
"""

from __future__ import annotations

from dataclasses import dataclass

from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.store.store import Scrubbed, Store, StoreError

_log = get_logger("scrub")

# Events of one piece: a millisecond or two.
PIECE = 250
# How long after the start the first pass begins, and the shortest pause between two.
FIRST_S = 60.0
REST_S = 1.0
AGAIN_S = 1.0
# When a piece is asked for again that could not be read.
RETRY_S = 60.0
DAY_US = 86_400_000_000

REMEDY = "stop the server, look after the disk, and restore the newest backup with `tenure log restore`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubSettings:
    """A pass begins every `interval_us`, 0: there is none; at most so many events are read a second."""

    interval_us: int = 86_400_000_000
    events_per_second: int = 10_000


class Scrubbing:
    """Reads the log of a store again.

    Attributes:
        position: up to where this pass, or the last one, has come.
        passes: how many have come to the end of the log.
        errors: how many pieces were wrong, at the first look or for good.
        damage: what is wrong with the log, in words; empty: nothing, as far as it was read.
    """

    def __init__(self, store: Store, clock: Clock, settings: ScrubSettings) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = settings.interval_us / 1_000_000
        self._pause_s = PIECE / settings.events_per_second
        # Which rows are looked at goes on with the days: a server that is started every day looks at others each time.
        self._first_turn = clock.wall_us() // DAY_US
        self.position = 0
        self.passes = 0
        self.errors = 0
        self.damage = ""

    async def run(self) -> None:
        """Read again and again, until something is found or it is cancelled."""
        if not self._interval_s:
            return
        await self._clock.sleep(min(FIRST_S, self._interval_s))
        while True:
            began_ns = self._clock.monotonic_ns()
            await self.read_all()
            if self.damage:
                return
            spent_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            await self._clock.sleep(max(REST_S, self._interval_s - spent_s))

    async def read_all(self) -> None:
        """One pass, to the end that the log has now."""
        reached, end = Scrubbed(turn=self._first_turn + self.passes), self._store.head().position
        while reached.position < end:
            try:
                found = await self._store.scrub(reached, PIECE)
                if found.problem:
                    found = await self._look_again(reached, found.problem)
            except StoreError as error:
                _log.warning("log_not_read", error=type(error).__name__)
                await self._clock.sleep(RETRY_S)
                continue
            if found.problem:
                self._damaged(found)
                return
            reached, self.position = found, found.position
            await self._clock.sleep(self._pause_s)
        self.passes += 1
        _log.info("log_read_again", position=reached.position, jobs_compared=reached.jobs)

    async def _look_again(self, before: Scrubbed, problem: str) -> Scrubbed:
        self.errors += 1
        await self._clock.sleep(AGAIN_S)
        found = await self._store.scrub(before, PIECE)
        if not found.problem:
            _log.warning("log_read_wrong_once", problem=problem, remedy="look after the disk and the memory")
        return found

    def _damaged(self, found: Scrubbed) -> None:
        self.damage = found.problem
        _log.error("log_damaged", problem=found.problem, good_up_to=found.position, remedy=REMEDY)
        self._store.refuse_changes(f"the log is damaged: {found.problem}")
