"""Words for the screen. Everything that comes from a job, a worker or a server passes `clean` before it is printed.

A job's owner, or whoever writes its messages, is not the person who reads them: names, messages and errors may hold
terminal escapes that move the cursor, rewrite lines or set the clipboard.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

# Control characters of both sets, line and paragraph separators, and what changes the direction of writing.
_HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str, limit: int = 0) -> str:
    """One line of text without control characters; those that were there are shown as escapes.

    Args:
        text: anything.
        limit: longest result in characters; 0: any. What is cut off is shown as an ellipsis.
    """
    line = _HOSTILE.sub(lambda match: _escaped(match[0]), text)
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def clean_json(text: str) -> str:
    r"""JSON text whose strings hold no control characters, shown as `\uXXXX`; what it says stays the same."""
    return _HOSTILE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def _escaped(character: str) -> str:
    match character:
        case "\n":
            return "\\n"
        case "\r":
            return "\\r"
        case "\t":
            return "\\t"
        case _:
            code = ord(character)
            return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def timestamp_us(timestamp: Timestamp) -> int:
    """Microseconds since the epoch."""
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1_000


def duration_us(duration: Duration) -> int:
    """Microseconds."""
    return duration.seconds * 1_000_000 + duration.nanos // 1_000


def to_duration(span_us: int) -> Duration:
    """A protobuf duration of so many microseconds, which are not negative."""
    return Duration(seconds=span_us // 1_000_000, nanos=span_us % 1_000_000 * 1_000)


def to_timestamp(instant_us: int) -> Timestamp:
    """A protobuf timestamp of so many microseconds since the epoch."""
    return Timestamp(seconds=instant_us // 1_000_000, nanos=instant_us % 1_000_000 * 1_000)


def instant(timestamp: Timestamp, *, milliseconds: bool = False) -> str:
    """`2024-10-20 14:08:33Z`, in UTC so that two people mean the same; times no calendar has are shown as a number."""
    try:
        moment = datetime.fromtimestamp(timestamp.seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{timestamp.seconds} s"
    fraction = f".{timestamp.nanos // 1_000_000:03d}" if milliseconds else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}Z"


def size(count: int) -> str:
    """Bytes for people: `0 B`, `512 B`, `1.5 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
