"""A server, hosts of agents and jobs that run on them: what faults are done to, and what is looked at afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tenure.events.v1 import event_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.invariants import assert_dense, assert_ends_once, assert_one_owner
from tests.acceptance.processes import Launch, ServerProcess
from tests.faults.agents import Written, read_journal
from tests.faults.hosts import HostProcess, idle, stories, until_running
from tests.proof.sizes import first_seed

T = TypeVar("T")

LEASE_S = 2.0


@dataclass
class Scene:
    """The journal is shared by all hosts."""

    server: ServerProcess
    hosts: list[HostProcess]
    caller: Caller

    def written(self) -> list[Written]:
        """What attempts wrote, in order."""
        return read_journal(self.hosts[0].journal)

    def host(self, worker_id: str) -> HostProcess:
        """The host of a worker."""
        return next(host for host in self.hosts if host.name == worker_id)

    async def wrong(self) -> list[str]:
        """What is wrong with the log whatever was done, in words."""
        return wrong_with(await self.caller.events())


def wrong_with(events: Sequence[event_pb2.Event], lease_s: float = LEASE_S) -> list[str]:
    """What is wrong with a log whatever was done, in words; no lease in it is shorter than that."""
    found = []
    for law in (assert_dense, assert_one_owner, assert_ends_once):
        try:
            law(events)
        except AssertionError as error:
            found.append(f"{law.__name__.removeprefix('assert_')}: {error}")
    early = [
        story
        for story in stories(events).values()
        if story.lost_s is not None and 0 < story.silence_s < lease_s - 0.001
    ]
    # A worker that comes back without its leases gives them up at once; nobody does that here.
    found += [f"{story.job_id}: the lease expired after {story.silence_s} s" for story in early]
    return found


def patient(directory: Path) -> list[str]:
    """Arguments of a server for which no job is poisonous, however often its workers are lost."""
    file = directory / "tenure.toml"
    directory.mkdir(parents=True, exist_ok=True)
    file.write_text("[defaults]\nmax_lost_leases = 0\n")
    return ["--config", str(file)]


def wall_offset_s() -> float:
    """What to add to CLOCK_MONOTONIC for the time of day."""
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)


@contextlib.asynccontextmanager
async def scene(
    directory: Path,
    servers: Launch,
    workers: Launch,
    *,
    hosts: int,
    slots: int,
    jobs: int,
    lease_s: float = LEASE_S,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Scene]:
    """Everything started, and all jobs running; ended at the end, frozen or not."""
    server = ServerProcess(directory / "server", more=patient(directory), env=env)
    server.launch = servers
    started: list[HostProcess] = []
    try:
        await server.up()
        caller = Caller(server.address, server.admin_token())
        await caller.create_many([idle(heartbeat_s=lease_s / 2)] * jobs)
        for number in range(hosts):
            started.append(HostProcess(f"host-{number}", directory, server, workers, slots=slots, env=env))
            started[-1].start()
        await until_running(caller, jobs)
        yield Scene(server, started, caller)
        await caller.close()
    except BaseException as error:
        error.add_note(f"seed {first_seed()}; the server's log ends with:\n{server.tail()}")
        raise
    finally:
        for process in (*started, server):
            if process.running:
                process.signal(signal.SIGCONT)
            process.close()


async def together(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, T]) -> tuple[T, T]:
    """What two runs come to, side by side; when one fails the other is ended."""
    async with asyncio.TaskGroup() as group:
        one, other = group.create_task(first), group.create_task(second)
    return one.result(), other.result()
