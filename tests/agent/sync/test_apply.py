"""Commit markers: never in the store before the data that was written ahead of them."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tenure.agent.sync import beneath
from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.s3 import S3Store
from tenure.agent.sync.session import AttemptSync, Counters
from tests.agent.conftest import Eventually
from tests.agent.sync.during import during, replace, rule, running
from tests.agent.sync.stores import Watched, listing, stored

MakeSync = Callable[..., AttemptSync]


@pytest.mark.processes
async def test_commit_markers_come_after_their_data_under_load(
    s3: S3Store, s3_bucket: str, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    """Checkpoints of five files each, a marker in each and one that names the last, written as fast as it goes."""
    store = Watched(s3)
    jitter = random.Random(3)
    broken: list[tuple[str, str]] = []

    async def delay(key: str) -> None:
        await asyncio.sleep(jitter.random() * 0.02)

    async def check(key: str) -> None:
        have = {name for name, _ in store.puts}
        if key.endswith(("DONE", "latest")):
            checkpoint = store.puts[-1][1].decode()
            missing = {f"state/{checkpoint}/{part}" for part in range(5)} - have
            broken.extend((key, name) for name in missing)

    store.before_put, store.after_put = delay, check
    marking = rule(bucket=s3_bucket, quiet_ms=10, wait_ms=50, commit_marker="(^|/)(DONE|latest)$", pattern="[^~]$")
    counters = Counters()
    async with running(make_sync(store, during(marking), counters=counters)) as sync:
        for number in range(30):
            folder = state / f"checkpoint-{number:02}"
            folder.mkdir()
            for part in range(5):
                (folder / str(part)).write_bytes(os.urandom(1000))
                await asyncio.sleep(0.002)
            (folder / "DONE").write_bytes(folder.name.encode())
            replace(state / "latest", folder.name.encode())
            await asyncio.sleep(jitter.random() * 0.05)
        await eventually(lambda: any(key.endswith("DONE") for key, _ in store.puts))
        await sync.finish_during()
    assert broken == []
    assert len(await listing(s3, s3_bucket)) == 30 * 6 + 1
    assert await stored(s3, s3_bucket, "state/latest") == b"checkpoint-29"
    assert counters.files_pending == 0


async def test_a_marker_waits_for_data_of_other_rules(
    local: LocalStore, make_sync: MakeSync, private: Path, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    slow = rule("data", "data", quiet_ms=3_600_000, wait_ms=3_600_000)
    async with running(make_sync(store, during(rule(commit_marker="^DONE$"), slow))):
        (private / "data" / "weights").write_bytes(b"weights")
        (state / "DONE").write_bytes(b"1")
        await eventually(lambda: ("state/DONE", b"1") in store.puts)
    assert [key for key, _ in store.puts] == ["data/weights", "state/DONE"]


async def test_a_marker_that_is_written_again_waits_for_its_own_data(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    """While the data of the first marker is stored, the next checkpoint is written: its marker must not slip in."""
    store = Watched(local)

    async def next_checkpoint(key: str) -> None:
        if key == "state/data-1":
            (state / "data-2").write_bytes(b"2")
            replace(state / "latest", b"2")

    store.before_put = next_checkpoint
    async with running(make_sync(store, during(rule(commit_marker="^latest$")))):
        (state / "data-1").write_bytes(b"1")
        replace(state / "latest", b"1")
        await eventually(lambda: ("state/latest", b"2") in store.puts)
    order = [(key, data) for key, data in store.puts if "~" not in key]
    assert order.index(("state/data-2", b"2")) < order.index(("state/latest", b"2"))
    assert order.index(("state/data-1", b"1")) < order.index(("state/latest", b"2"))


def checkpoint(folder: Path) -> None:
    """Twenty shards, and the marker that says they are all there."""
    folder.mkdir()
    for shard in range(20):
        (folder / f"shard-{shard:02}").write_bytes(b"%d" % shard)
    (folder / "DONE").write_bytes(b"")


async def test_the_marker_of_a_checkpoint_that_is_removed_on_its_way_is_not_stored(
    local: LocalStore, make_sync: MakeSync, state: Path
) -> None:
    """Some of its shards are stored for good by then: a marker would call that whole."""
    store = Watched(local)

    async def only_the_last_is_kept(key: str) -> None:
        if (state / "step10").exists():
            shutil.rmtree(state / "step10")
            checkpoint(state / "step11")

    store.before_put = only_the_last_is_kept
    sync = make_sync(store, during(rule(commit_marker="(^|/)DONE$")))
    await sync.before()
    checkpoint(state / "step10")
    await sync.finish_during()
    keys = await listing(local, "bucket")
    assert len([key for key in keys if key.startswith("state/step10/shard-")]) < 20
    assert "state/step10/DONE" not in keys
    assert len([key for key in keys if key.startswith("state/step11/")]) == 21


async def test_the_marker_of_a_checkpoint_that_is_half_removed_waits(
    local: LocalStore, make_sync: MakeSync, state: Path
) -> None:
    store = Watched(local)

    async def remove_by_and_by(key: str) -> None:
        if key == "state/step10/shard-00":
            for shard in range(10, 20):
                (state / "step10" / f"shard-{shard}").unlink()
            (state / "other").write_bytes(b"something to be stored in the next turn")
        elif key == "state/other":
            shutil.rmtree(state / "step10")

    store.before_put = remove_by_and_by
    sync = make_sync(store, during(rule(commit_marker="(^|/)DONE$")))
    await sync.before()
    checkpoint(state / "step10")
    await sync.finish_during()
    keys = await listing(local, "bucket")
    assert "state/other" in keys
    assert "state/step10/DONE" not in keys


@pytest.mark.parametrize("scans", [1, 2])
async def test_the_marker_of_a_folder_that_is_renamed_is_stored_under_its_new_name_only(
    scans: int, local: LocalStore, make_sync: MakeSync, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the marker was read: either the scan for its data finds the old name no more, or the uploads do."""
    store = Watched(local)
    done = 0

    def rename() -> None:
        if (state / "step.tmp").exists():
            (state / "step.tmp").rename(state / "step")

    def scan(place: beneath.Place, scan: Callable[[beneath.Place], beneath.Scan] = beneath.scan) -> beneath.Scan:
        nonlocal done
        if done == scans:
            rename()
        done += 1
        return scan(place)

    async def rename_on_the_way(key: str) -> None:
        rename()

    monkeypatch.setattr(beneath, "scan", scan)
    store.before_put = rename_on_the_way
    sync = make_sync(store, during(rule(commit_marker="(^|/)DONE$")))
    await sync.before()
    checkpoint(state / "step.tmp")
    await sync.finish_during()
    keys = await listing(local, "bucket")
    assert "state/step.tmp/DONE" not in keys
    assert len([key for key in keys if key.startswith("state/step/")]) == 21


async def test_a_marker_is_stored_although_something_else_is_gone(
    local: LocalStore, make_sync: MakeSync, state: Path
) -> None:
    store = Watched(local)

    async def remove(key: str) -> None:
        (state / "step10.temporary").unlink(missing_ok=True)

    store.before_put = remove
    sync = make_sync(store, during(rule(commit_marker="(^|/)DONE$")))
    await sync.before()
    checkpoint(state / "step10")
    (state / "step10.temporary").write_bytes(b"1")
    await sync.finish_during()
    assert len(await listing(local, "bucket", "state/step10/")) == 21
    assert store.puts[-1][0] == "state/step10/DONE"


async def test_a_marker_that_names_what_is_removed_meanwhile_is_not_stored(
    local: LocalStore, make_sync: MakeSync, state: Path
) -> None:
    store = Watched(local)

    async def only_the_last_is_kept(key: str) -> None:
        if (state / "step10").exists():
            checkpoint(state / "step11")
            replace(state / "latest", b"step11")
            shutil.rmtree(state / "step10")

    store.before_put = only_the_last_is_kept
    sync = make_sync(store, during(rule(commit_marker="^latest$")))
    await sync.before()
    checkpoint(state / "step10")
    replace(state / "latest", b"step10")
    await sync.finish_during()
    assert [data for key, data in store.puts if key == "state/latest"] == [b"step11"]
    assert store.puts[-1][0] == "state/latest"
