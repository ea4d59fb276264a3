"""Locks by key: who waits for whom, and what a cancelled caller leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from tenure.controlplane.locks import Locks


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_strangers_do_not_wait() -> None:
    locks = Locks()
    await locks.acquire(["a"])
    await asyncio.wait_for(locks.acquire(["b", "c"]), 1)
    assert len(locks) == 3
    locks.release(["a", "b", "c"])
    assert len(locks) == 0


async def test_turns_are_given_in_order() -> None:
    locks, order = Locks(), list[int]()

    async def take(number: int) -> None:
        await locks.acquire(["a"])
        order.append(number)
        await asyncio.sleep(0)
        locks.release(["a"])

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(take(number))
    assert order == [0, 1, 2, 3, 4]
    assert len(locks) == 0


async def test_only_one_holds_a_key() -> None:
    locks, inside = Locks(), 0

    async def take() -> None:
        nonlocal inside
        for _ in range(20):
            await locks.acquire(["a", "b"])
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
            locks.release(["a", "b"])

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(take())
    assert len(locks) == 0


async def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    locks = Locks()
    await locks.acquire(["b"])
    loop = asyncio.get_running_loop()
    given_up = loop.create_task(locks.acquire(["a", "b"]))
    patient = loop.create_task(locks.acquire(["b"]))
    await _settle()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert len(locks) == 1  # the one that it had taken is free again
    locks.release(["b"])
    await asyncio.wait_for(patient, 1)
    locks.release(["b"])
    assert len(locks) == 0


async def test_who_is_cancelled_in_the_moment_of_its_turn_hands_it_on() -> None:
    locks = Locks()
    await locks.acquire(["a"])
    loop = asyncio.get_running_loop()
    given_up = loop.create_task(locks.acquire(["a"]))
    patient = loop.create_task(locks.acquire(["a"]))
    await _settle()
    locks.release(["a"])  # its turn, which it has not noticed yet
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await asyncio.wait_for(patient, 1)
    locks.release(["a"])
    assert len(locks) == 0
