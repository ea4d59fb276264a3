"""What goes on beside the calls of a server: its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tenure.controlplane import composition
from tenure.controlplane.composition import Services
from tenure.controlplane.config import Configuration
from tenure.controlplane.handler import Step
from tenure.controlplane.validation import Validator
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.runtime.clock import SystemClock
from tenure.store.memory import MemoryStore
from tenure.store.store import StoredJob
from tests.controlplane.fleet import job_created
from tests.fakes import FakeClock, SequenceIds

SECOND_NS = 1_000_000_000


class Machine:
    """A machine whose clocks go with that of the test, and which may be suspended."""

    def __init__(self) -> None:
        self.time = FakeClock(rounds=40)
        self.ahead_ns = self.suspended_ns = 0

    def clock(self) -> SystemClock:
        return MachineClock(self)

    def wall_ns(self) -> int:
        return self.time.wall_us() * 1000 + self.suspended_ns + self.ahead_ns

    def suspend(self, seconds: int) -> None:
        self.suspended_ns += seconds * SECOND_NS


class MachineClock(SystemClock):
    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.wall_ns, machine.time.monotonic_ns, lambda: machine.suspended_ns)
        self._machine = machine

    async def sleep(self, seconds: float) -> None:
        await self._machine.time.sleep(seconds)


class Server:
    """The services over a memory store, without anything to call them by."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.clock = machine.clock()
        self.services = Services(
            configuration=Configuration(),
            store=MemoryStore(),
            clock=self.clock,
            ids=SequenceIds(),
            key=b"key of the tests",
            validator=Validator(),
        )
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Server:
        await self.services.load()
        self._running = asyncio.get_running_loop().create_task(self.services.run())
        await self.services.workers.loaded.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait([self._running])

    @property
    def running(self) -> asyncio.Task[None]:
        assert self._running is not None
        return self._running

    async def create(self, seconds: int) -> Job:
        event = job_created(time_allocation_us=seconds * 1_000_000, basis=e.Basis.CREATED)
        [job] = (await self.services.handler.create([event], actor="user:someone")).jobs
        assert isinstance(job, Job)
        return job

    async def outcome(self, job: Job) -> tuple[e.Outcome | None, int | None]:
        found = await self.services.handler.get(job.id)
        assert found is not None
        return found.outcome, found.ended_us


async def test_a_deadline_that_passed_while_the_machine_was_suspended_is_noticed_within_a_second() -> None:
    machine = Machine()
    async with Server(machine) as server:
        near, far = await server.create(90), await server.create(3600)
        await machine.time.advance(62.5)
        machine.suspend(7200)
        await machine.time.advance(1)
        assert await server.outcome(near) == (e.Outcome.EXPIRED, near.expires_us)
        assert await server.outcome(far) == (e.Outcome.EXPIRED, far.expires_us)


async def test_a_wall_clock_that_is_set_ahead_is_followed_by_a_second_a_minute() -> None:
    machine = Machine()
    async with Server(machine) as server:
        begun_us = server.clock.wall_us()
        machine.ahead_ns = 3600 * SECOND_NS
        await machine.time.advance(59.5)
        assert server.clock.wall_us() - begun_us == 59_500_000
        await machine.time.advance(60)
        assert server.clock.wall_us() - begun_us == 119_500_000 + 1_000_000


async def test_what_was_begun_is_carried_through_before_the_store_may_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(Machine())
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def late(_ids: Sequence[str]) -> dict[str, StoredJob]:
        begun.set()
        await go_on.wait()
        return {}

    monkeypatch.setattr(server.services.store, "load_jobs", late)
    async with server:
        step = Step(job_id="job-1", command=c.Terminate())
        handler, running = server.services.handler, server.running
        caller = asyncio.get_running_loop().create_task(handler.execute([step], actor="user:someone", partial=True))
        await begun.wait()
        caller.cancel()
        running.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not running.done()
        go_on.set()
        await asyncio.wait([running], timeout=10)
        assert running.cancelled()


async def test_a_server_waits_for_a_slow_read_for_a_moment_only_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(Machine())
    begun, left = asyncio.Event(), asyncio.Event()

    async def never(_ids: Sequence[str]) -> dict[str, StoredJob]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return {}

    monkeypatch.setattr(composition, "_STOP_SECONDS", 0.01)
    monkeypatch.setattr(server.services.store, "load_jobs", never)
    async with server:
        step = Step(job_id="job-1", command=c.Terminate())
        work = server.services.handler.execute([step], actor="user:someone", partial=True)
        caller = asyncio.get_running_loop().create_task(work)
        await begun.wait()
        caller.cancel()
        server.running.cancel()
        await asyncio.wait([server.running], timeout=20)
        assert server.running.cancelled()
        assert left.is_set()
