"""A file that can be no object fails the attempt, and takes no other file along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.objects import ObjectRefused
from tenure.agent.sync.session import AttemptSync, SyncRefused
from tenure.v1.job_pb2 import Sync, SyncRule
from tests.agent.sync.stores import Watched, listing

MakeSync = Callable[..., AttemptSync]


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


async def test_a_name_that_is_refused_holds_nothing_back_but_commit_markers(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    store = Watched(local)
    rules = [
        SyncRule(bucket="bucket", prefix=path, local_path=path, commit_marker="^DONE$") for path in ("logs", "out", "x")
    ]
    sync = make_sync(store, Sync(after=rules))
    await sync.before()
    for path in ("logs/1", "out/1", "out/2", "out/DONE", "x/1"):
        write(private / path, b"1")
    write(private / "out" / "a\\b", b"")
    write(private / "x" / ("n" * 250 + "\n"), b"")
    for _ in range(2):
        with pytest.raises(SyncRefused, match=r"^2 object keys .*backslash.*control character"):
            await sync.after()
    assert [key for key, _ in sorted(store.puts)] == ["logs/1", "out/1", "out/2", "x/1"]


async def test_uploads_that_were_refused_leave_the_last_pass_to_be_made(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    sync = make_sync(local, Sync(during=[SyncRule(bucket="bucket", prefix="state", local_path="state")]))
    await sync.before()
    await sync.start_during()
    write(private / "state" / "a\\b", b"")
    assert "backslash" in str(await sync.wait_failed())
    write(private / "state" / "last", b"1")
    with pytest.raises(SyncRefused, match="backslash"):
        await sync.finish_during()
    (private / "state" / "a\\b").unlink()
    write(private / "state" / "more", b"1")
    with pytest.raises(SyncRefused, match="backslash"):
        await sync.finish_during()
    assert await listing(local, "bucket") == ["state/last", "state/more"]


async def test_a_file_that_the_store_refuses_holds_nothing_back_but_commit_markers(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    store = Watched(local)

    async def refuse(key: str) -> None:
        if key == "out/00":
            raise ObjectRefused("put bucket/out/00: access denied")

    store.before_put = refuse
    rule = SyncRule(bucket="bucket", prefix="out", local_path="out", commit_marker="^DONE$")
    sync = make_sync(store, Sync(after=[rule]))
    await sync.before()
    for name in (*(f"{number:02}" for number in range(30)), "DONE"):
        write(private / "out" / name, b"1")
    with pytest.raises(SyncRefused, match="out/00: access denied"):
        await sync.after()
    assert await listing(local, "bucket") == [f"out/{number:02}" for number in range(1, 30)]


async def test_a_store_that_refuses_everything_is_not_asked_about_every_file(
    local: LocalStore, make_sync: MakeSync, private: Path
) -> None:
    store = Watched(local)
    tried: list[str] = []

    async def refuse(key: str) -> None:
        tried.append(key)
        raise ObjectRefused("access denied")

    store.before_put = refuse
    sync = make_sync(store, Sync(after=[SyncRule(bucket="bucket", prefix="out", local_path="out")]))
    await sync.before()
    for number in range(100):
        write(private / "out" / str(number), b"1")
    with pytest.raises(SyncRefused, match="access denied"):
        await sync.after()
    assert len(tried) < 50
