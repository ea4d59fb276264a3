"""Uploads while a command runs: nothing is lost, and nothing is sent for nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tenure.agent.sync.gate import FencedOff
from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.s3 import S3Store
from tenure.agent.sync.session import AttemptSync, Counters, SyncRefused, SyncUnreachable
from tenure.agent.sync.watcher import NoWatcher, Watcher
from tenure.runtime.clock import SystemClock
from tenure.v1.job_pb2 import Sync
from tests.agent.conftest import Eventually
from tests.agent.sync.during import during, replace, rule, running
from tests.agent.sync.stores import HandGate, Watched, listing, stored

MakeSync = Callable[..., AttemptSync]


async def test_what_is_written_is_stored(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    counters = Counters()
    async with running(make_sync(store, during(), counters=counters)) as sync:
        (state / "a").write_bytes(b"one")
        await eventually(lambda: ("state/a", b"one") in store.puts)
        (state / "a").write_bytes(b"two")
        await eventually(lambda: ("state/a", b"two") in store.puts)
        await sync.finish_during()
    assert await listing(local, "bucket") == ["state/a"]
    assert (counters.files_uploaded, counters.files_pending) == (2, 0)


@pytest.mark.parametrize("watching", [True, False])
async def test_files_that_were_there_before_are_stored(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually, watching: bool
) -> None:
    (state / "deep").mkdir()
    (state / "deep" / "early").write_bytes(b"early")
    store = Watched(local)
    sync = make_sync(store, during(), **({} if watching else {"watcher": NoWatcher.watch}))
    async with running(sync):
        await eventually(lambda: store.puts == [("state/deep/early", b"early")])


async def test_without_notifications_scans_find_everything(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    async with running(make_sync(store, during(), watcher=NoWatcher.watch)):
        (state / "new").mkdir()
        (state / "new" / "a").write_bytes(b"a")
        await eventually(lambda: store.puts)


async def test_a_folder_whose_name_is_no_text_does_not_end_it(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    """As long as the rule does not ask for what is in it."""
    store = Watched(local)
    async with running(make_sync(store, during(rule(pattern=r"\.saved$")))) as sync:
        os.mkdir(bytes(state) + b"/\xff\xfe")
        os.close(os.open(bytes(state) + b"/\xff\xfe/scratch", os.O_CREAT | os.O_WRONLY))
        (state / "a.saved").write_bytes(b"a")
        await eventually(lambda: store.puts == [("state/a.saved", b"a")])
        await sync.finish_during()


async def test_a_watcher_that_sees_nothing_any_more_is_followed_by_no_other(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    """Nobody would hear it, and what it notes would only grow."""
    store, made = Watched(local), 0

    async def blind(folders: Sequence[Path]) -> Watcher:
        nonlocal made
        made += 1
        watcher = await NoWatcher.watch(folders)
        await watcher.close()
        return watcher

    async with running(make_sync(store, during(), watcher=blind)):
        before = made
        (state / "new").mkdir()
        (state / "new" / "a").write_bytes(b"a")
        await eventually(lambda: store.puts)
        assert made == before


async def test_new_folders_are_watched(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    async with running(make_sync(store, during())):
        (state / "x" / "y" / "z").mkdir(parents=True)
        (state / "x" / "y" / "z" / "a").write_bytes(b"one")
        await eventually(lambda: ("state/x/y/z/a", b"one") in store.puts)
        (state / "x" / "y" / "z" / "a").write_bytes(b"two")
        await eventually(lambda: ("state/x/y/z/a", b"two") in store.puts)


async def test_a_folder_that_is_made_anew_is_watched(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    async with running(make_sync(store, during())):
        for turn in range(3):
            (state / "a").write_bytes(b"%d" % turn)
            await eventually(lambda turn=turn: ("state/a", b"%d" % turn) in store.puts)  # type: ignore[misc]
            await asyncio.to_thread(shutil.rmtree, state)
            await asyncio.to_thread(state.mkdir)
    assert await stored(local, "bucket", "state/a") == b"2"  # removing a file removes no object


@pytest.mark.processes
async def test_the_last_write_is_never_lost(s3: S3Store, s3_bucket: str, make_sync: MakeSync, state: Path) -> None:
    """50 writes, the last one while an upload is in flight, and the command ends at once."""
    store = Watched(s3)
    in_flight, written = asyncio.Event(), asyncio.Event()

    async def hold(key: str) -> None:
        if last:
            in_flight.set()
            await written.wait()

    last = False
    store.before_put = hold
    async with running(make_sync(store, during(rule(bucket=s3_bucket, quiet_ms=20, wait_ms=100)))) as sync:
        for turn in range(49):
            replace(state / "state.txt", b"step %d\n" % turn)
            await asyncio.sleep(0.02)
        last = True
        replace(state / "state.txt", b"step 48 again\n")
        await asyncio.wait_for(in_flight.wait(), 20)
        replace(state / "state.txt", b"step 49\n")
        written.set()
        await sync.finish_during()
    assert await stored(s3, s3_bucket, "state/state.txt") == b"step 49\n"
    assert 2 <= len([key for key, _ in store.puts if key == "state/state.txt"]) <= 50


async def test_a_change_during_an_upload_is_sent_without_a_notification(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)

    async def change(key: str) -> None:
        if not store.puts:
            (state / "a").write_bytes(b"second")

    store.before_put = change
    (state / "a").write_bytes(b"first")
    async with running(make_sync(store, during(), watcher=NoWatcher.watch)):
        await eventually(lambda: ("state/a", b"second") in store.puts)


async def test_unchanged_content_is_not_sent_again(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    async with running(make_sync(store, during())) as sync:
        (state / "a").write_bytes(b"same")
        await eventually(lambda: store.puts)
        for _ in range(5):
            replace(state / "a", b"same")
            (state / "b").write_bytes(b"%d" % _)
            await eventually(lambda: ("state/b", b"%d" % _) in store.puts)  # noqa: B023
        await sync.finish_during()
    assert [data for key, data in store.puts if key == "state/a"] == [b"same"]


async def test_a_file_is_left_alone_until_it_is_quiet(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    quiet = rule(quiet_ms=3_600_000, wait_ms=3_600_000, pattern="^slow")
    async with running(make_sync(store, during(quiet, rule("other", pattern="^fast")))) as sync:
        (state / "slow").write_bytes(b"half")
        for turn in range(3):
            (state / "fast").write_bytes(b"%d" % turn)
            await eventually(lambda turn=turn: ("other/fast", b"%d" % turn) in store.puts)  # type: ignore[misc]
        assert not [key for key, _ in store.puts if "slow" in key]
        await sync.finish_during()
    assert await stored(local, "bucket", "state/slow") == b"half"


async def test_a_file_that_is_never_quiet_is_stored_all_the_same(
    local: LocalStore, make_sync: MakeSync, state: Path
) -> None:
    store = Watched(local)
    async with running(make_sync(store, during(rule(quiet_ms=3_600_000, wait_ms=300)))), asyncio.timeout(20):
        size = 0
        while len(store.puts) < 2:
            with (state / "log").open("ab") as file:
                file.write(b"line\n")
            size += 5
            await asyncio.sleep(0.02)
    assert all(data == b"line\n" * (len(data) // 5) for _, data in store.puts)


async def test_two_rules_on_one_folder_do_not_disturb_each_other(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    async with running(make_sync(store, during(rule("one"), rule("two"), rule("odd", pattern="[13]$")))) as sync:
        for number in range(4):
            (state / str(number)).write_bytes(b"%d" % number)
        await eventually(lambda: len(store.puts) == 10)
        await sync.finish_during()
    assert await listing(local, "bucket") == sorted(
        [f"{prefix}/{number}" for prefix in ("one", "two") for number in range(4)] + ["odd/1", "odd/3"]
    )
    assert len(store.puts) == 10


async def test_failures_for_a_while_do_no_harm(
    local: LocalStore, make_sync: MakeSync, state: Path, eventually: Eventually
) -> None:
    store = Watched(local)
    store.fail_puts = 6
    counters = Counters()
    async with running(make_sync(store, during(), counters=counters)):
        (state / "a").write_bytes(b"a")
        (state / "b").write_bytes(b"b")
        await eventually(lambda: len(store.puts) == 2)
        assert counters.errors == 6


@pytest.mark.parametrize(
    ("bucket", "fail_puts", "error"), [("missing", 0, SyncRefused), ("bucket", 1_000_000, SyncUnreachable)]
)
async def test_who_waits_is_told_why_the_uploads_gave_up(
    local: LocalStore,
    make_sync: MakeSync,
    state: Path,
    bucket: str,
    fail_puts: int,
    error: type[Exception],
) -> None:
    store = Watched(local)
    store.fail_puts = fail_puts
    async with running(make_sync(store, during(rule(bucket=bucket)), retry_budget_s=0.3)) as sync:
        (state / "a").write_bytes(b"a")
        assert isinstance(await asyncio.wait_for(sync.wait_failed(), 20), error)
        with pytest.raises(error):
            await sync.finish_during()


async def test_the_end_of_the_lease_ends_the_uploads(
    local: LocalStore, make_sync: MakeSync, state: Path, clock: SystemClock, eventually: Eventually
) -> None:
    gate = HandGate(clock)
    (state / "a").write_bytes(b"a")
    async with running(make_sync(local, during(), gate=gate)) as sync:
        await eventually(lambda: gate.waiting)
        gate.fence_off()
        assert isinstance(await asyncio.wait_for(sync.wait_failed(), 20), FencedOff)
        with pytest.raises(FencedOff):
            await sync.finish_during()
    assert await listing(local, "bucket") == []


async def test_a_closed_gate_holds_uploads_back_until_it_opens(
    local: LocalStore, make_sync: MakeSync, state: Path, clock: SystemClock, eventually: Eventually
) -> None:
    gate = HandGate(clock)
    store = Watched(local)
    (state / "a").write_bytes(b"a")
    async with running(make_sync(store, during(), gate=gate)):
        await eventually(lambda: gate.waiting)
        assert await listing(local, "bucket") == []
        gate.open.set()
        await eventually(lambda: store.puts)


async def test_nobody_is_told_while_all_is_well(local: LocalStore, make_sync: MakeSync, state: Path) -> None:
    async with running(make_sync(local, during())) as sync:
        failed = asyncio.create_task(sync.wait_failed())
        (state / "a").write_bytes(b"a")
        await sync.finish_during()
        await asyncio.sleep(0)
        assert not failed.done()
        failed.cancel()
    assert await stored(local, "bucket", "state/a") == b"a"


async def test_a_folder_swapped_for_a_symlink_gives_nothing_away(
    local: LocalStore, make_sync: MakeSync, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_bytes(b"secret")
    async with running(make_sync(local, during())) as sync:
        os.rmdir(state)
        os.symlink(tmp_path / "secrets", state)
        error = await asyncio.wait_for(sync.wait_failed(), 20)
        assert isinstance(error, SyncRefused)
    assert await listing(local, "bucket") == []


async def test_links_and_pipes_are_passed_over(
    local: LocalStore, make_sync: MakeSync, state: Path, tmp_path: Path, eventually: Eventually
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    store = Watched(local)
    async with running(make_sync(store, during())) as sync:
        (state / "link").symlink_to(tmp_path / "secret")
        (state / "all").symlink_to(tmp_path)
        os.mkfifo(state / "pipe")
        (state / "file").write_bytes(b"file")
        await eventually(lambda: store.puts)
        await sync.finish_during()
    assert await listing(local, "bucket") == ["state/file"]


async def test_closing_in_the_middle_leaves_nothing_running(
    local: LocalStore, make_sync: MakeSync, state: Path, clock: SystemClock, eventually: Eventually
) -> None:
    gate = HandGate(clock)
    before = asyncio.all_tasks()
    for number in range(20):
        (state / str(number)).write_bytes(b"x")
    counters = Counters()
    async with running(make_sync(local, during(), gate=gate, counters=counters)) as sync:
        await eventually(lambda: gate.waiting == 8)
        assert counters.files_pending == 20
    await sync.close()
    assert asyncio.all_tasks() == before
    assert await listing(local, "bucket") == []


async def test_a_job_without_rules_has_nothing_to_do(local: LocalStore, make_sync: MakeSync) -> None:
    async with running(make_sync(local, Sync())) as sync:
        await sync.finish_during()
        await sync.after()
    await sync.clean()
