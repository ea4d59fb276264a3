"""Spans of time as people write them in the configuration: "1h30m", "90s", "200ms", or a number of seconds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_MAX_SPAN_US = 366 * 86_400_000_000
_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def parse_span(value: object) -> int:
    """Microseconds of "1h30m" or of a number of seconds.

    Raises:
        ValueError: it is neither, or out of range (0 to 366 days).
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        message = 'write a span such as "1h30m" or a number of seconds'
        raise ValueError(message)
    if isinstance(value, str):
        text = value.replace(" ", "")
        parts = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            message = 'write a span such as "1h30m", "90s" or "200ms"'
            raise ValueError(message)
        span = sum(float(number) * _UNITS[unit] for number, unit in parts)
    else:
        span = min(value, _MAX_SPAN_US) * 1e6  # before it becomes a float that it may not fit into
    if not 0 <= span <= _MAX_SPAN_US:  # nor is what is no number
        message = "a span is 0 to 366 days"
        raise ValueError(message)
    return round(span)


Span = Annotated[int, BeforeValidator(parse_span)]
PositiveSpan = Annotated[int, BeforeValidator(parse_span), Field(gt=0)]
