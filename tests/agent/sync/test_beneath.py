from __future__ import annotations

import itertools
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tenure.agent.sync import beneath
from tenure.agent.sync.beneath import NewFile, PathRefused, Place, Signature


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder outside, with a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "root" / "data").mkdir(parents=True)
    return Place(root=tmp_path / "root", relative="data")


def write(place: Place, relative: str, data: bytes = b"bytes") -> Signature:
    new = NewFile(place, relative)
    try:
        new.file.write(data)
        return new.keep()
    finally:
        new.close()


def test_files_are_found_with_their_folders(place: Place) -> None:
    signature = write(place, "a/b/c")
    write(place, "d")
    scan = beneath.scan(place)
    assert sorted(scan.files) == ["a/b/c", "d"]
    assert sorted(scan.folders) == ["", "a", "a/b"]
    assert scan.files["a/b/c"] == signature == beneath.status(place, "a/b/c")


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    scan = beneath.scan(Place(root=tmp_path, relative="none/such"))
    assert (scan.files, scan.folders, scan.skipped) == ({}, {}, 0)


def test_only_regular_files_are_seen(place: Place, secret: Path) -> None:
    folder = place.path
    (folder / "link").symlink_to(secret / "secret")
    (folder / "linked-folder").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.close()
    write(place, "file")
    scan = beneath.scan(place)
    assert (sorted(scan.files), sorted(scan.folders), scan.skipped) == (["file"], [""], 4)
    for name in ("link", "linked-folder/secret", "pipe", "socket", ".", "missing"):
        assert beneath.open_file(place, name) is None
        assert beneath.status(place, name) is None


def test_our_own_files_are_not_seen(place: Place) -> None:
    (place.path / ".tenure-owned").write_text("")
    (place.path / ".tenure-0123456789abcdef").write_text("")
    assert beneath.scan(place).files == {}


def test_a_file_is_replaced_whole(place: Place) -> None:
    write(place, "file", b"old")
    new = NewFile(place, "file")
    new.file.write(b"new")
    new.file.flush()
    assert (place.path / "file").read_bytes() == b"old"
    new.keep()
    new.close()
    assert (place.path / "file").read_bytes() == b"new"
    assert os.listdir(place.path) == ["file"]


def test_what_is_not_kept_is_gone(place: Place) -> None:
    new = NewFile(place, "sub/file")
    new.file.write(b"half")
    new.close()
    assert beneath.scan(place).files == {}
    assert os.listdir(place.path / "sub") == []


def test_a_write_right_after_makes_another_signature(place: Place) -> None:
    signature = write(place, "file", b"one")
    (place.path / "file").write_bytes(b"two")
    assert beneath.status(place, "file") != signature


def test_a_symlink_in_the_place_of_the_file_is_replaced_and_not_followed(place: Place, secret: Path) -> None:
    (place.path / "file").symlink_to(secret / "secret")
    write(place, "file", b"loaded")
    assert (secret / "secret").read_text() == "secret"
    assert (place.path / "file").read_bytes() == b"loaded"
    assert not (place.path / "file").is_symlink()


def test_a_folder_that_is_a_symlink_is_not_entered(place: Place, secret: Path) -> None:
    (place.path / "sub").symlink_to(secret)
    with pytest.raises(PathRefused, match="'sub' is not a folder"):
        NewFile(place, "sub/file")
    assert beneath.open_file(place, "sub/secret") is None
    assert os.listdir(secret) == ["secret"]


def test_the_folder_itself_is_not_reached_through_a_symlink(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "swapped").symlink_to(secret)
    place = Place(root=tmp_path, relative="swapped")
    for use in (lambda: beneath.scan(place), lambda: beneath.make(place), lambda: NewFile(place, "x")):
        with pytest.raises(PathRefused):
            use()
    assert beneath.open_file(place, "secret") is None


def test_the_root_may_be_a_symlink(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "mounted").symlink_to(secret)
    assert sorted(beneath.scan(Place(root=tmp_path / "mounted", relative="")).files) == ["secret"]


def test_dots_lead_nowhere(place: Place, secret: Path) -> None:
    for relative in ("../../outside/x", "a/../../x"):
        with pytest.raises(PathRefused):
            NewFile(place, relative)
    with pytest.raises(PathRefused):
        beneath.make(Place(root=place.root, relative="../outside/x"))
    assert os.listdir(secret) == ["secret"]


def test_a_file_is_no_folder_and_a_folder_no_file(place: Place) -> None:
    write(place, "file")
    (place.path / "folder").mkdir()
    with pytest.raises(PathRefused, match="not a folder"):
        NewFile(place, "file/below")
    with pytest.raises(PathRefused, match="is a folder"):
        write(place, "folder")


def test_folders_may_not_be_endlessly_deep(place: Place) -> None:
    write(place, "d/" * 99 + "file")
    assert len(beneath.scan(place).files) == 1
    write(place, "e/" * 101 + "file")
    with pytest.raises(PathRefused, match="100 deep"):
        beneath.scan(place)


def test_a_folder_swapped_for_a_symlink_again_and_again(place: Place, secret: Path) -> None:
    """A job that swaps a folder while the agent reads and writes gets nothing out of it, and nothing out of place."""
    inner = place.path / "sub"
    over = threading.Event()

    def swap() -> None:
        for turn in itertools.count():
            if over.is_set():
                return
            with suppress(OSError):  # the agent makes folders, too
                inner.rename(place.path / f"aside-{turn}")
            with suppress(OSError):
                inner.symlink_to(secret)
                inner.unlink()
            with suppress(OSError):
                inner.mkdir()
                (inner / "secret").write_text("harmless")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        outcomes = set()
        for turn in range(300):
            descriptor = beneath.open_file(place, "sub/secret")
            if descriptor is not None:
                outcomes.add(os.read(descriptor, 100))
                os.close(descriptor)
            try:
                write(place, f"sub/{turn % 10}", b"loaded")
            except (PathRefused, FileNotFoundError):
                continue
    finally:
        over.set()
        swapping.join()
    assert outcomes <= {b"", b"harmless"}
    assert os.listdir(secret) == ["secret"]
