"""What is found out before a server starts on a data directory."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
import structlog

from tenure.store.anchor import Anchor, AnchorMismatch, read_anchor, write_anchor
from tenure.store.lock import StoreLocked
from tenure.store.offline import accept_directory, verify_directory
from tenure.store.sqlite_schema import BadDatabase
from tenure.store.store import Head
from tests.store.making import add_jobs, load
from tests.store.opening import opened


def copy_live(source: Path, target: Path) -> None:
    """Copy a directory that is in use, with another process: this one must not open the database's files.

    The anchor is left out: it is replaced at any time, and a copy that meets that moment fails. Tests write their own.
    """
    target.mkdir(mode=0o700)
    files = [str(source / name) for name in ("tenure.db", "tenure.db-wal", "tenure.db-shm")]
    subprocess.run(["cp", "-a", *files, str(target)], check=True)


def anchor_at(directory: Path, head: Head) -> None:
    """Write the anchor that a server would have written."""
    write_anchor(directory, Anchor(log_id=head.log_id, epoch=head.epoch, position=head.position, hash=head.hash))


async def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "data"
    async with opened(directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert (directory / "tenure.db").exists()


async def test_the_database_is_its_owners_alone_wherever_it_lies(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        async with opened(tmp_path) as store:
            await add_jobs(store, "a")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("tenure.db*")}
    finally:
        os.umask(before)
    assert modes == {"tenure.db": 0o600, "tenure.db-wal": 0o600, "tenure.db-shm": 0o600}


async def test_a_database_that_others_may_read_is_complained_of(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    (tmp_path / "tenure.db").chmod(0o644)
    for mode, told in ((0o700, []), (0o755, ["store_readable_by_others"])):
        tmp_path.chmod(mode)
        with structlog.testing.capture_logs() as records:
            async with opened(tmp_path):
                pass
        assert [record["event"] for record in records] == told


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a", "b")
        before = store.head()
    async with opened(tmp_path) as store:
        assert store.head() == before
        assert (await load(store, "b")).created_position == 2
        await add_jobs(store, "c")
        assert store.head().position == 3


async def test_the_log_says_how_often_it_was_opened(tmp_path: Path) -> None:
    for _ in range(3):
        async with opened(tmp_path):
            pass
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    assert connection.execute("SELECT value FROM meta WHERE key = 'boots'").fetchall() == [("3",)]
    connection.close()


async def test_nothing_is_made_when_it_is_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(BadDatabase, match="there is no store"):
        async with opened(tmp_path / "nowhere", create=False):
            pass
    assert not (tmp_path / "nowhere").exists()


async def test_a_directory_is_used_by_one_process(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreLocked, match=rf"in use by process {os.getpid()}"):
            async with opened(tmp_path):
                pass
    async with opened(tmp_path):
        pass


async def test_the_lock_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from tenure.store.lock import DirectoryLock\n"
    code += "lock = DirectoryLock(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)  # noqa: ASYNC220
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(StoreLocked, match=str(process.pid)):
            async with opened(tmp_path):
                pass
    finally:
        process.kill()
        process.communicate()
    async with opened(tmp_path):
        pass


async def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(BadDatabase, match="not a store of Tenure"):
        async with opened(tmp_path):
            pass


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    connection.pragma("user_version", 99)
    connection.close()
    with pytest.raises(BadDatabase, match="schema 99"):
        async with opened(tmp_path):
            pass


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tenure.db").write_bytes(b"nothing that SQLite knows" * 100)
    with pytest.raises(BadDatabase):
        async with opened(tmp_path):
            pass


async def test_the_anchor_is_written_when_a_store_closes(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = read_anchor(tmp_path)
        assert first is not None
        assert first.position == 0
        await add_jobs(store, "a")
        head = store.head()
    last = read_anchor(tmp_path)
    assert last == Anchor(log_id=head.log_id, epoch=head.epoch, position=1, hash=head.hash)


async def test_an_old_copy_put_back_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data) as store:
        await add_jobs(store, "a", "b")
    shutil.copy(data / "tenure.db", tmp_path / "old.db")
    async with opened(data) as store:
        await add_jobs(store, "c", "d", "e")
    shutil.copy(tmp_path / "old.db", data / "tenure.db")
    with pytest.raises(AnchorMismatch, match="3 acknowledged events are gone"):
        async with opened(data):
            pass


async def test_a_log_of_another_server_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        async with opened(tmp_path / name) as store:
            await add_jobs(store, "a")
    shutil.copy(tmp_path / "other" / "tenure.db", tmp_path / "one" / "tenure.db")
    with pytest.raises(AnchorMismatch, match="do not belong together"):
        async with opened(tmp_path / "one"):
            pass


async def test_a_log_that_went_another_way_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data) as store:
        await add_jobs(store, "a")
    shutil.copytree(data, tmp_path / "copy")
    for directory, job_id in ((data, "b"), (tmp_path / "copy", "c")):
        async with opened(directory) as store:
            await add_jobs(store, job_id)
    shutil.copy(tmp_path / "copy" / "tenure.db", data / "tenure.db")
    with pytest.raises(AnchorMismatch, match="another one than the anchor saw at position 2"):
        async with opened(data):
            pass


async def test_a_missing_database_is_noticed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a")
    (tmp_path / "tenure.db").unlink()
    with pytest.raises(AnchorMismatch, match="is gone, but 1 events were in it"):
        async with opened(tmp_path):
            pass
    assert not (tmp_path / "tenure.db").exists()


async def test_a_missing_or_damaged_anchor_is_noticed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a")
    (tmp_path / "anchor.json").write_text("{")
    with pytest.raises(AnchorMismatch, match="damaged"):
        async with opened(tmp_path):
            pass
    (tmp_path / "anchor.json").unlink()
    with pytest.raises(AnchorMismatch, match=r"no anchor\.json"):
        async with opened(tmp_path):
            pass


async def test_an_operator_may_go_on_with_what_is_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a")
        head = store.head()
    (tmp_path / "anchor.json").unlink()
    *_, (accepted, report) = accept_directory(tmp_path)
    assert (accepted, report.ok, report.jobs) == (replace(head, epoch=2), True, 1)
    async with opened(tmp_path) as store:
        assert store.head() == accepted


async def test_nobody_goes_on_with_what_is_not_whole(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a")
    anchor = tmp_path / "anchor.json"
    anchor.unlink()
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    connection.execute("UPDATE commits SET hash = zeroblob(32)")
    connection.close()
    *_, (_, report) = accept_directory(tmp_path)
    assert not report.ok
    assert not anchor.exists()


async def test_nothing_is_accepted_before_the_check_is_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a")
    anchor = tmp_path / "anchor.json"
    anchor.unlink()
    next(accept_directory(tmp_path))
    assert not anchor.exists()


async def test_what_a_crash_leaves_is_opened(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        await add_jobs(store, *(f"j{number}" for number in range(50)))
        head = store.head()
        copy_live(tmp_path / "data", tmp_path / "crashed")
    anchor_at(tmp_path / "crashed", head)
    async with opened(tmp_path / "crashed") as store:
        assert store.head() == head


async def test_a_removed_write_ahead_log_is_noticed(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        await add_jobs(store, *(f"j{number}" for number in range(50)))
        head = store.head()
        copy_live(tmp_path / "data", tmp_path / "crashed")
    crashed = tmp_path / "crashed"
    (crashed / "tenure.db-wal").unlink()
    (crashed / "tenure.db-shm").unlink()
    anchor_at(crashed, head)
    with pytest.raises((AnchorMismatch, BadDatabase)):
        async with opened(crashed):
            pass


async def test_a_cut_write_ahead_log_is_noticed(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        for number in range(50):
            await add_jobs(store, f"j{number}")
        head = store.head()
        copy_live(tmp_path / "data", tmp_path / "crashed")
    crashed = tmp_path / "crashed"
    os.truncate(crashed / "tenure.db-wal", (crashed / "tenure.db-wal").stat().st_size * 3 // 4)
    (crashed / "tenure.db-shm").unlink()
    anchor_at(crashed, head)
    with pytest.raises(AnchorMismatch, match="acknowledged events are gone"):
        async with opened(crashed):
            pass
    *_, (_, report) = verify_directory(crashed)
    assert any("acknowledged events are gone" in problem for problem in report.problems)


async def test_a_changed_tail_is_noticed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a", "b", "marked-for-change")
    path = tmp_path / "tenure.db"
    data = path.read_bytes()
    assert data.count(b"\x0a\x11marked-for-change") == 1
    path.write_bytes(data.replace(b"\x0a\x11marked-for-change", b"\x0a\x11marked-for-chanGe"))
    with pytest.raises(AnchorMismatch, match="positions 1 to 3 are not what was committed"):
        async with opened(tmp_path):
            pass
