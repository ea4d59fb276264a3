"""Fixtures of the sync's tests: both stores, threads, an open gate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tenure.agent.sync.folders import resolve
from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.objects import ObjectStore
from tenure.agent.sync.offload import Threads
from tenure.agent.sync.s3 import S3Store
from tenure.agent.sync.s3_client import S3Clients
from tenure.agent.sync.session import AttemptSync, Counters
from tenure.agent.sync.watcher import FolderWatcher, WatcherFactory
from tenure.runtime.clock import Clock, SystemClock
from tenure.v1 import job_pb2
from tests.agent.sync.stores import OpenGate
from tests.servers.seaweedfs import SeaweedFS, seaweedfs

__all__ = ["seaweedfs"]

_NUMBERS = itertools.count()

MakeSync = Callable[..., AttemptSync]


@pytest.fixture(scope="session")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=16, thread_name_prefix="test") as threads:
        yield threads


@pytest.fixture(scope="session")
def offload(executor: ThreadPoolExecutor) -> Threads:
    return Threads(executor)


@pytest.fixture
def gate() -> OpenGate:
    return OpenGate(SystemClock())


@pytest.fixture
def local(tmp_path: Path, offload: Threads) -> LocalStore:
    store = LocalStore(tmp_path / "store", offload=offload)
    store.create_bucket("bucket")
    return store


@pytest.fixture(scope="session")
def clients(seaweedfs: SeaweedFS) -> Iterator[S3Clients]:
    clients = S3Clients(seaweedfs.environment(), connections=16)
    yield clients
    clients.close()


@pytest.fixture(scope="session")
def s3(clients: S3Clients, executor: ThreadPoolExecutor) -> S3Store:
    return S3Store(clients=clients, executor=executor, clock=SystemClock())


@pytest.fixture
def s3_bucket(seaweedfs: SeaweedFS) -> str:
    name = f"bucket-{next(_NUMBERS)}"
    seaweedfs.create_bucket(name)
    return name


@pytest.fixture
def private(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def state(private: Path) -> Path:
    folder = private / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def make_sync(private: Path, offload: Threads, clock: SystemClock, gate: OpenGate) -> MakeSync:
    """An `AttemptSync` whose relative paths lie in `private`; everything can be said otherwise."""

    def make(
        store: ObjectStore,
        rules: job_pb2.Sync,
        *,
        compression: bool = False,
        gate: WriteGate = gate,
        clock: Clock = clock,
        counters: Counters | None = None,
        allowed: tuple[Path, ...] = (),
        folder: Path = private,
        watcher: WatcherFactory = FolderWatcher.watch,
        retry_budget_s: float = 20.0,
        deadline_ns: Callable[[], int | None] = lambda: None,
    ) -> AttemptSync:
        return AttemptSync(
            store=store,
            rules=rules,
            compression=compression,
            resolve_path=lambda path: resolve(path, private=folder, allowed=allowed, trusted=folder.parent.parent),
            owner="attempt 1",
            gate=gate,
            clock=clock,
            counters=counters or Counters(),
            random=Random(1),
            offload=offload,
            watcher=watcher,
            retry_budget_s=retry_budget_s,
            deadline_ns=deadline_ns,
        )

    return make
