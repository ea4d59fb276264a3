"""Microseconds to and from the messages `Timestamp` and `Duration`, in integers only.

The wire has nanoseconds, we have microseconds: what is finer is cut off towards zero.
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tenure.domain.errors import Reason, Refused

_MICROS = 1_000_000
_NANOS = 1_000_000_000
# The limits that the messages' own definitions state.
_MAX_DURATION_S = 315_576_000_000
_MIN_TIMESTAMP_S = -62_135_596_800
_MAX_TIMESTAMP_S = 253_402_300_799


def set_timestamp(message: Timestamp, at_us: int) -> None:
    """Write an instant into a message."""
    message.seconds, micros = divmod(at_us, _MICROS)
    message.nanos = micros * 1000


def set_duration(message: Duration, span_us: int) -> None:
    """Write a span into a message."""
    sign = -1 if span_us < 0 else 1
    seconds, micros = divmod(abs(span_us), _MICROS)
    message.seconds, message.nanos = sign * seconds, sign * micros * 1000


def to_timestamp(at_us: int) -> Timestamp:
    """An instant as a message."""
    message = Timestamp()
    set_timestamp(message, at_us)
    return message


def to_duration(span_us: int) -> Duration:
    """A span as a message."""
    message = Duration()
    set_duration(message, span_us)
    return message


def from_timestamp(message: Timestamp, field: str = "") -> int:
    """The instant of a message in microseconds since the epoch.

    Raises:
        Refused: INVALID_FIELD; it is no instant of the years 1 to 9999. `field` is its path.
    """
    seconds, nanos = message.seconds, message.nanos
    if not (_MIN_TIMESTAMP_S <= seconds <= _MAX_TIMESTAMP_S and 0 <= nanos < _NANOS):
        raise Refused(Reason.INVALID_FIELD, "must be an instant of the years 1 to 9999", field=field)
    return seconds * _MICROS + nanos // 1000


def from_duration(message: Duration, field: str = "") -> int:
    """The span of a message in microseconds; it may be negative.

    Raises:
        Refused: INVALID_FIELD; signs of seconds and nanos differ, or one is out of range. `field` is its path.
    """
    seconds, nanos = message.seconds, message.nanos
    if abs(seconds) > _MAX_DURATION_S or abs(nanos) >= _NANOS:
        raise Refused(Reason.INVALID_FIELD, "must be a duration of at most 10,000 years", field=field)
    if seconds * nanos < 0:
        raise Refused(Reason.INVALID_FIELD, "seconds and nanos must have the same sign", field=field)
    micros = abs(seconds) * _MICROS + abs(nanos) // 1000
    return -micros if seconds < 0 or nanos < 0 else micros
