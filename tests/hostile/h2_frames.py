"""HTTP/2 frames by hand (RFC 9113), as far as an attack needs them: nothing here keeps to the protocol by itself.

Headers are written as literals without compression, which every decoder has to take; of what comes back only the
frames' heads are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
NAMES = (
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE = 4
CANCEL = 8
HEAD_BYTES = 9
MOST_PAYLOAD = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return frame_head(len(payload), kind, flags, stream) + payload


def frame_head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine bytes before a payload, which need not follow."""
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream)


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def header_block(fields: Iterable[tuple[str, bytes]]) -> bytes:
    """Header fields as literals (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + _text(name.encode()) + _text(value) for name, value in fields)


def call_fields(path: str, authority: str, token: str, *more: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    """The header fields of a gRPC call; without a token it is anonymous."""
    fields = [
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", path.encode()),
        (":authority", authority.encode()),
        ("te", b"trailers"),
        ("content-type", b"application/grpc"),
    ]
    if token:
        fields.append(("authorization", f"Bearer {token}".encode()))
    return [*fields, *more]


def message(data: bytes, *, compressed: bool = False) -> bytes:
    """A gRPC message with its prefix."""
    return struct.pack(">BI", compressed, len(data)) + data


def data_frames(stream: int, data: bytes, *, end: bool) -> bytes:
    """DATA frames of a size that every receiver takes."""
    pieces = [data[start : start + MOST_PAYLOAD] for start in range(0, len(data), MOST_PAYLOAD)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        frame(DATA, END_STREAM if end and number == last else 0, stream, piece) for number, piece in enumerate(pieces)
    )


def _text(value: bytes) -> bytes:
    """A string literal, not Huffman coded, with its length (RFC 7541, 5.1 and 5.2)."""
    length = len(value)
    if length < 127:
        return bytes([length]) + value
    length -= 127
    out = bytearray([127])
    while length >= 128:
        out.append(length & 127 | 128)
        length >>= 7
    out.append(length)
    return bytes(out) + value
