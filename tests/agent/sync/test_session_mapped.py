"""Files that a command writes through a mapping: their time may stay what it was at the first write."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.session import AttemptSync
from tenure.v1.job_pb2 import Sync
from tests.agent.conftest import Eventually
from tests.agent.sync.during import during, rule, running
from tests.agent.sync.stores import Watched, stored

MakeSync = Callable[..., AttemptSync]

EARLIER_NS = 1_700_000_000_000_000_000


def write_unseen(path: Path, data: bytes) -> None:
    """Write a file in place and leave it the time it would have after a write through a mapping."""
    path.write_bytes(data)
    os.utime(path, ns=(EARLIER_NS, EARLIER_NS))


@pytest.mark.parametrize("compression", [False, True])
async def test_the_last_pass_reads_what_was_uploaded_while_the_command_ran(
    compression: bool, local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    sync = make_sync(store, during(rule(commit_marker="^DONE$")), compression=compression)
    suffix = ".gz" if compression else ""
    for name in ("mapped", "same", "DONE"):
        write_unseen(state / name, b"first")
    async with running(sync):
        await eventually(lambda: len(store.puts) == 3)
        write_unseen(state / "mapped", b"final")
        await sync.finish_during()
        await sync.finish_during()
    assert [key for key, _ in store.puts[3:]] == [f"state/mapped{suffix}"]
    if not compression:
        assert await stored(local, "bucket", "state/mapped") == b"final"


async def test_output_that_was_uploaded_while_the_command_ran_is_read_again(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    """Also where no last pass of the `during` rules came before."""
    store = Watched(local)
    write_unseen(state / "mapped", b"first")
    async with running(make_sync(store, Sync(during=[rule()], after=[rule()]))) as sync:
        await eventually(lambda: len(store.puts) == 1)
        write_unseen(state / "mapped", b"final")
        await sync.after()
    assert [data for _, data in store.puts] == [b"first", b"final"]


async def test_what_is_written_last_through_a_mapping_is_stored(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    (state / "mapped").write_bytes(bytes(4096))
    async with running(make_sync(store, during(rule(quiet_ms=200)))) as sync:
        with (state / "mapped").open("r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped:
            mapped[:5] = b"first"
            await eventually(lambda: any(data.startswith(b"first") for _, data in store.puts))
            mapped[:5] = b"final"
        await sync.finish_during()
    assert (await stored(local, "bucket", "state/mapped") or b"").startswith(b"final")
