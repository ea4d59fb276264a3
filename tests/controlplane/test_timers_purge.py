"""Answers that are kept for repeats are forgotten after a week."""

from __future__ import annotations

from tenure.store.memory import MemoryStore
from tests.controlplane.fleet import Plane
from tests.fakes import FakeClock

# 2024-10-20T14:08:37Z
STARTED_US = 1_729_433_317_000_000
SECOND_US = 1_000_000


class Purged(MemoryStore):
    """Notes which old answers it was to forget."""

    def __init__(self) -> None:
        super().__init__()
        self.before_us: list[int] = []

    async def purge_requests(self, before_us: int) -> int:
        self.before_us.append(before_us)
        return 0


async def test_old_answers_are_forgotten_soon_after_the_start_and_then_every_hour() -> None:
    store = Purged()
    async with Plane(clock=FakeClock(STARTED_US), store=store) as plane:
        week_us = 7 * 86_400 * SECOND_US
        await plane.clock.advance(59)
        assert store.before_us == []
        await plane.clock.advance(1)
        assert store.before_us == [STARTED_US + 60 * SECOND_US - week_us]
        await plane.clock.advance(3600)
        assert len(store.before_us) == 2
