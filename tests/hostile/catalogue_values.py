"""Hostile values of each kind, shared by the rows and by the random messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.proof.sizes import FULL

V = TypeVar("V")

MAX_INT32, MIN_INT32 = 2**31 - 1, -(2**31)
MAX_INT64, MIN_INT64 = 2**63 - 1, -(2**63)
NAN, INFINITY = float("nan"), float("inf")
# What an enum of ours never has.
NO_NUMBER = 99

# What is no id: neither `[A-Za-z0-9._-]` alone, nor up to 64 of them, nor begun by a letter or digit.
NO_IDS: dict[str, str] = {
    "empty": "",
    "path": "../../etc/passwd",
    "slash": "a/b",
    "65": "x" * 65,
    "a-million": "x" * 1_000_000,
    "accent": "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    "accent-apart": "cafe\N{COMBINING ACUTE ACCENT}",
    "right-to-left": "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    "zero-width": "a\N{ZERO WIDTH SPACE}b",
    "wide-digit": "\N{FULLWIDTH DIGIT ONE}",
    "newline": "a\nb",
    "newline-at-end": "a\n",
    "nul": "a\0",
    "blank": " a",
    "dash-first": "-rf",
    "dot-first": ".hidden",
    "sql": "a' OR '1'='1",
    "template": "{{7*7}}",
    "format": "%s%n",
}

# What people do not see, or see turned round, in names that are for people.
NO_PRINT: dict[str, str] = {
    "newline": "a\nb",
    "nul": "a\0b",
    "escape": "\x1b[31mred",
    "right-to-left": "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    "isolate": "\N{FIRST STRONG ISOLATE}",
    "zero-width": "\N{ZERO WIDTH SPACE}",
    "tag": "\U000e0041",
}

# Spans that no field takes.
NO_SPANS: dict[str, Duration] = {
    "negative": Duration(seconds=-1),
    "negative-nanos": Duration(nanos=-1),
    "signs-differ": Duration(seconds=1, nanos=-1),
    "signs-differ-too": Duration(seconds=-1, nanos=1),
    "nanos-over": Duration(seconds=1, nanos=2_000_000_000),
    "nanos-smallest": Duration(seconds=1, nanos=MIN_INT32),
    "2-62": Duration(seconds=2**62),
    "largest": Duration(seconds=MAX_INT64, nanos=999_999_999),
    "smallest": Duration(seconds=MIN_INT64, nanos=-999_999_999),
    "10000-years": Duration(seconds=315_576_000_000),
}

# Instants that are none.
NO_INSTANTS: dict[str, Timestamp] = {
    "year-10000": Timestamp(seconds=253_402_300_800),
    "year-0": Timestamp(seconds=-62_135_596_801),
    "nanos-negative": Timestamp(seconds=1, nanos=-1),
    "nanos-over": Timestamp(seconds=1, nanos=1_000_000_000),
    "largest": Timestamp(seconds=MAX_INT64, nanos=MAX_INT32),
    "smallest": Timestamp(seconds=MIN_INT64, nanos=MIN_INT32),
}


def some(turn: int, values: Mapping[str, V]) -> dict[str, V]:
    """Some of the values, for every turn others; all of them in the first one, and where all proofs are done whole.

    Each field refuses by the same rule; what is looked at is that each has one.
    """
    whole = FULL or turn == 0
    return {name: value for place, (name, value) in enumerate(values.items()) if whole or (place + turn) % 5 == 0}


def put(message: Message, path: str, value: Message) -> Message:
    """Set a field by its path, as `items[0].requested_time`; messages on the way are made. Returns the message."""
    target: Message = message
    *parents, last = re.findall(r"(\w+)(?:\[(\d+)\])?", path)
    for name, index in parents:
        child = getattr(target, name)
        if index:
            while len(child) <= int(index):
                child.add()
            child = child[int(index)]
        target = child
    getattr(target, last[0]).CopyFrom(value)
    return message
