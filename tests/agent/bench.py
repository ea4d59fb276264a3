"""A worker against a server that the test plays, with real processes and a real folder as object store."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tenure.agent.assignment import Assignment
from tenure.agent.copying import Copying, CopyingFactory, StoreCopying
from tenure.agent.process import LocalRunner
from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.offload import Threads
from tenure.agent.sync.watcher import FolderWatcher
from tenure.agent.transport import GrpcTransport
from tenure.agent.workdir import AttemptFolder, WorkDir
from tenure.agent.worker import Worker, WorkerIdentity
from tenure.runtime.clock import SystemClock
from tenure.v1 import job_pb2
from tests.agent.fake_server import FakeServer

PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
BUCKET = "bucket"


class Bench:
    """One worker, its server, its store.

    Attributes:
        objects: the folder of the object store.
        copying: makes the sync of attempts; replaced by tests that play the store.
    """

    def __init__(self, folder: Path, server: FakeServer, offload: Threads, clock: SystemClock) -> None:
        self.server = server
        self.folder = folder
        self.clock = clock
        self.offload = offload
        self.work_dir = WorkDir(folder / "agent", offload)
        self.store = LocalStore(folder / "objects", offload=offload)
        self.store.create_bucket(BUCKET)
        self.allowed_roots: tuple[str, ...] = (str(folder / "data"),)
        self.random = Random(1)
        self.copying: CopyingFactory = StoreCopying(
            store=self.store,
            clock=clock,
            random=self.random,
            offload=offload,
            watcher=FolderWatcher.watch,
            allowed_roots=[Path(root) for root in self.allowed_roots],
        )
        self.passed: Mapping[str, str] = {}
        self.running: list[tuple[Worker, asyncio.Task[bool]]] = []

    def start(self, *, slots: int = 1, worker_id: str = "w1", token: str | None = "secret") -> Worker:
        """A worker that connects now."""
        transport = GrpcTransport(address=f"127.0.0.1:{self.server.port}", token=lambda: token)
        worker = Worker(
            identity=WorkerIdentity(
                worker_id=worker_id,
                incarnation=os.urandom(8).hex(),
                queues=("default",),
                slots=slots,
                allowed_roots=self.allowed_roots,
            ),
            transport=transport,
            shipping=transport,
            clock=self.clock,
            random=self.random,
            runner=LocalRunner(clock=self.clock, offload=self.offload, path=PATH),
            folders=self.work_dir,
            copying=self.copying,
            agent_environment={"PATH": PATH, "LANG": "C.UTF-8", "AWS_SECRET_ACCESS_KEY": "hidden"},
            passed=self.passed,
        )
        self.running.append((worker, asyncio.create_task(worker.run())))
        return worker

    async def ended(self, index: int = 0) -> bool:
        """What `run` of a worker came to."""
        async with asyncio.timeout(20):
            return await self.running[index][1]

    def attempts(self) -> list[str]:
        """Names of the private folders there are."""
        return sorted(entry.name for entry in self.work_dir.jobs.iterdir())

    def job_dir(self, name: str = "job-of-lease-1-1") -> Path:
        return self.work_dir.jobs / name / "work"

    async def object(self, key: str) -> bytes | None:
        """The stored bytes of an object."""
        info = await self.store.head(BUCKET, key)
        if info is None:
            return None
        target = self.folder / "fetched"
        with target.open("w+b") as file:
            await self.store.get(BUCKET, key, file, expected=info)
        return target.read_bytes()

    async def close(self) -> None:
        for worker, task in self.running:
            worker.abandon()
            task.cancel()
        await asyncio.gather(*(task for _, task in self.running), return_exceptions=True)
        await self.server.stop()
        self.work_dir.close()


@asynccontextmanager
async def bench_in(folder: Path) -> AsyncIterator[Bench]:
    """A bench whose server listens."""
    clock = SystemClock()
    server = FakeServer(clock.wall_us)
    await server.start()
    with ThreadPoolExecutor(4) as threads:
        bench = Bench(folder, server, Threads(threads), clock)
        try:
            yield bench
        finally:
            await bench.close()


class PlayedCopying:
    """A sync that a test plays: each step waits for the test, or raises what it is told to."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.open: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.gate: WriteGate | None = None
        self.counters = job_pb2.SyncCounters()

    def __call__(
        self, assignment: Assignment, folder: AttemptFolder, gate: WriteGate, deadline_ns: Callable[[], int | None]
    ) -> tuple[Copying, Callable[[], job_pb2.SyncCounters]]:
        del assignment, folder, deadline_ns
        self.gate = gate
        return self, lambda: self.counters

    def hold(self, step: str) -> None:
        self.open[step] = asyncio.Event()

    async def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.open:
            await self.open[name].wait()
        if name in self.errors:
            raise self.errors[name]

    async def before(self) -> None:
        await self._step("before")

    async def start_during(self) -> None:
        await self._step("start_during")

    async def wait_failed(self) -> Exception:
        return await asyncio.shield(self.failed)

    async def finish_during(self) -> None:
        await self._step("finish_during")

    async def after(self) -> None:
        await self._step("after")

    async def close(self) -> None:
        self.steps.append("close")

    async def clean(self) -> None:
        await self._step("clean")
