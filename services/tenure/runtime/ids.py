"""Ids: UUIDv7, so that ids made one after the other sort so (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time
from typing import Protocol

# Random bytes drawn at once: a call of the kernel costs more than the rest of an id.
_BUFFER = 4096


class Ids(Protocol):
    """A source of ids."""

    def new(self) -> str:
        """An id that was never given before: at most 64 of [A-Za-z0-9._-], starting with a letter or digit."""


class Uuid7Ids:
    """UUIDv7 from the machine's clock and random source, strictly increasing within a process.

    The clock is read once: what it is set to later, a year that fits no id included, is no concern of theirs.
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._last = 0
        self._random = b""
        self._used = _BUFFER

    def new(self) -> str:
        """The next id, in the usual form with hyphens."""
        # 48 bits of milliseconds and 12 bits below them (RFC 9562 method 3) make one counter.
        tick = max(((self._offset_ns + time.monotonic_ns()) << 12) // 1_000_000, self._last + 1)
        self._last = tick
        if self._used >= _BUFFER:
            self._random, self._used = os.urandom(_BUFFER), 0
        random = int.from_bytes(self._random[self._used : self._used + 8], "big") >> 2
        self._used += 8
        value = (tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | random
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
