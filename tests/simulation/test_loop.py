"""Virtual time and simulated processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from tests.simulation.loop import NS, BusyLoop, Deadlock, Schedule
from tests.simulation.process import Process, process_of


class Bench:
    """Processes on one schedule; `run` goes on until the main coroutine has returned."""

    def __init__(self, shuffle: Random | None = None) -> None:
        self.schedule = Schedule(shuffle)
        self.log: list[tuple[float, str]] = []

    def process(self, name: str = "p", **how: Any) -> Process:
        return process_of(self.schedule, name, **how)

    def say(self, text: str) -> None:
        self.log.append((self.schedule.now_ns / NS, text))

    def run(self, process: Process, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        tasks: list[asyncio.Task[None]] = []
        process.call_soon(lambda: tasks.append(process.create_task(main())))
        self.schedule.run(lambda: bool(tasks) and tasks[0].done())
        tasks[0].result()

    async def every_second(self, name: str, count: int) -> None:
        for number in range(count):
            await asyncio.sleep(1)
            self.say(f"{name}{number}")


def test_time_jumps_to_the_next_timer() -> None:
    bench = Bench()
    bench.run(bench.process(), lambda: asyncio.sleep(86_400))
    assert bench.schedule.now_ns == 86_400 * NS


def test_timeouts_and_groups_work_as_always() -> None:
    bench = Bench()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.every_second("a", 2))
            group.create_task(bench.every_second("b", 1))

    bench.run(bench.process(), main)
    assert [(round(at_s, 6), text) for at_s, text in bench.log] == [(6, "a0"), (6, "b0"), (7, "a1")]


def test_nobody_waits_for_ever() -> None:
    bench = Bench()

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="every task waits"):
        bench.run(bench.process(), main)


def test_a_busy_loop_is_told() -> None:
    bench = Bench()

    async def main() -> None:
        while True:  # noqa: ASYNC110 - that is what is to be noticed
            await asyncio.sleep(0)

    with pytest.raises(BusyLoop, match="busy"):
        bench.run(bench.process("busy"), main)


def test_threads_and_sockets_are_refused() -> None:
    bench = Bench()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for attempt in (
            lambda: asyncio.to_thread(print),
            lambda: asyncio.open_connection("localhost", 1),
            lambda: asyncio.create_subprocess_exec("true"),
        ):
            with pytest.raises(RuntimeError, match="no threads, sockets"):
                await attempt()
        with pytest.raises(RuntimeError, match="no threads, sockets"):
            loop.call_soon_threadsafe(print)

    bench.run(bench.process(), main)


def test_a_frozen_process_gets_everything_late_and_at_once() -> None:
    bench = Bench()
    process, nature = bench.process(), bench.process("nature")
    nature.at_virtual(int(1.5 * NS), process.freeze)
    nature.at_virtual(10 * NS, process.thaw)
    bench.run(process, lambda: bench.every_second("a", 3))
    assert bench.log == [(1.0, "a0"), (10.0, "a1"), (11.0, "a2")]


def test_a_suspended_machine_has_no_time() -> None:
    bench = Bench()
    process, nature = bench.process(), bench.process("nature")
    nature.at_virtual(int(1.5 * NS), lambda: process.freeze(suspended=True))
    nature.at_virtual(10 * NS, process.thaw)
    bench.run(process, lambda: bench.every_second("a", 3))
    assert [(round(at_s, 6), text) for at_s, text in bench.log] == [(1.0, "a0"), (10.5, "a1"), (11.5, "a2")]
    assert process.monotonic_ns() == pytest.approx(3 * NS)


def test_a_killed_process_runs_nothing_more() -> None:
    bench = Bench()
    process, nature = bench.process(), bench.process("nature")
    ended: list[str] = []

    async def main() -> None:
        try:
            await bench.every_second("a", 5)
        finally:
            ended.append("finally")

    process.call_soon(lambda: process.create_task(main()))
    nature.at_virtual(int(1.5 * NS), process.kill)
    bench.run(nature, lambda: asyncio.sleep(5))
    assert bench.log == [(1.0, "a0")]
    assert not ended
    process.bury()
    assert not process.tasks


@pytest.mark.parametrize("rate", [0.98, 1.0, 1.02])
def test_clocks_drift(rate: float) -> None:
    bench = Bench()
    process = bench.process(rate=rate, offset_ns=7 * NS)
    woken: list[int] = []

    async def main() -> None:
        before_ns = process.monotonic_ns()
        for _ in range(100):
            await asyncio.sleep(0.123456789)
        woken.append(process.monotonic_ns() - before_ns)

    bench.run(process, main)
    assert woken[0] >= 12_345_678_900
    assert bench.schedule.now_ns == pytest.approx(12_345_678_900 / rate, rel=1e-6)


def test_an_order_that_is_shuffled_follows_from_its_seed() -> None:
    def order(seed: int) -> list[tuple[float, str]]:
        bench = Bench(Random(seed))
        process = bench.process()

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for name in "abcdef":
                    group.create_task(bench.every_second(name, 1))

        bench.run(process, main)
        return bench.log

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))


def test_what_has_not_ended_is_told() -> None:
    bench = Bench()
    process = bench.process()

    async def forgetful() -> None:
        process.create_task(asyncio.sleep(100), name="forgotten")

    bench.run(process, forgetful)
    assert ["forgotten" in text for text in process.unfinished()] == [True]
