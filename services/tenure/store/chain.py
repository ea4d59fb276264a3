"""The hash chain over the log: what makes a change, a gap or a cut in it show.

Each commit's hash covers the hash before it and, event by event in order, the numbers of its row and its stored bytes,
with their length in front. Bytes are hashed as they are stored and never made again: the same message can be encoded in
several ways.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

# The chain before the first commit.
START = b""

# position, stream number, version, time, length of the bytes
_HEADER = struct.Struct(">qqqqI")

# (position, stream number, version, time_us, stored bytes)
Link = tuple[int, int, int, int, bytes]


def advance(before: bytes, links: Iterable[Link]) -> bytes:
    """The hash (32 bytes) after one more commit of these events."""
    pack = _HEADER.pack
    parts = [before]
    for position, stream, version, time_us, data in links:
        parts.append(pack(position, stream, version, time_us, len(data)))
        parts.append(data)
    return hashlib.sha256(b"".join(parts)).digest()
