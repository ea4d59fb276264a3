"""Short ways to write `during` rules and to have them applied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tenure.agent.sync.session import AttemptSync
from tenure.v1.job_pb2 import Sync, SyncRule


def rule(
    prefix: str = "state",
    path: str = "state",
    *,
    bucket: str = "bucket",
    quiet_ms: int = 50,
    wait_ms: int = 5000,
    pattern: str = "",
    commit_marker: str = "",
) -> SyncRule:
    message = SyncRule(bucket=bucket, prefix=prefix, local_path=path, pattern=pattern, commit_marker=commit_marker)
    message.quiet_period.FromMilliseconds(quiet_ms)
    message.max_wait.FromMilliseconds(wait_ms)
    return message


def during(*rules: SyncRule) -> Sync:
    return Sync(during=rules or [rule()])


@asynccontextmanager
async def running(sync: AttemptSync) -> AsyncIterator[AttemptSync]:
    await sync.before()
    await sync.start_during()
    try:
        yield sync
    finally:
        await sync.close()


def replace(path: Path, data: bytes) -> None:
    """Write a file as careful programs do."""
    temporary = path.with_name("temporary~")
    temporary.write_bytes(data)
    temporary.rename(path)
