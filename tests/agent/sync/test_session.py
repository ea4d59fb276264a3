"""The uploads of an attempt's end: complete, in order, and never around the lease."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tenure.agent.sync.gate import FencedOff
from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.s3 import S3Store
from tenure.agent.sync.session import AttemptSync, Counters, SyncRefused, SyncUnreachable
from tenure.runtime.clock import SystemClock
from tenure.v1.job_pb2 import Sync, SyncRule
from tests.agent.conftest import Eventually
from tests.agent.sync.stores import HandGate, OpenGate, Watched, listing, put, stored

MakeSync = Callable[..., AttemptSync]


def after(path: str = "out", *, bucket: str = "bucket", commit_marker: str = "") -> Sync:
    return Sync(after=[SyncRule(bucket=bucket, prefix="out", local_path=path, commit_marker=commit_marker)])


class Hurried(SystemClock):
    """Waits for nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


async def test_everything_below_the_folder_is_stored(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    counters = Counters()
    sync = make_sync(local, after(), counters=counters)
    await sync.before()
    write(private / "out" / "a", b"a")
    write(private / "out" / "deep" / "b", b"")
    write(private / "not-out" / "c", b"c")
    await sync.after()
    assert await listing(local, "bucket") == ["out/a", "out/deep/b"]
    assert (counters.files_uploaded, counters.bytes_uploaded, counters.files_pending) == (2, 1, 0)


async def test_the_folder_is_there_for_the_command_and_may_be_removed_by_it(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    sync = make_sync(local, after())
    await sync.before()
    assert (private / "out").is_dir()
    (private / "out").rmdir()
    await sync.after()
    assert await listing(local, "bucket") == []


@pytest.mark.processes
async def test_success_waits_for_a_store_that_fails_twice(
    s3: S3Store, s3_bucket: str, make_sync: MakeSync, private: Path
) -> None:
    store = Watched(s3)
    store.fail_puts = 2
    counters = Counters()
    sync = make_sync(store, after(bucket=s3_bucket), counters=counters)
    await sync.before()
    content = {f"out/{number:02}": os.urandom(2000) for number in range(25)}
    for path, data in content.items():
        write(private / path, data)
    await sync.after()
    assert {key: await stored(s3, s3_bucket, key) for key in await listing(s3, s3_bucket)} == content
    assert (counters.files_uploaded, counters.errors) == (25, 2)


async def test_a_store_out_of_reach_is_no_success(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    store = Watched(local)
    store.fail_puts = 1_000_000
    sync = make_sync(store, after(), retry_budget_s=0.3)
    await sync.before()
    write(private / "out" / "a", b"a")
    with pytest.raises(SyncUnreachable, match="could not be reached"):
        await sync.after()


async def test_nothing_is_repeated_after_the_deadline(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    store = Watched(local)
    store.fail_puts = 1_000_000
    sync = make_sync(store, after(), retry_budget_s=3600.0, deadline_ns=lambda: 0)
    await sync.before()
    write(private / "out" / "a", b"a")
    with pytest.raises(SyncUnreachable):
        await sync.after()


async def test_an_object_that_is_refused_is_no_success(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    sync = make_sync(local, after(bucket="missing"))
    await sync.before()
    write(private / "out" / "a", b"a")
    with pytest.raises(SyncRefused, match="no bucket 'missing'"):
        await sync.after()


async def test_what_is_stored_already_is_not_sent_again(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    await put(local, "bucket", "state/loaded", b"loaded", gate=gate)
    await put(local, "bucket", "state/changed", b"loaded", gate=gate)
    rule = SyncRule(bucket="bucket", prefix="state", local_path="state")
    store = Watched(local)
    sync = make_sync(store, Sync(before=[rule], during=[rule], after=[rule]))
    await sync.before()
    os.utime(private / "state" / "loaded")
    write(private / "state" / "changed", b"written")
    await sync.finish_during()
    assert store.puts == [("state/changed", b"written")]
    await sync.finish_during()
    await sync.after()
    assert len(store.puts) == 1


async def test_a_file_that_is_written_back_is_sent_again(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    store = Watched(local)
    sync = make_sync(store, after())
    for data in (b"one", b"two", b"one"):
        write(private / "out" / "a", data)
        await sync.after()
    assert [data for _, data in store.puts] == [b"one", b"two", b"one"]


async def test_a_change_that_leaves_size_and_time_alone_is_found(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    """Two writes within one tick of the file system's clock: the first is read between them."""
    file = private / "out" / "a"
    write(file, b"one")
    time_ns = file.stat().st_mtime_ns
    store = Watched(local)

    async def write_again(key: str) -> None:
        if len(store.puts) == 1:
            file.write_bytes(b"two")
            os.utime(file, ns=(time_ns, time_ns))

    store.after_put = write_again
    await make_sync(store, after()).after()
    assert await stored(local, "bucket", "out/a") == b"two"


async def test_a_time_in_the_future_is_no_trouble(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    write(private / "out" / "a", b"a")
    os.utime(private / "out" / "a", (4_000_000_000, 4_000_000_000))
    await make_sync(local, after()).after()
    assert await stored(local, "bucket", "out/a") == b"a"


async def test_files_that_do_not_stop_changing_are_no_success(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    store = Watched(local)

    async def grow(key: str) -> None:
        with (private / "out" / "a").open("ab") as file:
            file.write(b"more")

    store.after_put = grow
    write(private / "out" / "a", b"a")
    with pytest.raises(SyncRefused, match="keep changing"):
        await make_sync(store, after(), clock=Hurried()).after()


async def test_a_write_that_arrives_late_does_not_win(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    """The store carries a request out that had failed for us, after a later one."""
    store = Watched(local)
    store.fail_puts = 1

    async def late(key: str) -> None:
        if len(store.puts) == 1:
            await put(local, "bucket", key, b"what the first request held", gate=gate)

    store.after_put = late
    write(private / "out" / "a", b"last")
    await make_sync(store, after()).after()
    assert await stored(local, "bucket", "out/a") == b"last"
    assert len(store.puts) == 2


@pytest.mark.processes
async def test_packed_files_come_back_as_they_were(
    s3: S3Store, s3_bucket: str, make_sync: MakeSync, private: Path, tmp_path: Path
) -> None:
    state = b"step 42\n" * 10_000
    own = gzip.compress(b"packed by the job itself")
    counters = Counters()
    sync = make_sync(s3, after(bucket=s3_bucket), compression=True, counters=counters)
    write(private / "out" / "state.txt", state)
    write(private / "out" / "own.gz", own)
    write(private / "out" / "empty", b"")
    await sync.after()
    assert await listing(s3, s3_bucket) == ["out/empty.gz", "out/own.gz.gz", "out/state.txt.gz"]
    info = await s3.head(s3_bucket, "out/state.txt.gz")
    assert info is not None
    assert info.content_encoding == "gzip"
    assert info.size < 1000
    assert counters.bytes_uploaded < 2000

    plain = gzip.compress(b"somebody put it there")
    await put(s3, s3_bucket, "out/theirs.gz", plain, gate=OpenGate(SystemClock()))
    for compression in (True, False):
        folder = tmp_path / f"next-{compression}"
        folder.mkdir()
        rules = Sync(before=[SyncRule(bucket=s3_bucket, prefix="out", local_path="out")])
        await make_sync(s3, rules, compression=compression, folder=folder).before()
        found = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
        assert found == {"state.txt": state, "own.gz": own, "empty": b"", "theirs.gz": plain}


async def test_what_was_loaded_packed_is_not_sent_again(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    packed = gzip.compress(b"state")
    await put(local, "bucket", "state/a.gz", packed, gate=gate, content_encoding="gzip")
    rule = SyncRule(bucket="bucket", prefix="state", local_path="state")
    store = Watched(local)
    sync = make_sync(store, Sync(before=[rule], after=[rule]), compression=True)
    await sync.before()
    await sync.after()
    os.utime(private / "state" / "a")
    await sync.after()
    assert store.puts == []


async def test_commit_markers_go_last(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    store = Watched(local)
    sync = make_sync(store, after(commit_marker="(^|/)(DONE|latest)$"))
    for name in ("DONE", "a/DONE", "a/data", "latest", "z"):
        write(private / "out" / name, name.encode())
    await sync.after()
    assert {key for key, _ in store.puts[:2]} == {"out/a/data", "out/z"}
    assert {key for key, _ in store.puts[2:]} == {"out/DONE", "out/a/DONE", "out/latest"}


async def test_links_and_pipes_are_not_stored(
    local: LocalStore, make_sync: MakeSync, private: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    write(private / "out" / "file", b"file")
    (private / "out" / "link").symlink_to(secret)
    (private / "out" / "folder").symlink_to(tmp_path)
    os.mkfifo(private / "out" / "pipe")
    counters = Counters()
    await make_sync(local, after(), counters=counters).after()
    assert await listing(local, "bucket") == ["out/file"]
    assert counters.files_skipped == 3


async def test_a_folder_that_became_a_symlink_is_refused(
    local: LocalStore, make_sync: MakeSync, private: Path, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_bytes(b"secret")
    sync = make_sync(local, after())
    await sync.before()
    (private / "out").rmdir()
    (private / "out").symlink_to(tmp_path / "secrets")
    with pytest.raises(SyncRefused, match="not a folder"):
        await sync.after()
    assert await listing(local, "bucket") == []


async def test_a_name_that_could_not_be_loaded_again_is_refused(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    write(private / "out" / "back\\slash", b"x")
    with pytest.raises(SyncRefused, match="backslash"):
        await make_sync(local, after()).after()


async def test_absolute_folders_are_cleaned_and_objects_stay(
    local: LocalStore, make_sync: MakeSync, tmp_path: Path
) -> None:
    folder = tmp_path / "app" / "out"
    sync = make_sync(local, after(path=f"{folder}/"), allowed=(tmp_path / "app",))
    await sync.before()
    write(folder / "a", b"a")
    await sync.after()
    await sync.close()
    await sync.clean()
    assert os.listdir(folder) == []
    assert await listing(local, "bucket") == ["out/a"]


async def test_a_closed_gate_holds_uploads_back(
    local: LocalStore, make_sync: MakeSync, private: Path, clock: SystemClock, eventually: Eventually
) -> None:
    gate = HandGate(clock)
    sync = make_sync(local, after(), gate=gate)
    for number in range(12):
        write(private / "out" / str(number), b"x")
    uploading = asyncio.create_task(sync.after())
    await eventually(lambda: gate.waiting == 8)
    assert await listing(local, "bucket") == []
    gate.open.set()
    await uploading
    assert len(await listing(local, "bucket")) == 12


async def test_the_end_of_the_lease_ends_the_uploads(
    local: LocalStore, make_sync: MakeSync, private: Path, clock: SystemClock, eventually: Eventually
) -> None:
    gate = HandGate(clock)
    sync = make_sync(local, after(), gate=gate)
    write(private / "out" / "a", b"x")
    uploading = asyncio.create_task(sync.after())
    await eventually(lambda: gate.waiting)
    gate.fence_off()
    with pytest.raises(FencedOff):
        await uploading
    assert await listing(local, "bucket") == []


async def test_loading_asks_no_leave(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate, clock: SystemClock
) -> None:
    await put(local, "bucket", "in/a", b"a", gate=gate)
    closed = HandGate(clock)
    rules = Sync(before=[SyncRule(bucket="bucket", prefix="in", local_path="in")])
    await make_sync(local, rules, gate=closed).before()
    assert (private / "in" / "a").read_bytes() == b"a"
