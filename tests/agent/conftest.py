"""Fixtures of the agent's tests."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tenure.agent import strays
from tenure.agent.cgroup import CgroupParent, find_cgroup_parent
from tenure.agent.process import LocalCommand, LocalRunner
from tenure.agent.runner import CommandLine
from tenure.agent.sync.offload import Inline
from tenure.runtime.clock import SystemClock
from tests.agent.bench import PATH, Bench, bench_in
from tests.agent.fake_server import FakeServer

Eventually: TypeAlias = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def eventually() -> Eventually:
    """Wait for a condition, at most 20 s."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - the condition is a process's doing
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A worker's surroundings, and a server that the test plays."""
    async with bench_in(tmp_path) as made:
        yield made


@pytest.fixture
async def make(clock: SystemClock) -> AsyncIterator[Callable[..., LocalRunner]]:
    """Makes runners; whatever they still run at the end is killed."""
    made: list[Recording] = []

    def new(**options: Any) -> LocalRunner:
        made.append(Recording(clock=clock, offload=Inline(), path=PATH, **options))
        return made[-1]

    yield new
    for runner in made:
        for command in runner.started:
            command.kill()
            await command.wait()


class Recording(LocalRunner):
    """Remembers what it started."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.started: list[LocalCommand] = []

    async def start(self, command: CommandLine) -> LocalCommand:
        self.started.append(await super().start(command))
        return self.started[-1]


@pytest.fixture(params=["groups", "cgroups"])
def parent(request: pytest.FixtureRequest) -> Iterator[CgroupParent | None]:
    if request.param == "groups":
        yield None
        return
    found = find_cgroup_parent(f"tenure-test-{os.getpid()}")
    if found is None:
        pytest.skip("cgroup v2 cannot be written here")
    yield found
    found.kill_stale()
    found.remove()


@pytest.fixture
def runner(parent: CgroupParent | None, make: Callable[..., LocalRunner]) -> LocalRunner:
    """Once with process groups alone, once with cgroups where this machine allows them."""
    strays.adopt_orphans()
    return make(cgroups=parent)


@pytest.fixture
async def server(clock: SystemClock) -> AsyncIterator[FakeServer]:
    made = FakeServer(clock.wall_us)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def start(server: FakeServer, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Process]]]:
    """Start a worker; those that still run at the end are killed."""
    (tmp_path / "token").write_text("secret\n")
    started: list[Process] = []

    async def run(*more: str, before: tuple[str, ...] = (), **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(*before, sys.executable, "-m", "tenure.cli.main", "worker", "--server", f"127.0.0.1:{server.port}"),
            *("--token-file", str(tmp_path / "token"), "--work-dir", str(tmp_path / "agent"), "--worker-id", "w7"),
            *more,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", **environment},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()
