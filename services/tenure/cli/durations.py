"""Spans of time as people write them: `90s`, `1h30m`, `2d`. Inside they are integers of microseconds."""

from __future__ import annotations

import re
from decimal import Decimal

MICROSECONDS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}

_WHOLE = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[dhms]))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])")
_HOW = "write it like 90s, 1h30m or 2d (units: d, h, m, s, ms)"


def parse_duration(text: str) -> int:
    """Microseconds of a span.

    Args:
        text: numbers with units, larger units first, each at most once; spaces between them are fine.

    Raises:
        ValueError: it is none; the text says how to write one.
    """
    compact = text.strip().lower().replace(" ", "")
    if not _WHOLE.fullmatch(compact):
        message = f"{text!r} is not a span of time: {_HOW}"
        raise ValueError(message)
    parts = _PART.findall(compact)
    units = [unit for _, unit in parts]
    if units != [unit for unit in MICROSECONDS if unit in units]:
        message = f"{text!r} has its units in another order than d, h, m, s, ms, or one of them twice: {_HOW}"
        raise ValueError(message)
    return int(sum(Decimal(number) * MICROSECONDS[unit] for number, unit in parts))


def format_duration(span_us: int) -> str:
    """A span for people, its two largest units: `5h 0m`, `1m 30s`, `2d 3h`, `0.4s`. Negative ones get a minus."""
    if span_us < 0:
        return "-" + format_duration(-span_us)
    if span_us < 10_000_000:
        return f"{span_us / 1_000_000:.1f}".removesuffix(".0") + "s"
    seconds = (span_us + 500_000) // 1_000_000
    for unit, lower, size, lower_size in (("d", "h", 86_400, 3_600), ("h", "m", 3_600, 60), ("m", "s", 60, 1)):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // lower_size}{lower}"
    return f"{seconds}s"
