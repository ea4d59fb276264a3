"""A file that is whole when it has its name: written as a draft beside it, named at the end, never over another one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tenure.store.store import StoreError

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class CannotWrite(StoreError):
    """The file cannot be made; the text says why."""


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """An empty draft for the body to write; it becomes the target, on disk, when the body ends well.

    Only its owner may read it. A draft of the same target that a killed process left is written over.

    Raises:
        CannotWrite: there is such a file, or it cannot be written; also for an OSError of the body.
    """
    check_new(target)
    draft = target.with_name(f".{target.name}.part")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield draft
        sync(draft)
        _name(draft, target)
        sync(target.parent)
    except OSError as error:
        raise CannotWrite(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        for name in (draft.name, f"{draft.name}-journal"):
            with suppress(OSError):
                draft.with_name(name).unlink(missing_ok=True)


def check_new(target: Path) -> None:
    """Refuse a target before anything is done for it.

    Raises:
        CannotWrite: there is such a file, or no folder for it.
    """
    if not target.name or not target.parent.is_dir():
        raise CannotWrite(f"there is no folder {target.parent} on this machine")
    if os.path.lexists(target):
        raise _taken(target)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk when this returns.

    Raises:
        OSError: it may not be there.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _name(draft: Path, target: Path) -> None:
    """Give the draft its name; a file that came to be there meanwhile stays."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links.
        if os.path.lexists(target):
            raise _taken(target) from None
        draft.rename(target)


def _taken(target: Path) -> CannotWrite:
    return CannotWrite(f"{target} is there already: name a new file")
