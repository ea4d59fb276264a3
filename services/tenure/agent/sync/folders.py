"""The folders of sync rules: where they may lie, and who may empty them.

A relative path lies in the attempt's private directory and goes with it. An absolute one lies below a root that the
operator allowed, outlives the attempt, and is emptied only when it carries the marker that we put there and nobody
else on this machine has locked that marker: it is locked from `prepare` to `clean`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tenure.agent.sync import beneath, removal
from tenure.agent.sync.beneath import Place
from tenure.agent.sync.claims import Claims, lock
from tenure.agent.sync.keys import RESERVED

MARKER = f"{RESERVED}owned"
"""Name of the file that says: this folder's contents are ours to remove."""

_MARKER_TEXT = (
    "This folder belongs to a Tenure worker, which removes everything in it.\n"
    "Take this file away to keep what is here; the worker then leaves the folder alone.\n"
)

# One for the process, as the locks are the process's: they last until it lets go of them or dies.
_CLAIMS = Claims()


class FolderRefused(Exception):
    """A `local_path` that this worker does not use; the message says why and what the operator can do."""


def resolve(local_path: str, *, private: Path, allowed: Sequence[Path] = (), trusted: Path | None = None) -> Place:
    """Where a rule's `local_path` lies.

    Args:
        local_path: As in the rule.
        private: The attempt's private directory; relative paths lie in it.
        allowed: Roots that absolute paths may lie below.
        trusted: The innermost folder above `private` that no job is given: from there on down no symlink is followed,
            so that a job does not lead us away by replacing its own directory. None: `private` itself.

    Raises:
        FolderRefused: Not a path that this worker allows.
    """
    shown = ascii(local_path)
    if not local_path or "\0" in local_path or len(os.fsencode(local_path)) > 1024:
        raise FolderRefused(f"The local path {shown} is empty, too long or holds a NUL.")
    path = PurePosixPath(local_path)
    if ".." in path.parts:
        raise FolderRefused(f"The local path {shown} holds '..'.")
    if any(part.startswith(RESERVED) for part in path.parts):
        raise FolderRefused(f"The local path {shown} uses a name that starts with {RESERVED}, which is reserved.")
    if not path.is_absolute():
        if str(path) == "." or local_path.startswith("~"):
            raise FolderRefused(f"The local path {shown} names no folder in the job's directory.")
        root = trusted or private
        return Place(root=root, relative=str(private.relative_to(root) / path))
    # The innermost root is the one whose own symlinks the operator vouched for.
    for root in sorted(allowed, key=lambda each: len(each.parts), reverse=True):
        if path != PurePosixPath(root) and path.is_relative_to(root):
            return Place(root=root, relative=str(path.relative_to(root)))
    roots = ", ".join(str(root) for root in allowed) or "none"
    raise FolderRefused(
        f"The local path {shown} does not lie below a root that this worker allows (allowed: {roots}). "
        "Use a relative path, or start the worker with --allow-root."
    )


def prepare(place: Place, owner: str, *, claims: Claims = _CLAIMS) -> None:
    """Make an absolute folder empty and ours, until `clean`.

    Args:
        place: The folder. What an earlier attempt of this worker left locked is taken over: the worker itself sees to
            it that no two of its attempts use one path at a time.
        owner: One line that names the attempt, for whoever looks at the marker. Where the folder is refused, the
            attempt lets go of all that it has prepared: it does not run.
        claims: Where the lock is kept; the process's own.

    Raises:
        FolderRefused: It holds files and no marker of ours, or what cannot be removed, or somebody else is using it.
        beneath.PathRefused: It is reached through a symlink.
    """

    def own(folder: int) -> None:
        marked = _carries_marker(folder)
        if not marked and os.listdir(folder):
            raise FolderRefused(
                f"The folder {place.path} holds files that are not ours, so it is not emptied for a job. "
                f"Empty it by hand, or put a file {MARKER} into it to give it away."
            )
        marker = lock(folder, MARKER, new=not marked)
        if marker is None:
            raise FolderRefused(
                f"The folder {place.path} is in use by another worker on this machine, or by another job of this one "
                "under another path. Give each worker an --allow-root of its own, or the jobs different folders."
            )
        claims.take(place, owner, marker)
        if marked:
            _empty(folder, place)
        _write_marker(marker, owner)

    claims.drop(place)
    try:
        beneath.in_folder(place, own, create=True)
    except BaseException:
        claims.drop_all(owner)
        raise


def clean(place: Place, *, claims: Claims = _CLAIMS) -> None:
    """Remove everything in an absolute folder that carries our marker, the marker last, and let go of it.

    A folder without the marker is left alone, and so is one that somebody else is using.

    Raises:
        FolderRefused: Something in it cannot be removed. The attempt has let go of its other folders too.
        beneath.PathRefused: It is reached through a symlink. Likewise.
    """
    owner = claims.owner(place)

    def empty(folder: int) -> None:
        if not _carries_marker(folder):
            return
        # Not held any more where another folder of the attempt was refused.
        if not claims.holds(place, folder, MARKER):
            marker = lock(folder, MARKER, new=False)
            if marker is None:
                return
            claims.drop(place)
            claims.take(place, "", marker)
        _empty(folder, place)
        os.unlink(MARKER, dir_fd=folder)

    try:
        beneath.in_folder(place, empty)
    except FileNotFoundError:
        return
    except BaseException:
        # Nobody may come to clean the others, and nothing of the attempt uses them any more.
        if owner is not None:
            claims.drop_all(owner)
        raise
    finally:
        claims.drop(place)


def _carries_marker(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(MARKER, dir_fd=descriptor, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _empty(descriptor: int, place: Place) -> None:
    # The marker stays to the last: a folder that is half emptied when the machine stops must still be known as ours.
    if not removal.empty(descriptor, keep=MARKER):
        raise FolderRefused(f"Something in the folder {place.path} cannot be removed by the worker. Remove it by hand.")


def _write_marker(marker: int, owner: str) -> None:
    os.ftruncate(marker, 0)
    os.pwrite(marker, f"{_MARKER_TEXT}Attempt: {owner}\n".encode(), 0)
