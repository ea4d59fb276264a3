"""Agents by the dozen: the product's worker over real streams, with commands that do nothing and a journal as store.

Everything that decides is the product's own: connection, ledger, lease, write gate, attempt. A command is idle until it
is told to end; while it is, its attempt writes a line into the journal again and again, each time through the write
gate, as the sync does before every request to an object store. So the journal says to the millisecond who wrote when.

    python -m tests.faults.agents '{"server": …, "token": …, "queue": …, "workers": [["a", 5]], "journal": FILE}'
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tenure.agent.app import SuspendAwareClock
from tenure.agent.assignment import Assignment
from tenure.agent.copying import Copying
from tenure.agent.output import OutputRing
from tenure.agent.runner import CommandLine, Exit
from tenure.agent.sync.gate import FencedOff, WriteGate
from tenure.agent.transport import GrpcTransport, Transport
from tenure.agent.waiting import settle
from tenure.agent.workdir import AttemptFolder
from tenure.agent.worker import Worker, WorkerIdentity
from tenure.runtime import logs
from tenure.runtime.clock import Clock
from tenure.v1 import job_pb2

# How often an attempt writes unless told otherwise, and what a write is reckoned to take.
WRITE_EVERY_S = 0.1
WRITE_S = 0.02
NOWHERE = Path("/nonexistent")


@dataclass(frozen=True, kw_only=True)
class Written:
    """One line of a journal; `at_s` is CLOCK_MONOTONIC of the machine, which nothing moves."""

    lease_id: str
    job_id: str
    attempt: int
    at_s: float


class Journal:
    """Where attempts write, each every so many seconds; makes their sync. Several processes may share the file."""

    def __init__(self, file: Path, clock: Clock, *, every_s: float = WRITE_EVERY_S) -> None:
        self.every_s = every_s
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._clock = clock

    def __call__(
        self, assignment: Assignment, folder: AttemptFolder, gate: WriteGate, deadline_ns: Callable[[], int | None]
    ) -> tuple[Copying, Callable[[], job_pb2.SyncCounters]]:
        del folder, deadline_ns
        return _Writing(self, assignment, gate, self._clock), job_pb2.SyncCounters

    def write(self, assignment: Assignment) -> None:
        """Add a line."""
        now_s = time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e9
        line = f"{assignment.lease_id} {assignment.job_id} {assignment.attempt} {now_s:.6f}\n"
        os.write(self._descriptor, line.encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_journal(file: Path) -> list[Written]:
    """What was written so far."""
    lines = file.read_text().splitlines() if file.exists() else []
    found = []
    for line in lines:
        lease_id, job_id, attempt, at_s = line.split()
        found.append(Written(lease_id=lease_id, job_id=job_id, attempt=int(attempt), at_s=float(at_s)))
    return found


class _Writing:
    """The sync of one attempt: writes while it is open."""

    def __init__(self, journal: Journal, assignment: Assignment, gate: WriteGate, clock: Clock) -> None:
        self._journal = journal
        self._assignment = assignment
        self._gate = gate
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def before(self) -> None:
        return

    async def start_during(self) -> None:
        self._task = asyncio.ensure_future(self._write())

    async def wait_failed(self) -> Exception:
        never: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        return await never

    async def finish_during(self) -> None:
        return

    async def after(self) -> None:
        return

    async def close(self) -> None:
        if self._task is not None:
            await settle(self._task)

    async def clean(self) -> None:
        return

    async def _write(self) -> None:
        while True:
            try:
                await self._gate.enter(WRITE_S)
            except FencedOff:
                return
            self._journal.write(self._assignment)
            await self._clock.sleep(self._journal.every_s)


class Commands:
    """Runs commands that do nothing; `end` ends all of them, and those to come, with exit code 0."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    async def start(self, command: CommandLine) -> _Idle:
        """Run one."""
        return _Idle(command.output, self._over)

    def end(self) -> None:
        """All have done their work."""
        self._over.set()


class _Idle:
    def __init__(self, output: OutputRing, over: asyncio.Event) -> None:
        self.output = output
        self._over = over
        self._killed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> Exit:
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((over, self._killed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await settle(over)
        if self._killed.done():
            return Exit(code=None, signal=self._killed.result())
        return Exit(code=0, signal=None)

    def signal(self, number: int) -> None:
        if not self._killed.done():
            self._killed.set_result(number)

    def kill(self) -> None:
        self.signal(9)


class _Folder:
    """Nothing of an idle attempt needs a folder."""

    def __init__(self) -> None:
        self.job_dir = self.home = self.tmp = self.spool = self.deadline_file = self.progress_file = NOWHERE

    def write_deadline(self, deadline_us: int | None) -> None:
        return

    def progress(self) -> job_pb2.Progress | None:
        return None

    async def remove(self) -> None:
        return


class _Folders:
    async def make(self, name: str) -> AttemptFolder:
        del name
        return _Folder()


def agent(
    worker_id: str, slots: int, transport: Transport, journal: Journal, commands: Commands, *, queue: str = "default"
) -> Worker:
    """A worker of the product with idle commands."""
    clock = SuspendAwareClock()
    identity = WorkerIdentity(worker_id=worker_id, incarnation=os.urandom(8).hex(), queues=(queue,), slots=slots)
    return Worker(
        identity=identity,
        transport=transport,
        clock=clock,
        random=Random(),
        runner=commands,
        folders=_Folders(),
        copying=journal,
        agent_environment={},
        passed={},
    )


@asynccontextmanager
async def agents(
    workers: Sequence[tuple[str, int]], transport: Transport, journal: Journal, commands: Commands
) -> AsyncIterator[list[Worker]]:
    """Such workers, (id, slots) each, in this process."""
    made = [agent(worker_id, slots, transport, journal, commands) for worker_id, slots in workers]
    tasks = [asyncio.ensure_future(worker.run()) for worker in made]
    try:
        yield made
    finally:
        for worker in made:
            worker.abandon()
        await settle(*tasks)


async def _host(told: dict[str, object]) -> None:
    server, token, queue, file, workers = (told[key] for key in ("server", "token", "queue", "journal", "workers"))
    assert isinstance(workers, list)
    logs.configure(logs.LogLevel.INFO, logs.LogFormat.CONSOLE)
    journal, commands = Journal(Path(str(file)), SuspendAwareClock()), Commands()
    transport = GrpcTransport(address=str(server), token=lambda: str(token))
    async with asyncio.TaskGroup() as group:
        for worker_id, slots in workers:
            made = agent(str(worker_id), int(slots), transport, journal, commands, queue=str(queue))
            group.create_task(made.run())


def main() -> None:
    """Host agents until killed."""
    asyncio.run(_host(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
