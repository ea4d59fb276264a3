from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenure.agent.sync.beneath import PathRefused, Place
from tenure.agent.sync.folders import MARKER, FolderRefused, clean, prepare, resolve
from tests.agent.sync.test_removal import make_deep


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(root=tmp_path, relative="app/data")


@pytest.mark.parametrize("path", ["data", "data/state/", "./data", "a b/ü", "..data"])
def test_a_relative_path_lies_in_the_private_directory(path: str) -> None:
    place = resolve(path, private=Path("/jobs/1"))
    assert place.root == Path("/jobs/1")
    assert place.path == Path("/jobs/1") / path


@pytest.mark.parametrize("path", ["/app/data/state/", "/app/x"])
def test_an_absolute_path_lies_below_an_allowed_root(path: str) -> None:
    place = resolve(path, private=Path("/jobs/1"), allowed=[Path("/srv"), Path("/app")])
    assert place.root == Path("/app")
    assert place.path == Path(path)


def test_the_innermost_root_counts() -> None:
    place = resolve("/app/data/x", private=Path("/jobs/1"), allowed=[Path("/app"), Path("/app/data")])
    assert place == Place(root=Path("/app/data"), relative="x")


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "./",
        "../x",
        "a/../b",
        "~/x",
        "nul\0",
        "x" * 1025,
        ".tenure-owned",
        "/",
        "/app",
        "/app/",
        "/app/../etc",
        "/application/data",
        "/etc",
        "/app/.tenure-x/y",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(FolderRefused):
        resolve(path, private=Path("/jobs/1"), allowed=[Path("/app")])


def test_the_refusal_says_what_to_do() -> None:
    with pytest.raises(FolderRefused, match=r"allowed: none.*--allow-root"):
        resolve("/app/data", private=Path("/jobs/1"))


def test_a_folder_is_made_and_marked(place: Place) -> None:
    prepare(place, "attempt 1")
    assert os.listdir(place.path) == [MARKER]
    assert "attempt 1" in (place.path / MARKER).read_text()


def test_an_empty_folder_is_taken(place: Place) -> None:
    place.path.mkdir(parents=True)
    prepare(place, "attempt 1")
    assert os.listdir(place.path) == [MARKER]


def test_a_folder_of_ours_is_emptied(place: Place, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.write_text("kept")
    prepare(place, "attempt 1")
    (place.path / "left" / "over").mkdir(parents=True)
    (place.path / "left" / "over" / "file").write_text("old")
    (place.path / "link").symlink_to(keep)
    (place.path / "folder-link").symlink_to(tmp_path)
    prepare(place, "attempt 2")
    assert os.listdir(place.path) == [MARKER]
    assert "attempt 2" in (place.path / MARKER).read_text()
    assert keep.read_text() == "kept"


def test_folders_of_any_depth_are_emptied(place: Place) -> None:
    prepare(place, "one")
    make_deep(place.path)
    prepare(place, "two")
    assert os.listdir(place.path) == [MARKER]
    make_deep(place.path)
    clean(place)
    assert os.listdir(place.path) == []


def test_a_foreign_folder_is_refused_and_left_alone(place: Place) -> None:
    place.path.mkdir(parents=True)
    (place.path / "mine").write_text("precious")
    with pytest.raises(FolderRefused, match="not ours"):
        prepare(place, "attempt 1")
    clean(place)
    assert (place.path / "mine").read_text() == "precious"
    assert os.listdir(place.path) == ["mine"]


def test_a_marker_that_is_no_file_marks_nothing(place: Place, tmp_path: Path) -> None:
    place.path.mkdir(parents=True)
    (place.path / MARKER).symlink_to(tmp_path)
    (place.path / "mine").write_text("precious")
    with pytest.raises(FolderRefused):
        prepare(place, "attempt 1")
    clean(place)
    assert (place.path / "mine").exists()


def test_cleaning_takes_the_marker_away_too(place: Place) -> None:
    prepare(place, "attempt 1")
    (place.path / "file").write_text("x")
    clean(place)
    assert os.listdir(place.path) == []
    clean(place)
    place.path.rmdir()
    clean(place)


def test_a_folder_behind_a_symlink_is_refused(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "data"
    elsewhere.mkdir(parents=True)
    (elsewhere / MARKER).write_text("")
    (elsewhere / "file").write_text("kept")
    (tmp_path / "app").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PathRefused):
        prepare(place, "attempt 1")
    with pytest.raises(PathRefused):
        clean(place)
    assert (elsewhere / "file").exists()
