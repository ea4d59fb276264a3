"""A folder that somebody on this machine is using is neither emptied nor given to a second attempt."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tenure.agent.sync.beneath import PathRefused, Place
from tenure.agent.sync.claims import Claims
from tenure.agent.sync.folders import MARKER, FolderRefused, clean, prepare
from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.session import AttemptSync, SyncRefused
from tenure.v1.job_pb2 import Sync, SyncRule

MakeSync = Callable[..., AttemptSync]

_IN_USE = "in use by another worker on this machine"
_OTHER_WORKER = """
import sys
from pathlib import Path
from tenure.agent.sync.beneath import Place
from tenure.agent.sync.folders import prepare
prepare(Place(root=Path(sys.argv[1]), relative=sys.argv[2]), "attempt of the other")
print("prepared", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(root=tmp_path, relative="app/data")


@pytest.fixture(autouse=True)
def no_marker_stays_open() -> Iterator[None]:
    before = set(open_markers())  # of tests that ended before and were forgotten since, some may be closed meanwhile
    yield
    assert set(open_markers()) <= before


def open_markers() -> list[str]:
    paths: list[str] = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            paths.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(path for path in paths if MARKER in path)


@contextmanager
def other_worker(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A process that has prepared the folder, and holds it until it is killed."""
    command = [sys.executable, "-c", _OTHER_WORKER, str(place.root), place.relative]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "prepared\n"
            yield process
        finally:
            process.kill()


def test_a_folder_is_held_from_prepare_to_clean(place: Place) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    first, second = Claims(), Claims()
    for attempt in ("attempt 1", "attempt 2"):
        prepare(place, attempt, claims=first)
        (place.path / "checkpoint").write_text("not uploaded yet")
        with pytest.raises(FolderRefused, match=_IN_USE):
            prepare(place, "another", claims=second)
        clean(place, claims=second)
        assert (place.path / "checkpoint").read_text() == "not uploaded yet"
        assert attempt in (place.path / MARKER).read_text()
        clean(place, claims=first)
        assert os.listdir(place.path) == []
    prepare(place, "another", claims=second)
    clean(place, claims=second)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_what_is_let_go_of_can_be_taken_over(place: Place) -> None:
    first, second = Claims(), Claims()
    prepare(place, "attempt 1", claims=first)
    (place.path / "left over").write_text("old")
    first.drop(place)
    prepare(place, "attempt 2", claims=second)
    assert os.listdir(place.path) == [MARKER]
    (place.path / "checkpoint").write_text("not uploaded yet")
    clean(place, claims=first)
    assert (place.path / "checkpoint").exists()
    clean(place, claims=second)
    assert os.listdir(place.path) == []


def test_commands_do_not_keep_the_lock(place: Place) -> None:
    first, second = Claims(), Claims()
    prepare(place, "attempt 1", claims=first)
    command = [sys.executable, "-c", "import sys; print('runs', flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        first.drop(place)
        prepare(place, "attempt 2", claims=second)
    clean(place, claims=second)


def test_an_attempt_that_is_refused_one_folder_holds_no_other(place: Place, tmp_path: Path) -> None:
    foreign = Place(root=tmp_path, relative="foreign")
    foreign.path.mkdir()
    (foreign.path / "mine").write_text("precious")
    first, second = Claims(), Claims()
    prepare(place, "attempt 1", claims=first)
    with pytest.raises(FolderRefused, match="not ours"):
        prepare(foreign, "attempt 1", claims=first)
    prepare(place, "attempt 2", claims=second)
    clean(place, claims=second)


def test_an_attempt_that_cannot_clean_one_folder_holds_no_other(place: Place, tmp_path: Path) -> None:
    away = Place(root=tmp_path, relative="app/away")
    first, second = Claims(), Claims()
    for each in (place, away):
        prepare(each, "attempt 1", claims=first)
    away.path.rename(tmp_path / "elsewhere")
    away.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PathRefused):
        clean(away, claims=first)
    prepare(place, "attempt 2", claims=second)
    clean(place, claims=second)


def test_a_folder_that_was_replaced_is_its_new_owners(place: Place) -> None:
    """The command removes the whole folder; what another worker makes there since is not ours to empty."""
    first, second = Claims(), Claims()
    prepare(place, "attempt 1", claims=first)
    (place.path / MARKER).unlink()
    place.path.rmdir()
    prepare(place, "attempt 2", claims=second)
    (place.path / "checkpoint").write_text("not uploaded yet")
    clean(place, claims=first)
    assert (place.path / "checkpoint").exists()
    clean(place, claims=second)


def test_a_marker_that_is_replaced_before_it_is_locked_is_not_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening and the locking, its owner takes it away and a third one makes another."""
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        (place.path / MARKER).unlink()
        (place.path / MARKER).write_text("the third one's")
        flock(descriptor, operation)

    place.path.mkdir(parents=True)
    (place.path / MARKER).write_text("")
    (place.path / "checkpoint").write_text("not uploaded yet")
    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(FolderRefused, match=_IN_USE):
        prepare(place, "attempt 1", claims=Claims())
    assert (place.path / MARKER).read_text() == "the third one's"
    assert (place.path / "checkpoint").exists()


def test_the_folder_of_another_worker_is_left_alone_until_that_worker_is_dead(place: Place) -> None:
    with other_worker(place) as process:
        checkpoint = place.path / "checkpoint"
        checkpoint.write_text("not uploaded yet")
        with pytest.raises(FolderRefused, match=_IN_USE):
            prepare(place, "attempt 2")
        clean(place)
        assert checkpoint.read_text() == "not uploaded yet"
        assert "attempt of the other" in (place.path / MARKER).read_text()
        process.kill()
        process.wait(timeout=20)
        prepare(place, "attempt 2")
    assert os.listdir(place.path) == [MARKER]
    assert "attempt 2" in (place.path / MARKER).read_text()
    clean(place)


def test_two_roots_that_are_one_folder_are_not_shared(place: Place, tmp_path: Path) -> None:
    prepare(place, "attempt 1")
    (place.path / "checkpoint").write_text("not uploaded yet")
    (tmp_path / "same").symlink_to(tmp_path / "app")
    again = Place(root=tmp_path / "same", relative="data")
    with pytest.raises(FolderRefused, match=_IN_USE):
        prepare(again, "attempt 2")
    clean(again)
    assert (place.path / "checkpoint").read_text() == "not uploaded yet"
    clean(place)
    prepare(again, "attempt 2")
    clean(again)
    assert os.listdir(place.path) == []


async def test_an_attempt_is_refused_the_folder_of_another_worker(
    place: Place, local: LocalStore, make_sync: MakeSync
) -> None:
    first = place.root / "app" / "a"
    rules = Sync(after=[SyncRule(bucket="bucket", local_path=str(path)) for path in (first, place.path)])
    with other_worker(place):
        (place.path / "checkpoint").write_text("not uploaded yet")
        sync = make_sync(local, rules, allowed=(place.root / "app",))
        with pytest.raises(SyncRefused, match=_IN_USE):
            await sync.before()
        await sync.close()
        await sync.clean()
        assert (place.path / "checkpoint").read_text() == "not uploaded yet"
        assert os.listdir(first) == []
