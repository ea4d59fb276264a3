"""A backup put back: checked first, in a new epoch, and never half there."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from tenure.controlplane.resume import ResumeTokens
from tenure.domain.errors import Reason, Refused
from tenure.store import restore
from tenure.store.anchor import AnchorMismatch, read_anchor, write_anchor
from tenure.store.lock import StoreLocked
from tenure.store.offline import verify_directory
from tenure.store.restore import Restored, restore_directory
from tenure.store.sqlite_schema import BadDatabase
from tenure.store.store import TokenRow
from tests.store.making import add_jobs, change, life, load, put
from tests.store.opening import opened
from tests.store.test_verify import damage


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with 7 events, of which the backup beside it has 5."""
    async with opened(tmp_path / "data") as store:
        a, _ = await add_jobs(store, "a", "b")
        await put(store, change(a, *life(a)))
        await store.add_token(TokenRow(id="t", digest=b"d" * 32, role="user", subject="s"))
        await store.backup(tmp_path / "backup.db")
        await add_jobs(store, "c", "d")
    return tmp_path / "data"


@pytest.fixture
def backup(data: Path, tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


def put_back(backup: Path, directory: Path, *, replace: bool = True) -> Restored:
    return restore_directory(backup, directory, replace=replace, progress=lambda reached, last: None)


def problems(directory: Path) -> list[str]:
    *_, (_, report) = verify_directory(directory)
    return report.problems


async def test_it_is_the_log_as_it_was_in_a_new_epoch(data: Path, backup: Path) -> None:
    before = read_anchor(data)
    assert before is not None
    restored = put_back(backup, data)
    assert (restored.head.position, restored.head.epoch, restored.lost) == (5, 2, 2)
    assert restored.head.log_id == before.log_id
    assert problems(data) == []
    async with opened(data) as store:
        assert store.head() == restored.head
        assert set(await store.load_jobs(["a", "b", "c"])) == {"a", "b"}
        assert [token.id for token in await store.list_tokens()] == ["t"]
        # It goes on from there, on the same chain.
        (job,) = await add_jobs(store, "new")
        assert (await load(store, job.id)).created_position == 6
    assert problems(data) == []


async def test_what_was_there_is_kept(data: Path, backup: Path) -> None:
    kept = put_back(backup, data).kept
    assert kept == data / "replaced-1"
    assert problems(kept) == []
    async with opened(kept) as store:
        assert store.head().position == 7
    assert put_back(backup, data).kept == data / "replaced-2"


async def test_what_is_kept_is_on_disk(data: Path, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    really = os.fsync

    def fsync(file: int) -> None:
        synced.add(os.fstat(file).st_ino)
        really(file)

    monkeypatch.setattr(os, "fsync", fsync)
    kept = put_back(backup, data).kept
    assert kept is not None
    for path in (kept, kept / "anchor.json", data, data / "tenure.db", data / "anchor.json"):
        assert path.stat().st_ino in synced, path


async def test_a_full_disk_is_not_the_backups_fault(data: Path, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    before = content(data)
    monkeypatch.setattr(restore, "copy_into", full)
    with pytest.raises(BadDatabase, match=f"the disk of {data} is full. Nothing was changed"):
        put_back(backup, data)
    assert content(data) == before


async def test_every_restore_is_an_epoch_of_its_own(data: Path, backup: Path) -> None:
    assert [put_back(backup, data).head.epoch for _ in range(3)] == [2, 3, 4]
    (data / "anchor.json").write_text("damaged")
    assert put_back(backup, data).head.epoch == 5


async def test_who_has_seen_what_is_lost_is_told(data: Path, backup: Path) -> None:
    async with opened(data) as store:
        seen = await ResumeTokens(store, b"key").make(store.head().position)
        early = await ResumeTokens(store, b"key").make(3)
    put_back(backup, data)
    async with opened(data) as store:
        tokens = ResumeTokens(store, b"key")
        for token in (seen, early):
            with pytest.raises(Refused) as refused:
                await tokens.check(token)
            assert refused.value.reason is Reason.LOG_REGRESSED
        await add_jobs(store, "x", "y", "z")
        with pytest.raises(Refused):
            await tokens.check(seen)
        assert await tokens.check(await tokens.make(8)) == 8


async def test_a_write_ahead_log_without_its_database_is_not_played_into_the_copy(
    data: Path, backup: Path, tmp_path: Path
) -> None:
    async with opened(data) as store:
        await add_jobs(store, "e")
        left = (data / "tenure.db-wal").read_bytes()
    assert left
    (data / "tenure.db").unlink()
    (data / "tenure.db-wal").write_bytes(left)
    kept = put_back(backup, data).kept
    assert kept is not None
    assert (kept / "tenure.db-wal").read_bytes() == left
    assert problems(data) == []


async def test_into_a_directory_that_is_new(backup: Path, tmp_path: Path) -> None:
    restored = put_back(backup, tmp_path / "new", replace=False)
    assert (restored.head.position, restored.head.epoch, restored.lost, restored.kept) == (5, 2, 0, None)
    assert problems(tmp_path / "new") == []
    assert sorted(content(tmp_path / "new")) == ["anchor.json", "tenure.db"]


async def test_a_log_that_is_there_is_not_replaced_unasked(data: Path, backup: Path) -> None:
    with pytest.raises(BadDatabase, match="holds a log of 7 events already: --replace"):
        put_back(backup, data, replace=False)
    (data / "tenure.db").unlink()
    with pytest.raises(BadDatabase, match="--replace"):
        put_back(backup, data, replace=False)
    assert put_back(backup, data).head.position == 5


async def test_a_running_server_keeps_its_directory(data: Path, backup: Path) -> None:
    async with opened(data):
        with pytest.raises(StoreLocked):
            put_back(backup, data)


DAMAGE = {
    "chain": "UPDATE events SET time_us = time_us + 1 WHERE position = 4",
    "rows": "UPDATE jobs SET state = 5 WHERE number = 2",
    "tail": "DELETE FROM events WHERE position = 5",
}


def spoil(backup: Path, kind: str) -> None:
    match kind:
        case "bytes":
            raw = bytearray(backup.read_bytes())
            raw[3 * 4096 : 8 * 4096] = bytes(5 * 4096)
            backup.write_bytes(raw)
        case "text":
            backup.write_text("hello " * 1000)
        case "another database":
            backup.unlink()
            apsw.Connection(str(backup)).execute("CREATE TABLE t (x)")
        case _:
            folder = backup.parent / "folder"
            folder.mkdir()
            backup.rename(folder / "tenure.db")
            damage(folder, DAMAGE[kind])
            (folder / "tenure.db").rename(backup)


def content(directory: Path) -> dict[str, bytes]:
    """What is in a directory, but for what reading leaves behind."""
    passing = ("LOCK", "tenure.db-wal", "tenure.db-shm")
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name not in passing}


@pytest.mark.parametrize("kind", [*DAMAGE, "bytes", "text", "another database"])
async def test_what_is_not_whole_changes_nothing(data: Path, backup: Path, kind: str) -> None:
    spoil(backup, kind)
    before = content(data)
    with pytest.raises(BadDatabase):
        put_back(backup, data)
    assert content(data) == before


@pytest.mark.parametrize("stop_at", ["rename", "anchor"])
async def test_a_restore_that_was_cut_off_lets_no_server_start(
    data: Path, backup: Path, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if stop_at == "anchor":
            patched.setattr(restore, "write_anchor", cut)
        else:
            real = Path.rename

            def rename(path: Path, target: Path) -> Path:
                if path.name == ".tenure.db.restoring":
                    raise KeyboardInterrupt
                return real(path, target)

            patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            put_back(backup, data)
    with pytest.raises(AnchorMismatch):
        async with opened(data):
            pass
    assert put_back(backup, data).head.epoch >= 2
    assert problems(data) == []


async def test_a_backup_that_is_a_plain_copy_of_the_files_will_do(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes((data / "tenure.db").read_bytes())
    os.chmod(copy, 0o400)
    assert put_back(copy, tmp_path / "new").head.position == 7


async def test_a_log_of_another_name_counts_nothing_as_lost(data: Path, backup: Path) -> None:
    anchor = read_anchor(data)
    assert anchor is not None
    write_anchor(data, type(anchor)(log_id="other", epoch=7, position=1000, hash=b""))
    restored = put_back(backup, data)
    assert (restored.lost, restored.head.epoch) == (0, 8)
