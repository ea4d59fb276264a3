"""The anchor: how far the log was and what its chain said, kept in a file of its own beside the database.

A database that lost its tail is whole in itself: only something outside of it can tell. The anchor is written at most
once a second, after the commits it speaks of are on disk, so a log that ends before it has lost acknowledged events.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tenure.store.store import StoreError

NAME = "anchor.json"


class AnchorMismatch(StoreError):
    """The log is not the one that the anchor speaks of, or has lost its tail; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The log's end at some instant. `hash` is empty before the first commit."""

    log_id: str
    epoch: int
    position: int
    hash: bytes


def read_anchor(directory: Path) -> Anchor | None:
    """The anchor of a data directory; None: there is none.

    Raises:
        AnchorMismatch: the file is not an anchor.
    """
    path = directory / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Anchor(
            log_id=str(found["log_id"]),
            epoch=int(found["epoch"]),
            position=int(found["position"]),
            hash=bytes.fromhex(found["hash"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise AnchorMismatch(
            f"{path} is damaged. Put it back from where it was; if there is no other copy, check the log with "
            "`tenure log verify --write-anchor`"
        ) from error


def write_anchor(directory: Path, anchor: Anchor) -> None:
    """Replace the anchor, all of it or nothing, on disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(
        {"log_id": anchor.log_id, "epoch": anchor.epoch, "position": anchor.position, "hash": anchor.hash.hex()}
    )
    draft = directory / f".{NAME}.new"
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, text.encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(draft, directory / NAME)
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
