"""What can happen to the files of a data directory while no server has them open: one function a kind, by a seed."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from tenure.store.anchor import NAME as ANCHOR
from tenure.store.sqlite_schema import NAME

PAGE = 4096
WAL = f"{NAME}-wal"
SHM = f"{NAME}-shm"
SHORTEST = 24


@dataclass(frozen=True)
class Scene:
    """A directory to damage, an older copy of it, and what a program can read in it."""

    directory: Path
    older: Path
    events: list[bytes]
    folds: list[bytes]

    def path(self, name: str) -> Path:
        """One of its files."""
        return self.directory / name


Damage = Callable[[Scene, random.Random], None]


def flip_event(scene: Scene, generator: random.Random) -> None:
    """A bit of an event's stored bytes."""
    _flip_in(scene.path(NAME), scene.events, generator)


def flip_stored(path: Path, value: bytes, generator: random.Random) -> None:
    """A bit of a value wherever a file has it, also where nobody reads it any more; AssertionError where it has not."""
    data, index, bit = path.read_bytes(), generator.randrange(len(value)), 1 << generator.randrange(8)
    places = [found.start() + index for found in re.finditer(re.escape(value), data)]
    assert places
    for place in places:
        _write(path, place, bytes([data[place] ^ bit]))


def flip_fold(scene: Scene, generator: random.Random) -> None:
    """A bit of a job's row."""
    _flip_in(scene.path(NAME), scene.folds, generator)


def flip_database(scene: Scene, generator: random.Random) -> None:
    """A bit anywhere in the database."""
    _flip(scene.path(NAME), generator.randrange(scene.path(NAME).stat().st_size), generator)


def flip_wal(scene: Scene, generator: random.Random) -> None:
    """A bit anywhere in the write-ahead log."""
    _flip(scene.path(WAL), generator.randrange(scene.path(WAL).stat().st_size), generator)


def flip_anchor(scene: Scene, generator: random.Random) -> None:
    """A bit of the anchor."""
    _flip(scene.path(ANCHOR), generator.randrange(scene.path(ANCHOR).stat().st_size), generator)


def cut_database(scene: Scene, generator: random.Random) -> None:
    """The end of the database."""
    os.truncate(scene.path(NAME), generator.randrange(scene.path(NAME).stat().st_size))


def cut_wal(scene: Scene, generator: random.Random) -> None:
    """The end of the write-ahead log."""
    os.truncate(scene.path(WAL), generator.randrange(scene.path(WAL).stat().st_size))


def remove_wal(scene: Scene, generator: random.Random) -> None:
    """The write-ahead log as a whole."""
    scene.path(WAL).unlink()


def zero_page(scene: Scene, generator: random.Random) -> None:
    """A page of zeros."""
    _write(scene.path(NAME), _page(scene, generator), bytes(PAGE))


def swap_pages(scene: Scene, generator: random.Random) -> None:
    """Two pages in each other's place."""
    path = scene.path(NAME)
    data, one, other = path.read_bytes(), _page(scene, generator), _page(scene, generator)
    _write(path, one, data[other : other + PAGE])
    _write(path, other, data[one : one + PAGE])


def old_copy(scene: Scene, generator: random.Random) -> None:
    """An older copy of everything but the anchor."""
    for name in (NAME, WAL):
        shutil.copy(scene.older / name, scene.path(name))


def old_database(scene: Scene, generator: random.Random) -> None:
    """An older copy of the database alone."""
    shutil.copy(scene.older / NAME, scene.path(NAME))


def old_wal(scene: Scene, generator: random.Random) -> None:
    """An older copy of the write-ahead log alone."""
    shutil.copy(scene.older / WAL, scene.path(WAL))


def edit_row(scene: Scene, generator: random.Random) -> None:
    """A row of a job changed by another program."""
    change = generator.choice(
        [
            "UPDATE jobs SET state = state + 1 WHERE number = ?",
            "UPDATE jobs SET version = version + 1 WHERE number = ?",
            "UPDATE jobs SET queue = 'other' WHERE number = ?",
            "UPDATE origins SET created_by = 'somebody' WHERE number = ?",
            "DELETE FROM jobs WHERE number = ?",
            "DELETE FROM origins WHERE number = ?",
        ]
    )
    connection = apsw.Connection(str(scene.path(NAME)))
    try:
        numbers = [row[0] for row in connection.execute("SELECT number FROM jobs")]
        connection.execute(change, (generator.choice(numbers),))
    finally:
        connection.close()


KINDS: dict[str, Damage] = {
    "a bit of an event": flip_event,
    "a bit of a job's row": flip_fold,
    "a bit of the database": flip_database,
    "a bit of the write-ahead log": flip_wal,
    "a bit of the anchor": flip_anchor,
    "the database cut short": cut_database,
    "the write-ahead log cut short": cut_wal,
    "the write-ahead log removed": remove_wal,
    "a page of zeros": zero_page,
    "two pages swapped": swap_pages,
    "an old copy of all but the anchor": old_copy,
    "an old copy of the database": old_database,
    "an old copy of the write-ahead log": old_wal,
    "a row changed by another program": edit_row,
}


# Those that there is nothing to do for without a write-ahead log.
NEED_WAL = {name for name, damage in KINDS.items() if damage in (flip_wal, cut_wal, remove_wal)}


def _page(scene: Scene, generator: random.Random) -> int:
    """Where a page begins."""
    return PAGE * generator.randrange(scene.path(NAME).stat().st_size // PAGE)


def _write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def _flip(path: Path, offset: int, generator: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << generator.randrange(8)]))


def _flip_in(path: Path, values: list[bytes], generator: random.Random) -> None:
    """Flip a bit of one of these values where it is stored in a file, or any bit where none of them is."""
    data = path.read_bytes()
    value = generator.choice([value for value in values if len(value) >= SHORTEST and value in data] or [data])
    _flip(path, data.rfind(value) + generator.randrange(len(value)), generator)
