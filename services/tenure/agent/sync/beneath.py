"""Files below a folder and nowhere else: what a job does with symlinks must not lead the agent out of it.

Every path is opened one component after the other from a directory's descriptor, none of them through a symlink, so a
folder that is swapped for a symlink while we work is an error and not a way out. Only regular files are read.
All functions block; call them through an `Offload`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tenure.agent.sync.keys import RESERVED

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 100
_BACKDATED_NS = 1_000_000_000


class PathRefused(Exception):
    """A path below the folder cannot be used: a symlink, a file in the place of a folder, too deep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder by a root that is trusted and a path below it that is not.

    `root` is absolute and chosen by the operator or the agent: its symlinks are followed. `relative` has no `..`; none
    of its components may be a symlink. Empty: the root itself.
    """

    root: Path
    relative: str

    @property
    def path(self) -> Path:
        """The folder's path, for people and for the kernel's notifications; never open files by it."""
        return self.root / self.relative


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What tells that a file was changed, without reading it."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """The signature in a stat result."""
        return cls(inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What lies in a folder.

    `files` by path below the folder; `folders` likewise, with their inodes, the folder itself as the empty path (none
    when it does not exist); `skipped` counts what is neither: symlinks, pipes, devices, sockets.
    """

    files: dict[str, Signature]
    folders: dict[str, int]
    skipped: int


@contextlib.contextmanager
def _opened(place: Place, relative: str, *, create: bool = False) -> Iterator[int]:
    """The descriptor of a folder below a place; FileNotFoundError where it does not exist and is not created."""
    if create:
        place.root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in f"{place.relative}/{relative}".split("/"):
            if name in {"", "."}:
                continue
            if name == "..":
                raise PathRefused(f"{place.path}: '..' is not allowed in a path.")
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=descriptor)
            try:
                inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    raise PathRefused(f"{place.path / relative}: {name!r} is not a folder.") from None
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def make(place: Place) -> None:
    """Make the folder and those above it, up to the root, where they are missing."""
    with _opened(place, "", create=True):
        pass


def scan(place: Place) -> Scan:
    """List every regular file below a folder, reading none. A folder that does not exist is empty.

    Names that begin with the reserved prefix are ours and left out. Folders that vanish meanwhile are left out.

    Raises:
        PathRefused: The folder is reached through a symlink, or folders lie more than 100 deep.
    """
    files: dict[str, Signature] = {}
    folders: dict[str, int] = {}
    skipped = 0
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        if folder.count("/") >= _MAX_DEPTH:
            raise PathRefused(f"{place.path}: folders lie more than {_MAX_DEPTH} deep.")
        try:
            with _opened(place, folder) as descriptor, os.scandir(descriptor) as entries:
                folders[folder] = os.fstat(descriptor).st_ino
                for entry in entries:
                    if entry.name.startswith(RESERVED):
                        continue
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            files[path] = Signature.of(status)
                        elif stat.S_ISDIR(status.st_mode):
                            waiting.append(path)
                        else:
                            skipped += 1
        except FileNotFoundError:
            continue
        except PathRefused:
            if not folder:
                raise
            skipped += 1  # swapped for a symlink since its parent was read
    return Scan(files=files, folders=folders, skipped=skipped)


def status(place: Place, relative: str) -> Signature | None:
    """The signature of a regular file now; None where there is none, or something else."""
    folder, _, name = relative.rpartition("/")
    try:
        with _opened(place, folder) as descriptor:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except (FileNotFoundError, PathRefused):
        return None
    return Signature.of(found) if stat.S_ISREG(found.st_mode) else None


def statuses(place: Place, relatives: Iterable[str]) -> dict[str, Signature | None]:
    """`status` of several files."""
    return {relative: status(place, relative) for relative in relatives}


def open_file(place: Place, relative: str) -> int | None:
    """The descriptor of a regular file, opened for reading; None where there is none, or something else.

    Never waits: a pipe is opened without blocking, seen to be one, and closed.
    """
    folder, _, name = relative.rpartition("/")
    try:
        with _opened(place, folder) as descriptor:
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    except (FileNotFoundError, PathRefused):
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:  # symlink, socket or pipe without reader, device
            return None
        raise
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return opened
    os.close(opened)
    return None


class NewFile:
    """A file under a temporary name, in the folder where it is to be: `keep` gives it its own name, whole.

    Close it in any case: what was not kept is removed then.
    """

    def __init__(self, place: Place, relative: str) -> None:
        self._stack = contextlib.ExitStack()
        folder, _, self._name = relative.rpartition("/")
        self._shown = place.path / relative
        self._temporary = f"{RESERVED}{secrets.token_hex(8)}"
        self._folder = self._stack.enter_context(_opened(place, folder, create=True))
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._temporary, flags, 0o644, dir_fd=self._folder)
            self._stack.callback(self._remove)
            self.file: BinaryIO = self._stack.enter_context(os.fdopen(descriptor, "w+b"))
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Free it; remove what was not kept."""
        self._stack.close()

    def keep(self) -> Signature:
        """Flush the file to the disk and rename it to its own name, over what was there.

        Raises:
            PathRefused: A folder has that name.
        """
        self.file.flush()
        # Clocks of files are coarse. With a time in the past, whatever the job writes next makes another signature.
        status = os.fstat(self.file.fileno())
        os.utime(self.file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns - _BACKDATED_NS))
        os.fsync(self.file.fileno())
        try:
            os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except IsADirectoryError:
            raise PathRefused(f"{self._shown} is a folder.") from None
        return Signature.of(os.fstat(self.file.fileno()))

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=self._folder)


def in_folder(place: Place, work: Callable[[int], None], *, create: bool = False) -> None:
    """Call `work` with the descriptor of the folder itself."""
    with _opened(place, "", create=create) as descriptor:
        work(descriptor)
