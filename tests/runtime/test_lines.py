"""Whoever says something neither waits for those who read it nor hears of their troubles."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator

import pytest

from tenure.runtime.lines import LineWriter, StreamLines

PAGE = 4096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that holds one page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    yield reader, writer
    for each in (reader, writer):
        os.close(each)


def read(reader: int, end: bytes) -> bytes:
    """All that comes, up to and with these words."""
    told = b""
    while end not in told:
        told += os.read(reader, PAGE)
    return told


def test_lines_come_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = LineWriter(writer)
    lines.info("one")
    lines.error("two, with \udce9")
    assert lines.flush(10)
    assert os.read(reader, PAGE) == b"one\ntwo, with \\udce9\n"


@pytest.mark.parametrize("blocking", [True, False])
def test_who_does_not_read_keeps_nobody_and_gets_all_of_it_later(pipe: tuple[int, int], blocking: bool) -> None:
    reader, writer = pipe
    os.set_blocking(writer, blocking)
    lines = LineWriter(writer)
    for number in range(100):
        lines.info(f"{number:02} " + "x" * 200)
    assert not lines.flush(0.01)
    told = read(reader, b"99 " + b"x" * 200 + b"\n").decode().splitlines()
    assert [line[:2] for line in told] == [f"{number:02}" for number in range(100)]
    assert lines.flush(10)


def test_what_is_too_much_is_dropped_and_counted(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = LineWriter(writer, most_waiting=5)
    for _ in range(100):
        lines.info("x" * PAGE)
    told = read(reader, b"were dropped here").decode().splitlines()
    written = [line for line in told if line.startswith("x")]
    (dropped,) = [line for line in told if not line.startswith("x")]
    assert len(written) + int(dropped.split()[0]) == 100
    assert int(dropped.split()[0]) > 0


def test_a_disk_that_is_full_is_nobodys_error() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    lines = LineWriter(descriptor)
    lines.info("lost")
    assert lines.flush(10)
    os.close(descriptor)


def test_nor_is_a_reader_that_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lines = LineWriter(writer)
    lines.info("lost")
    assert lines.flush(10)
    os.close(writer)


class Broken(io.StringIO):
    def write(self, text: str, /) -> int:
        raise OSError(text)


def test_nor_is_a_stream_that_fails_is_closed_or_is_not_there() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), closed, None):
        StreamLines(stream).info("lost")
