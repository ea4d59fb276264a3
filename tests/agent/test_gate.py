"""The write gate, on a clock that only the test moves."""

from __future__ import annotations

import asyncio

import pytest

from tenure.agent.gate import LeaseGate
from tenure.agent.lease import Lease
from tenure.agent.sync.gate import FencedOff
from tenure.agent.waiting import Changes
from tests.fakes import FakeClock

NS = 1_000_000_000


class Gated:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.changes = Changes(self.clock)
        self.lease = Lease(length_ns=10 * NS, now_ns=0)
        self.gate = LeaseGate(self.lease, self.clock, self.changes)

    def beat(self) -> None:
        self.lease.beat_sent(self.clock.monotonic_ns())
        self.lease.beat_acknowledged()
        self.changes.pulse()


async def test_it_says_until_when_one_may_write() -> None:
    gated = Gated()
    gated.beat()
    await gated.clock.advance(3)
    assert await gated.gate.enter(5) == 8 * NS


async def test_it_waits_while_there_is_too_little_time_and_opens_with_a_beat() -> None:
    gated = Gated()
    gated.beat()
    await gated.clock.advance(7)
    waiting = asyncio.ensure_future(gated.gate.enter(2))
    await gated.clock.advance(100)
    assert not waiting.done()
    gated.beat()
    assert await waiting == 115 * NS


async def test_what_waits_is_told_when_the_lease_is_lost() -> None:
    gated = Gated()
    waiting = asyncio.ensure_future(gated.gate.enter(1))
    await gated.clock.settle()
    gated.lease.lose()
    gated.changes.pulse()
    with pytest.raises(FencedOff):
        await waiting
    with pytest.raises(FencedOff):
        await gated.gate.enter(0)


async def test_at_the_fence_itself_it_is_closed() -> None:
    gated = Gated()
    gated.beat()
    await gated.clock.advance(8)
    waiting = asyncio.ensure_future(gated.gate.enter(0))
    await gated.clock.settle()
    assert not waiting.done()
    waiting.cancel()
