"""What a command prints: a ring that keeps the newest bytes and knows where they stood.

Offsets count every byte the command ever printed, so that a reader who comes back later can ask for "from here on" and
is told when what it wants has been overwritten.
"""

from __future__ import annotations

from collections.abc import Callable

# What the server keeps of an attempt that has ended …
KEPT_BYTES = 64 * 1024
# … and what a running one has for those who follow it.
RING_BYTES = 256 * 1024


def _nobody() -> None:
    pass


class OutputRing:
    """The last `capacity` bytes of a stream of any length.

    Attributes:
        end: offset behind the newest byte: how many were ever printed.
        start: offset of the oldest byte that is still here.
        closed: nothing more will be printed.
        listener: called after every change.
    """

    def __init__(self, capacity: int = RING_BYTES) -> None:
        if capacity < 1:
            raise ValueError("a ring holds at least one byte")
        self._capacity = capacity
        self._bytes = bytearray()
        self.end = 0
        self.closed = False
        self.listener: Callable[[], None] = _nobody

    @property
    def start(self) -> int:
        """Offset of the oldest byte that is kept."""
        return self.end - min(len(self._bytes), self._capacity)

    def append(self, data: bytes) -> None:
        """Add what was printed; the oldest bytes give way."""
        self.end += len(data)
        self._bytes += data[-self._capacity :]
        # Cutting at twice the capacity makes the cost of a byte constant however small the pieces are.
        if len(self._bytes) > 2 * self._capacity:
            del self._bytes[: -self._capacity]
        self.listener()

    def close(self) -> None:
        """Nothing more will be printed. May be called again."""
        if not self.closed:
            self.closed = True
            self.listener()

    def read(self, offset: int, limit: int = KEPT_BYTES) -> tuple[int, bytes]:
        """Bytes from an offset on.

        Args:
            offset: of the first byte that is wanted.
            limit: how many bytes at most.

        Returns:
            The offset of the first byte given, later than asked for when that one was overwritten, and the bytes.
        """
        first = min(max(offset, self.start), self.end)
        base = self.end - len(self._bytes)
        return first, bytes(self._bytes[first - base : first - base + limit])

    def tail(self, limit: int = KEPT_BYTES) -> bytes:
        """The newest bytes, at most so many."""
        return self.read(self.end - limit, limit)[1]

    def last_lines(self, count: int, limit: int = 512) -> str:
        """The last lines that are not empty, fit to be shown: bad bytes and control characters are replaced.

        Args:
            count: how many lines at most.
            limit: how many bytes of the tail are looked at.
        """
        text = self.tail(limit).decode("utf-8", "replace")
        lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
        return "\n".join([line for line in lines if line][-count:])
