"""The ring keeps the newest bytes and never loses count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.agent.output import OutputRing


def test_keeps_the_newest_bytes_and_their_offsets() -> None:
    ring = OutputRing(8)
    ring.append(b"0123456789")
    assert (ring.start, ring.end) == (2, 10)
    assert ring.tail() == b"23456789"
    assert ring.read(5) == (5, b"56789")


def test_a_reader_that_is_late_is_told_where_its_bytes_begin() -> None:
    ring = OutputRing(4)
    ring.append(b"abcdefgh")
    assert ring.read(1) == (4, b"efgh")
    assert ring.read(99) == (8, b"")


def test_last_lines_are_fit_to_be_shown() -> None:
    ring = OutputRing()
    ring.append(b"first\n\nbad \xff\x1b[31mred\nlast\n\n")
    assert ring.last_lines(2) == "bad \ufffd [31mred\nlast"


def test_a_ring_holds_something() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        OutputRing(0)


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 32), st.integers(0, 600), st.integers(1, 50))
def test_reads_as_the_whole_stream_would(pieces: list[bytes], capacity: int, offset: int, limit: int) -> None:
    ring, whole = OutputRing(capacity), b""
    for piece in pieces:
        ring.append(piece)
        whole += piece
    assert ring.end == len(whole)
    assert ring.tail() == whole[max(0, len(whole) - capacity) :]
    first, data = ring.read(offset, limit)
    assert data == whole[first : first + limit]
    assert first >= min(offset, len(whole))
