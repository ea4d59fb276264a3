"""The port to an attempt's sync, as the attempt's steps use it.

`StoreCopying` is the implementation over an object store; what each call promises is said in `sync.session`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

from tenure.agent.assignment import Assignment
from tenure.agent.sync import folders
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.objects import ObjectStore
from tenure.agent.sync.offload import Offload
from tenure.agent.sync.session import AttemptSync
from tenure.agent.sync.watcher import WatcherFactory
from tenure.agent.workdir import AttemptFolder
from tenure.runtime.clock import Clock
from tenure.v1 import job_pb2

_NS = 1_000_000_000


class Copying(Protocol):
    """The sync of one attempt. Errors: SyncRefused and SyncUnreachable of `sync.retry`, FencedOff of `sync.gate`."""

    async def before(self) -> None:
        """Copy all input."""

    async def start_during(self) -> None:
        """Begin to upload what changes."""

    async def wait_failed(self) -> Exception:
        """Why the uploads have given up; waits while they go on."""

    async def finish_during(self) -> None:
        """Upload what changed last."""

    async def after(self) -> None:
        """Upload the output."""

    async def close(self) -> None:
        """End everything that still runs."""

    async def clean(self) -> None:
        """Empty the absolute folders that are ours."""


class CopyingFactory(Protocol):
    """Makes the sync of an attempt."""

    def __call__(
        self, assignment: Assignment, folder: AttemptFolder, gate: WriteGate, deadline_ns: Callable[[], int | None]
    ) -> tuple[Copying, Callable[[], job_pb2.SyncCounters]]:
        """The sync, and what it has copied so far."""


class StoreCopying:
    """Makes the sync of attempts over one object store."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        clock: Clock,
        random: Random,
        offload: Offload,
        watcher: WatcherFactory,
        allowed_roots: Sequence[Path],
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._offload = offload
        self._watcher = watcher
        self._allowed_roots = allowed_roots

    def __call__(
        self, assignment: Assignment, folder: AttemptFolder, gate: WriteGate, deadline_ns: Callable[[], int | None]
    ) -> tuple[Copying, Callable[[], job_pb2.SyncCounters]]:
        """The sync, and what it has copied so far."""
        counters = Counters()
        sync = AttemptSync(
            store=self._store,
            rules=assignment.sync,
            compression=assignment.compression,
            resolve_path=partial(
                folders.resolve,
                private=folder.job_dir,
                allowed=self._allowed_roots,
                trusted=folder.job_dir.parent.parent,
            ),
            owner=assignment.lease_id,
            gate=gate,
            clock=self._clock,
            counters=counters,
            random=self._random,
            offload=self._offload,
            watcher=self._watcher,
            retry_budget_s=assignment.sync_retry_budget_ns / _NS,
            deadline_ns=deadline_ns,
            spool=folder.spool,
        )
        return sync, partial(to_message, counters)


def to_message(counters: Counters) -> job_pb2.SyncCounters:
    """The counters as they travel with a beat."""
    return job_pb2.SyncCounters(
        files_downloaded=counters.files_downloaded,
        files_uploaded=counters.files_uploaded,
        bytes_downloaded=counters.bytes_downloaded,
        bytes_uploaded=counters.bytes_uploaded,
        files_pending=counters.files_pending,
        errors=counters.errors,
    )
