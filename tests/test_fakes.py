from __future__ import annotations

import asyncio

import pytest

from tests.fakes import FakeClock, SequenceIds


async def test_sleepers_wake_in_order_and_find_their_own_instant() -> None:
    clock = FakeClock(wall_us=1_000_000)
    seen: list[tuple[str, int, int]] = []

    async def sleeper(name: str, *seconds: float) -> None:
        for one in seconds:
            await clock.sleep(one)
            seen.append((name, clock.wall_us(), clock.monotonic_ns()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("slow", 2.5))
        group.create_task(sleeper("quick", 1, 1, 1))
        await clock.advance(2.75)
        assert seen == [
            ("quick", 2_000_000, 1_000_000_000),
            ("quick", 3_000_000, 2_000_000_000),
            ("slow", 3_500_000, 2_500_000_000),
        ]
        assert clock.monotonic_ns() == 2_750_000_000
        await clock.advance(0.25)
    assert seen[-1] == ("quick", 4_000_000, 3_000_000_000)


async def test_advance_goes_exactly_to_an_instant() -> None:
    clock = FakeClock(wall_us=1_633_329_776_235_000)
    await clock.advance_to(1_633_347_776_235_000)
    assert clock.wall_us() == 1_633_347_776_235_000
    with pytest.raises(ValueError, match="is behind"):
        await clock.advance_to(1_633_347_776_234_999)


async def test_a_sleeper_that_gave_up_is_passed_over() -> None:
    clock = FakeClock()
    task = asyncio.ensure_future(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await clock.advance(2)
    assert task.cancelled()


async def test_whoever_was_frozen_wakes_late() -> None:
    clock = FakeClock()
    woken: list[int] = []

    async def sleeper() -> None:
        await clock.sleep(1)
        woken.append(clock.monotonic_ns())

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper())
        await clock.settle()
        clock.freeze(5)
        assert woken == []
        await clock.advance(0)
    assert woken == [5_000_000_000]


def test_ids_are_those_named_and_then_counted() -> None:
    ids = SequenceIds("62348")
    assert [ids.new(), ids.new()] == ["62348", "id-1"]
    ids.then("x", "y")
    assert [ids.new(), ids.new(), ids.new()] == ["x", "y", "id-2"]
