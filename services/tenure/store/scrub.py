"""The log read again, a piece at a time, beside everything else: what a piece says of it.

It is the same chain that `verify` computes, kept going over pieces that end with a commit. What is stored is believed
in nothing: what is compared with it was computed from the log's first event on.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tenure.store import chain

# Rows of jobs that are compared with their events in each piece, and the longest of their streams that are.
SAMPLE = 2
LONGEST_STREAM = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """How far the log was read again.

    Attributes:
        position: the last event, which ends a commit.
        hash: the chain there, computed from what was read.
        turn: how often the whole log was read before; each turn looks at other rows.
        jobs: whose rows were compared with their events.
        problem: what is wrong in the piece that follows, with the positions; empty: nothing is.
    """

    position: int = 0
    hash: bytes = chain.START
    turn: int = 0
    jobs: int = 0
    problem: str = ""

    def wrong(self, problem: str) -> Scrubbed:
        """The same place, with what is wrong behind it."""
        return replace(self, problem=problem)


def read_on(after: Scrubbed, ends: Sequence[tuple[int, bytes]], links: Sequence[chain.Link]) -> Scrubbed:
    """The place behind some commits, or where something is wrong with them.

    Args:
        after: the place before them.
        ends: position and stored hash of each commit, in order.
        links: their events, in order.
    """
    good, index = after, 0
    for end, stored in ends:
        span = f"positions {good.position + 1} to {end}"
        part = links[index : index + end - good.position]
        index += end - good.position
        if [link[0] for link in part] != list(range(good.position + 1, end + 1)):
            return good.wrong(f"{span} are not all in the log")
        if advanced(good.hash, part) != stored:
            return good.wrong(f"{span} are not what was committed")
        good = replace(good, position=end, hash=stored)
    return good


def sample_of(found: Sequence[T], turn: int) -> list[T]:
    """The few of them whose turn it is."""
    return [found[(turn * SAMPLE + number) % len(found)] for number in range(min(SAMPLE, len(found)))]


def advanced(before: bytes, links: Sequence[chain.Link]) -> bytes | None:
    """The chain after a commit; None: its columns cannot even be what was written."""
    try:
        return chain.advance(before, links)
    except (struct.error, TypeError):
        return None
