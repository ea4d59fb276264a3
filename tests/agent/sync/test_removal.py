"""What a job left is removed, however it was made hard to remove; what lies outside stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenure.agent.sync import removal
from tests.proof.record import ROOT

# Beyond what a stack of calls takes, and a path.
DEEP = 1500


def make_deep(top: Path, depth: int = DEEP) -> None:
    """Folders in folders, far deeper than a path may be long."""
    above = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=above)
        inner = os.open("deep", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=above))
    os.close(above)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder


def test_depth_is_no_limit(tree: Path) -> None:
    make_deep(tree)
    assert removal.remove(tree)
    assert not tree.exists()


def test_names_of_any_kind(tree: Path) -> None:
    for name in (b"\xff\xfe", b"-rf", b" ", b"new\nline", b"x" * 255, b".tenure-owned"):
        folder = os.fsencode(tree) + b"/" + name
        os.mkdir(folder)
        Path(os.fsdecode(folder), "file").touch()
    os.mkfifo(tree / "pipe")
    assert removal.remove(tree)
    assert not tree.exists()


def test_symlinks_are_removed_and_not_followed(tree: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o500)
    (tree / "a").mkdir()
    (tree / "a" / "link").symlink_to(precious)
    (tree / "link").symlink_to(precious)
    assert removal.remove(tree)
    assert precious.stat().st_mode & 0o777 == 0o500
    (tmp_path / "link").symlink_to(precious)
    assert removal.remove(tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["precious"]


def test_one_entry_may_be_kept(tree: Path) -> None:
    (tree / "kept").touch()
    make_deep(tree, 3)
    folder = os.open(tree, os.O_RDONLY)
    assert removal.empty(folder, keep="kept")
    os.close(folder)
    assert os.listdir(tree) == ["kept"]


def test_what_is_not_there_is_removed(tmp_path: Path) -> None:
    assert removal.remove(tmp_path / "nothing")


PERMISSIONS = """
import os, pathlib, sys
from tenure.agent.sync import removal
top = pathlib.Path(sys.argv[1])
inner = top / "a" / "b" / "c"
inner.mkdir(parents=True)
(inner / "file").touch()
for folder in (inner, inner.parent, inner.parent.parent, top):
    folder.chmod(0)
print(removal.remove(top), top.exists())
"""


def test_permissions_are_no_limit(tmp_path: Path) -> None:
    """As somebody whom permissions bind."""
    if os.geteuid() == 0:
        command, tmp_path = ["setpriv", "--reuid", "65534", "--clear-groups"], Path(f"/tmp/tenure-{os.getpid()}")
        tmp_path.mkdir(mode=0o777)
        tmp_path.chmod(0o777)
    else:
        command = []
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", PERMISSIONS, str(tmp_path / "top")],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=ROOT,
        )
        assert done.stdout == "True False\n", done.stderr
    finally:
        if command:
            tmp_path.rmdir()


def test_what_cannot_be_removed_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "stuck").mkdir()
    (tree / "file").touch()
    really = os.rmdir

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == "stuck":
            raise PermissionError(1, "Operation not permitted")
        really(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", refuse)
    assert not removal.remove(tree)
    assert os.listdir(tree) == ["stuck"]


def test_what_lies_beside_something_that_stays_is_removed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that can neither be removed nor moved, like one that something is mounted on."""
    inner = tree / "folder" / "inner"
    inner.mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        (inner / name).mkdir()
        (inner / name / "file").touch()
        (inner / f"{name}.file").touch()
    really_unlink, really_rename = os.unlink, os.rename

    def unlink(name: str, *, dir_fd: int) -> None:
        if name == "b.file":
            raise OSError(errno.EBUSY, "Device or resource busy")
        really_unlink(name, dir_fd=dir_fd)

    def rename(name: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if name in ("b.file", "c"):
            raise OSError(errno.EBUSY, "Device or resource busy")
        really_rename(name, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(os, "rename", rename)
    assert not removal.remove(tree)
    left = sorted(name for _, folders, files in os.walk(tree) for name in (*folders, *files))
    assert [name for name in left if not name.startswith(".tenure-")] == ["b.file", "c", "file"]


def test_somebody_who_goes_on_writing_does_not_hold_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "file").touch()
    really, made = os.unlink, 0

    def unlink(name: str, *, dir_fd: int) -> None:
        nonlocal made
        really(name, dir_fd=dir_fd)
        made += 1
        assert made < 1000, "it never ends"
        os.close(os.open(f"new-{made}", os.O_CREAT | os.O_WRONLY, dir_fd=dir_fd))

    folder = os.open(tree, os.O_RDONLY)
    monkeypatch.setattr(os, "unlink", unlink)
    assert not removal.empty(folder)
    os.close(folder)
