"""The bytes of a local file as they are to be stored, and stored bytes as they are to be a local file.

A job writes while we read. What is sent is therefore fixed first: small files, packed files and commit markers are
copied aside; a large file is read where it lies, and each block is compared with what it was when it was hashed, so
that an object never holds bytes that its checksum does not speak of. All functions block.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import secrets
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import BinaryIO

from tenure.agent.sync import beneath
from tenure.agent.sync.beneath import Place, Signature
from tenure.agent.sync.objects import BLOCK, ContentChanged, ObjectRefused

COPY_BELOW = 2 * BLOCK
"""Files shorter than this are copied aside before they are sent."""

_CHUNK = 1024 * 1024
_RACY_NS = 100_000_000
_READ_AGAIN = 3


class FileContent:
    """`Content` over an open file, which it owns: `close` it.

    Args:
        file: Positioned reads only.
        size: Bytes of it that count.
        sha256: Of those bytes.
        blocks: SHA-256 of each block, to be checked when it is read; empty where nobody can write to the file.
    """

    def __init__(self, file: BinaryIO, *, size: int, sha256: bytes, blocks: tuple[bytes, ...] = ()) -> None:
        self._file = file
        self.size = size
        self.sha256 = sha256
        self._blocks = blocks

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes; ContentChanged where they are not those that were hashed."""
        data = b"".join(_chunks(self._file.fileno(), offset, length))
        if len(data) != length:
            raise ContentChanged
        if self._blocks:
            for start in range(0, length, BLOCK):
                digest = hashlib.sha256(memoryview(data)[start : start + BLOCK]).digest()
                if digest != self._blocks[(offset + start) // BLOCK]:
                    raise ContentChanged
        return data

    def close(self) -> None:
        """Close the file; a copy is gone with it."""
        self._file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of a local file.

    `sha256` is of the file's own bytes; `content` may hold them packed. `racy`: see `plan.Stored`. `torn`: the file
    was changed while it was read, so that the bytes are of no single moment.
    """

    content: FileContent
    signature: Signature
    sha256: bytes
    racy: bool
    torn: bool


class GivenUp(Exception):
    """Nobody waits for the bytes any more."""


def read(place: Place, relative: str, abort: Event, *, pack: bool, aside: bool, spool: Path | None) -> Reading | None:
    """Read a file once, or a few times while it changes; None where there is no regular file.

    Args:
        place: Folder.
        relative: Path of the file in it.
        abort: Ends it early with GivenUp.
        pack: Gzip the bytes.
        aside: Copy them, however large the file is.
        spool: Folder for copies; None: the system's.
    """
    for left in reversed(range(_READ_AGAIN)):
        descriptor = beneath.open_file(place, relative)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as source:
            reading = _read(source, abort, pack=pack, aside=aside, spool=spool)
        if not (reading.torn and left):
            return reading
        reading.content.close()
    raise AssertionError  # the last turn returns


def _read(source: BinaryIO, abort: Event, *, pack: bool, aside: bool, spool: Path | None) -> Reading:
    signature = Signature.of(os.fstat(source.fileno()))
    copy = spooled(spool)
    try:
        # A file made just now has its time from the same clock as the job's files.
        age_ns = os.fstat(copy.fileno()).st_mtime_ns - signature.mtime_ns
        if pack or aside or signature.size < COPY_BELOW:
            content, sha256 = _copied(source, signature.size, copy, abort, pack=pack)
        else:
            copy.close()
            content, sha256 = _in_place(source, signature.size, abort)
    except BaseException:
        copy.close()
        raise
    torn = Signature.of(os.fstat(source.fileno())) != signature
    return Reading(content=content, signature=signature, sha256=sha256, racy=_is_racy(age_ns), torn=torn)


def _is_racy(age_ns: int) -> bool:
    # A time well in the future was set on purpose: another write would replace it.
    return -_RACY_NS < age_ns < _RACY_NS


class _HashingWriter:
    """Writes on, and knows length and SHA-256 of what it wrote."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Write all of it."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    @property
    def sha256(self) -> bytes:
        """Of everything written so far."""
        return self._hash.digest()


def _copied(source: BinaryIO, size: int, copy: BinaryIO, abort: Event, *, pack: bool) -> tuple[FileContent, bytes]:
    plain = hashlib.sha256()
    stored = _HashingWriter(copy)
    # No time and no name in the header: equal files become equal objects.
    packer = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stored, mtime=0) if pack else None
    for chunk in _chunks(source.fileno(), 0, size, abort):
        plain.update(chunk)
        (packer or stored).write(chunk)
    if packer is not None:
        packer.close()
    stored.flush()
    return FileContent(copy, size=stored.size, sha256=stored.sha256), plain.digest()


def _in_place(source: BinaryIO, size: int, abort: Event) -> tuple[FileContent, bytes]:
    whole = hashlib.sha256()
    blocks: list[bytes] = []
    length = 0
    for offset in range(0, size, BLOCK):
        block = hashlib.sha256()
        for chunk in _chunks(source.fileno(), offset, min(BLOCK, size - offset), abort):
            block.update(chunk)
            whole.update(chunk)
            length += len(chunk)
        blocks.append(block.digest())
    file = os.fdopen(os.dup(source.fileno()), "rb")
    return FileContent(file, size=length, sha256=whole.digest(), blocks=tuple(blocks)), whole.digest()


def _chunks(descriptor: int, offset: int, length: int, abort: Event | None = None) -> Iterator[bytes]:
    end = offset + length
    while offset < end:
        if abort is not None and abort.is_set():
            raise GivenUp
        chunk = os.pread(descriptor, min(_CHUNK, end - offset), offset)
        if not chunk:
            return
        yield chunk
        offset += len(chunk)


def spooled(spool: Path | None) -> BinaryIO:
    """A new nameless file in a folder, None: the system's, for bytes on their way; the caller closes it.

    Raises:
        OSError: the folder is none, or a symlink that somebody has put in its place.
    """
    if spool is None:
        return tempfile.TemporaryFile(prefix="tenure-")
    folder = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        name = f"tenure-{secrets.token_hex(8)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "w+b")
        try:
            with contextlib.suppress(FileNotFoundError):  # the job was quicker
                os.unlink(name, dir_fd=folder)
        except OSError:
            file.close()
            raise
    finally:
        os.close(folder)
    return file


def unpack(packed: BinaryIO, target: BinaryIO, shown: str, abort: Event) -> bytes:
    """Write the unpacked bytes to `target`; their SHA-256.

    Args:
        packed: Gzipped bytes, read from their beginning.
        target: Written from its present place on.
        shown: The object's name, for the error.
        abort: Ends it early with GivenUp.

    Raises:
        ObjectRefused: They are not gzipped, or damaged.
    """
    digest = hashlib.sha256()
    if packed.seek(0, os.SEEK_END) == 0:  # which GzipFile would take for the end
        raise ObjectRefused(f"{shown} says it is gzipped, but it is empty.")
    packed.seek(0)
    try:
        with gzip.GzipFile(fileobj=packed, mode="rb") as source:
            while chunk := source.read(_CHUNK):
                if abort.is_set():
                    raise GivenUp
                digest.update(chunk)
                target.write(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise ObjectRefused(f"{shown} says it is gzipped, but its bytes are damaged.") from None
    return digest.digest()


def sha256_of(file: BinaryIO, abort: Event) -> bytes:
    """SHA-256 of a whole file; `abort` ends it early with GivenUp."""
    file.flush()
    digest = hashlib.sha256()
    for chunk in _chunks(file.fileno(), 0, os.fstat(file.fileno()).st_size, abort):
        digest.update(chunk)
    return digest.digest()
