"""Removes what a job left, whatever it is: trees of any depth, without permissions, with names of any kind.

A folder in a folder is moved up before its parent goes, so that neither the depth of a tree nor the length of its paths
nor the number of open files is a limit. No symlink is followed, and nothing outside is touched. All of it blocks.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: Path) -> bool:
    """Remove a file or a tree; a symlink is removed, not followed.

    Returns:
        False when something of it could not be removed.

    Raises:
        OSError: the folder that it lies in cannot be opened.
    """
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _remove(parent, path.name)
    finally:
        os.close(parent)


def empty(folder: int, keep: str = "") -> bool:
    """Remove what is in a folder that is open as `folder`, but the entry named `keep`. What somebody puts there
    meanwhile may stay, so that this ends in any case.

    Returns:
        False when there is still something else in it.
    """
    names = [name for name in os.listdir(folder) if name != keep]
    # Every turn removes a level of the tree: what lay deeper lies here by then.
    while names:
        names = [raised for name in names for raised in _remove_level(folder, name)]
    return set(os.listdir(folder)) <= {keep}


def _remove(parent: int, name: str) -> bool:
    if _unlinked(parent, name):
        return True
    try:
        folder = _opened(parent, name)
    except OSError:
        return False
    try:
        emptied = empty(folder)
    except OSError:
        emptied = False
    finally:
        os.close(folder)
    return emptied and _folder_removed(parent, name)


def _remove_level(top: int, name: str) -> list[str]:
    """Remove a file, or a folder after moving the folders in it up into `top`; their names there."""
    raised: list[str] = []
    if _unlinked(top, name):
        return raised
    try:
        folder = _opened(top, name)
    except OSError:
        return raised
    try:
        for inner in os.listdir(folder):
            if not _unlinked(folder, inner):
                # One that cannot be moved either is no reason to keep what lies beside it.
                with contextlib.suppress(OSError):
                    raised.append(_raised(folder, inner, top))
    except OSError:
        return raised
    finally:
        os.close(folder)
    _folder_removed(top, name)
    return raised


def _raised(folder: int, inner: str, top: int) -> str:
    """Move an entry up; its name there."""
    _admit(folder, inner)
    name = f".tenure-{secrets.token_hex(8)}"
    os.rename(inner, name, src_dir_fd=folder, dst_dir_fd=top)
    return name


def _unlinked(parent: int, name: str) -> bool:
    """Remove what is no folder; False: it is one, or cannot be removed."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _folder_removed(parent: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _opened(parent: int, name: str) -> int:
    """A folder, open for reading, with the permissions that it takes to empty it."""
    _admit(parent, name)
    return os.open(name, _FOLDER, dir_fd=parent)


def _admit(parent: int, name: str) -> None:
    """Give ourselves back the permissions of a folder; a symlink in its place is left alone."""
    place = os.open(name, _PLACE, dir_fd=parent)
    try:
        mode = os.fstat(place).st_mode
        if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
            with contextlib.suppress(OSError):
                # By way of /proc: the folder itself may not be opened, and its name may mean another one by now.
                os.chmod(f"/proc/self/fd/{place}", 0o700)
    finally:
        os.close(place)
