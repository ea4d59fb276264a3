"""The disk that outlives the server's process."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tenure.controlplane.handler import Handler
from tenure.domain import events as e
from tenure.store.store import CommitOutcomeUnknown, StorageFull, StorageReadOnly
from tests.controlplane.fleet import job_created
from tests.simulation.disk import Medium, SimulatedDisk, SimulatedStore
from tests.simulation.loop import Schedule
from tests.simulation.machine import Machine
from tests.simulation.process import Process
from tests.simulation.server import Numbers


class Bench:
    """A medium, and one server process after the other on it."""

    def __init__(self, seed: int = 1) -> None:
        self.schedule = Schedule()
        self.medium = Medium(self.schedule, Random(seed), Random(seed))
        self.machine = Machine(self.schedule, "m")
        self.fatal: list[BaseException] = []
        self.boot = -1
        self.restart()

    def restart(self) -> None:
        self.boot += 1
        self.process: Process = self.machine.process(f"server-{self.boot}")
        clock = self.machine.clock(self.process)
        disk = SimulatedDisk(self.medium, self.process, self.boot, clock.wall_us)
        self.store = SimulatedStore(disk, self.fatal.append)
        self.handler = Handler(self.store, clock, Numbers(f"b{self.boot}"))

    def crash(self) -> None:
        self.process.kill()
        self.store.crashed(self.medium.random)

    def create(self, count: int = 1) -> list[asyncio.Task[list[str]]]:
        """Begin to create jobs, one call each."""

        async def one() -> list[str]:
            made = await self.handler.create([job_created()], actor="user:user")
            return [job.id for job in made.jobs if not isinstance(job, Exception)]

        return [self.process.create_task(one()) for _ in range(count)]

    def until(self, seconds: float) -> None:
        """Let time pass."""
        over: list[bool] = []
        self.machine.process("nature").at_virtual(self.schedule.now_ns + int(seconds * 1e9), lambda: over.append(True))
        self.schedule.run(lambda: bool(over))

    def run(self, count: int = 1) -> list[asyncio.Task[list[str]]]:
        tasks: list[asyncio.Task[list[str]]] = []
        self.process.call_soon(lambda: tasks.extend(self.create(count)))
        self.until(60)
        return tasks


def test_what_was_acknowledged_is_there_after_a_crash() -> None:
    bench = Bench()
    ids = [task.result()[0] for task in bench.run(5)]
    head, log = bench.store.head(), list(bench.medium.events)
    bench.crash()
    bench.restart()
    assert bench.store.head() == head
    assert bench.store._events == log
    assert set(bench.store._rows.jobs) == set(ids)


def test_a_crash_keeps_a_beginning_of_what_was_under_way() -> None:
    kept: set[int] = set()
    for seed in range(40):
        bench = Bench(seed)
        bench.medium.slow_s = (10.0, 10.0)
        bench.process.call_soon(bench.create, 4)
        bench.until(5)
        bench.crash()
        bench.restart()
        kept.add(len(bench.medium.events))
        assert bench.store.head().position == len(bench.medium.events)
        assert [type(event.payload) for event in bench.medium.events] == [e.JobCreated] * len(bench.medium.events)
    assert {0, 1, 2} <= kept


@pytest.mark.parametrize("there", [0.0, 1.0])
def test_a_failed_flush_is_unknown_and_ends_the_process(there: float) -> None:
    bench = Bench()
    bench.medium.failing = there
    [first] = bench.run()
    assert isinstance(first.exception(), CommitOutcomeUnknown)
    [second] = bench.run()
    assert isinstance(second.exception(), CommitOutcomeUnknown)
    assert len(bench.fatal) == 1
    assert len(bench.medium.events) == there


@pytest.mark.parametrize(("state", "error"), [("full", StorageFull), ("read_only", StorageReadOnly)])
def test_a_disk_that_cannot_be_written_refuses_and_recovers(state: str, error: type[Exception]) -> None:
    bench = Bench()
    setattr(bench.medium, state, True)
    [refused] = bench.run()
    assert isinstance(refused.exception(), error)
    assert not bench.medium.events
    setattr(bench.medium, state, False)
    assert bench.run()[0].exception() is None


def test_times_are_those_of_the_process_that_wrote() -> None:
    bench = Bench()
    bench.run()
    [commit] = bench.medium.committed
    assert (commit.first, commit.last, commit.boot) == (1, 1, 0)
    assert commit.told_ns == commit.durable_ns
