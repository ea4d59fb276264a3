"""The worker's composition root: everything real is made here and passed in, and signals become drains.

One process a machine (or a work directory): it adopts the orphans of its commands, so nothing else may run in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from pathlib import Path
from random import SystemRandom

from tenure.agent import strays
from tenure.agent.cgroup import CgroupParent, find_cgroup_parent
from tenure.agent.config import WorkerConfig
from tenure.agent.copying import StoreCopying
from tenure.agent.environment import DEFAULT_PATH
from tenure.agent.guard import Guard
from tenure.agent.process import LocalRunner
from tenure.agent.sync.offload import Threads, started_threads
from tenure.agent.sync.s3 import S3Store
from tenure.agent.sync.s3_client import S3Clients
from tenure.agent.sync.watcher import FolderWatcher
from tenure.agent.transport import GrpcTransport
from tenure.agent.waiting import settle
from tenure.agent.workdir import WorkDir
from tenure.agent.worker import Worker, WorkerIdentity
from tenure.runtime.clock import Clock, SystemClock, since_boot_ns
from tenure.runtime.ids import Uuid7Ids
from tenure.runtime.logs import get_logger
from tenure.runtime.stop import stop_on_signals
from tenure.runtime.surroundings import spare_commands

log = get_logger("worker")

STORE_THREADS = 16
FILE_THREADS = 8
LONG_FILE_THREADS = 4
PREEMPTION_POLL_S = 0.5


class SuspendAwareClock(SystemClock):
    """The machine's clock, whose monotonic time goes on while the machine is suspended: so do leases."""

    def __init__(self) -> None:
        super().__init__(monotonic_ns=since_boot_ns, suspended_ns=lambda: 0)


async def run_worker(config: WorkerConfig, on_connected: Callable[[str], None]) -> int:
    """Run a worker until a signal, a preemption notice or the server ends it.

    Args:
        config: its settings.
        on_connected: called once, with the worker's id, when the server has first answered.

    Returns:
        The exit code of the process: 0, or 1 when the server did not acknowledge what became of a job.

    Raises:
        WorkDirUnusable: the work directory cannot be used.
        ConnectionRefused: the server does not take this worker.
        OSError: this machine has too little left for a worker.
    """
    _harden()
    async with _assembled(config) as (worker, worker_id, clock):
        with stop_on_signals(on_second=worker.abandon) as stop:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR1, worker.drain, "preemption notice")
            helpers = [
                asyncio.ensure_future(_drain_when_stopped(worker, stop)),
                asyncio.ensure_future(_announce(worker, worker_id, on_connected)),
            ]
            if config.preemption_file is not None:
                helpers.append(asyncio.ensure_future(_drain_when_preempted(worker, config.preemption_file, clock)))
            try:
                acknowledged = await worker.run()
            finally:
                await settle(*helpers)
                loop.remove_signal_handler(signal.SIGUSR1)
    log.info("ended", worker_id=worker_id)
    return 0 if acknowledged else 1


@contextlib.asynccontextmanager
async def _assembled(config: WorkerConfig) -> AsyncIterator[tuple[Worker, str, Clock]]:
    """A worker with everything it needs, which is put away afterwards."""
    clock, ids, random = SuspendAwareClock(), Uuid7Ids(), SystemRandom()
    clients = S3Clients(config.environment, connections=STORE_THREADS)
    with contextlib.ExitStack() as stack:
        stack.callback(clients.close)
        file_threads = started_threads(FILE_THREADS, "files")
        offload = Threads(file_threads, long_at_once=LONG_FILE_THREADS)
        folders = WorkDir(config.work_dir, offload)
        stack.callback(folders.close)
        # Joined before the lock is given back: nobody else may have the folder while they are at work in it.
        stack.enter_context(file_threads)
        store_threads = stack.enter_context(started_threads(STORE_THREADS, "store"))
        # Its own thread: the end of one attempt's command must not wait for the files of another.
        processes = Threads(stack.enter_context(started_threads(1, "processes")))
        worker_id = folders.worker_id(ids, config.worker_id)
        cgroups = _clear_away(folders)
        guard = Guard(cgroups, folders.jobs)
        stack.callback(guard.close)
        if not guard.works:
            log.warning(
                "not_hardened", what="guardian", why="it does not start: kill -9 of this worker leaves its commands"
            )
        identity = WorkerIdentity(
            worker_id=worker_id,
            incarnation=ids.new(),
            queues=config.queues,
            slots=config.slots,
            allowed_roots=config.allowed_roots,
            labels=config.labels,
            hostname=socket.gethostname()[:256],
            agent_version=metadata.version("tenure")[:64],
        )
        log.info("starting", worker_id=worker_id, server=config.server, queues=config.queues, slots=config.slots)
        transport = GrpcTransport(address=config.server, token=config.token, tls=config.tls)
        yield (
            Worker(
                identity=identity,
                transport=transport,
                shipping=transport,
                clock=clock,
                random=random,
                runner=LocalRunner(
                    clock=clock,
                    offload=processes,
                    path=config.environment.get("PATH") or DEFAULT_PATH,
                    cgroups=cgroups,
                    guard=guard,
                    owns_process=True,
                ),
                folders=folders,
                copying=StoreCopying(
                    store=S3Store(clients=clients, executor=store_threads, clock=clock),
                    clock=clock,
                    random=random,
                    offload=offload,
                    watcher=FolderWatcher.watch,
                    allowed_roots=[Path(root) for root in config.allowed_roots],
                ),
                agent_environment=config.environment,
                passed=config.passed,
            ),
            worker_id,
            clock,
        )


def _harden() -> None:
    """Own the orphans of our commands, keep our memory, which knows the token, from them, and leave them signals."""
    spare_commands()
    for protect in (strays.adopt_orphans, strays.hide_memory):
        try:
            protect()
        except OSError as error:
            log.warning("not_hardened", what=protect.__name__, why=error.strerror)


def _clear_away(folders: WorkDir) -> CgroupParent | None:
    """End and remove what an earlier agent of this work directory left."""
    name = f"tenure-worker-{hashlib.sha256(str(folders.folder).encode()).hexdigest()[:16]}"
    cgroups = find_cgroup_parent(name)
    groups = cgroups.kill_stale() if cgroups is not None else 0
    processes = strays.kill_below(folders.jobs)
    left = folders.remove_stale()
    if groups or processes or left:
        log.info("cleared_away", folders=left, processes=processes, groups=groups)
    return cgroups


async def _drain_when_stopped(worker: Worker, stop: asyncio.Event) -> None:
    await stop.wait()
    worker.drain("worker is draining")


async def _drain_when_preempted(worker: Worker, file: Path, clock: Clock) -> None:
    # One that cannot be looked at is not there: unlike its `exists`, this raises nothing.
    while not os.path.exists(file):  # noqa: ASYNC240 - one look at a local file
        await clock.sleep(PREEMPTION_POLL_S)
    worker.drain("preemption notice")


async def _announce(worker: Worker, worker_id: str, on_connected: Callable[[str], None]) -> None:
    await worker.connected.wait()
    on_connected(worker_id)
