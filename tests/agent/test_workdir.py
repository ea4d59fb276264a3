"""The work directory: one agent, one id, fresh folders, and distrust of what a job leaves there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenure.agent.sync.offload import Inline
from tenure.agent.workdir import WorkDir, WorkDirUnusable, read_progress
from tests.agent.sync.test_removal import make_deep
from tests.fakes import SequenceIds


@pytest.fixture
def work_dir(tmp_path: Path) -> WorkDir:
    return WorkDir(tmp_path / "agent", Inline())


def test_the_id_is_made_once_and_kept(tmp_path: Path, work_dir: WorkDir) -> None:
    assert work_dir.worker_id(SequenceIds("one")) == "worker-one"
    work_dir.close()
    again = WorkDir(tmp_path / "agent", Inline())
    assert again.worker_id(SequenceIds("two")) == "worker-one"
    assert again.worker_id(SequenceIds(), "mine") == "mine"
    again.close()


def test_the_id_is_on_disk_before_it_has_its_name(work_dir: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").read_bytes()))
    work_dir.worker_id(SequenceIds("one"))
    assert synced == [b"worker-one\n"]


@pytest.mark.parametrize("name", ["", "-a", "a b", "ä", "x" * 65])
def test_an_id_that_is_none_is_refused(work_dir: WorkDir, name: str) -> None:
    with pytest.raises(WorkDirUnusable, match="--worker-id: a worker id has 1 to 64"):
        work_dir.worker_id(SequenceIds(), name)


def test_one_agent_a_directory(tmp_path: Path, work_dir: WorkDir) -> None:
    with pytest.raises(WorkDirUnusable, match="another worker runs in"):
        WorkDir(tmp_path / "agent", Inline())
    work_dir.close()
    WorkDir(tmp_path / "agent", Inline()).close()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkDirUnusable, match="cannot be used"):
        WorkDir(tmp_path / "file", Inline())


async def test_a_folder_is_fresh_and_private(work_dir: WorkDir) -> None:
    first = await work_dir.make("j-1")
    (first.job_dir / "left").touch()
    second = await work_dir.make("j-1")
    assert list(second.job_dir.iterdir()) == []
    assert (work_dir.folder.stat().st_mode & 0o777, second.job_dir.stat().st_mode & 0o777) == (0o700, 0o700)
    assert second.deadline_file.read_text() == ""


async def test_what_a_job_made_hard_to_remove_is_removed_and_links_are_not_followed(
    work_dir: WorkDir, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    folder = await work_dir.make("j-1")
    (folder.job_dir / "link").symlink_to(precious)
    locked = folder.job_dir / "a" / "b"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0)
    locked.parent.chmod(0o500)
    await folder.remove()
    assert list(work_dir.jobs.iterdir()) == []
    assert (precious / "file").exists()


async def test_folders_of_any_depth_are_removed_at_the_end_and_at_the_next_start(work_dir: WorkDir) -> None:
    folder = await work_dir.make("j-1")
    make_deep(folder.job_dir)
    await folder.remove()
    assert list(work_dir.jobs.iterdir()) == []
    make_deep((await work_dir.make("j-2")).job_dir)
    assert work_dir.remove_stale() == 1
    assert list(work_dir.jobs.iterdir()) == []


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
async def test_what_a_job_puts_where_the_deadline_is_written_delays_and_changes_nothing(
    work_dir: WorkDir, kind: str, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    folder = await work_dir.make("j-1")
    draft = folder.deadline_file.with_name("deadline.new")
    for path in (draft, folder.deadline_file):
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(precious)
        else:
            path.mkdir()
    folder.write_deadline(5_000_000)
    assert precious.read_text() == "precious"
    if kind != "folder":
        assert folder.deadline_file.read_text() == "5.000000\n"
    assert [
        path for path in folder.job_dir.parent.iterdir() if path.name.startswith("deadline.") and path != draft
    ] == []


async def test_a_folder_that_became_a_symlink_is_not_written_through(work_dir: WorkDir, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = await work_dir.make("j-1")
    folder.job_dir.parent.rename(tmp_path / "moved")
    folder.job_dir.parent.symlink_to(elsewhere)
    folder.write_deadline(5_000_000)
    await folder.remove()
    assert list(elsewhere.iterdir()) == []
    assert list(work_dir.jobs.iterdir()) == []


async def test_left_overs_are_removed(work_dir: WorkDir) -> None:
    await work_dir.make("j-1")
    (work_dir.jobs / "file").touch()
    assert work_dir.remove_stale() == 2
    assert list(work_dir.jobs.iterdir()) == []


async def test_the_deadline_is_seconds_with_microseconds(work_dir: WorkDir) -> None:
    folder = await work_dir.make("j-1")
    folder.write_deadline(1_633_347_776_000_005)
    assert folder.deadline_file.read_text() == "1633347776.000005\n"
    folder.write_deadline(None)
    assert folder.deadline_file.read_text() == ""


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b'{"fraction": 0.4, "message": "step 2"}', (0.4, "step 2")),
        (b'{"fraction": 1}', (1.0, "")),
        (b'{"fraction": 0.5, "message": "' + b"x" * 300 + b'"}', (0.5, "x" * 256)),
        (b"", None),
        (b"{", None),
        (b"[1]", None),
        (b"[" * 4000, None),
        (b'{"fraction": true}', None),
        (b'{"fraction": 1.5}', None),
        (b'{"fraction": NaN}', None),
        (b'{"fraction": "0.4"}', None),
        (b'{"fraction": 0.4, "message": 7}', None),
        (b"\xff\xfe", None),
    ],
)
def test_progress_is_read_or_passed_over(data: bytes, wanted: tuple[float, str] | None) -> None:
    progress = read_progress(data)
    assert (None if progress is None else (progress.fraction, progress.message)) == wanted


@pytest.mark.parametrize("kind", ["missing", "pipe", "link", "folder", "huge"])
async def test_a_progress_file_that_is_none_delays_nobody(work_dir: WorkDir, kind: str, tmp_path: Path) -> None:
    folder = await work_dir.make("j-1")
    match kind:
        case "pipe":
            os.mkfifo(folder.progress_file)
        case "link":
            (tmp_path / "other").write_text('{"fraction": 0.5}')
            folder.progress_file.symlink_to(tmp_path / "other")
        case "folder":
            folder.progress_file.mkdir()
        case "huge":
            folder.progress_file.write_text('{"fraction": 0.5, "message": "' + "x" * 100_000 + '"}')
    assert folder.progress() is None
