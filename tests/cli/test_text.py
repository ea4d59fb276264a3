from __future__ import annotations

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tenure.cli.text import clean, clean_json, duration_us, instant, size, timestamp_us, to_duration, to_timestamp

ESCAPES = ["\x1b[2J", "\x1b]52;c;AAAA\x07", "\x9b31m", "\r", "\u202e", "\x7f", "\u2028", "\x00"]


@pytest.mark.parametrize("hostile", ESCAPES)
def test_escapes_are_shown_and_not_obeyed(hostile: str) -> None:
    shown = clean(f"a{hostile}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")


@given(st.text())
def test_clean_text_is_one_printable_line(text: str) -> None:
    shown = clean(text)
    assert not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in shown)
    assert len(shown.splitlines()) <= 1


def test_ordinary_text_stays() -> None:
    assert clean("Grüße, 世界 — ok 🚀") == "Grüße, 世界 — ok 🚀"
    assert clean("a\tb\nc") == "a\\tb\\nc"


def test_long_text_is_cut_where_asked() -> None:
    assert clean("abcdef", 4) == "abc…"
    assert clean("abcd", 4) == "abcd"


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_says_the_same_without_control_characters(value: object) -> None:
    shown = clean_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(shown) == value
    assert not any((ord(each) < 0x20 and each != "\n") or 0x7F <= ord(each) < 0xA0 for each in shown)


@given(st.integers(0, 10**15))
def test_times_and_spans_keep_their_microseconds(value: int) -> None:
    assert timestamp_us(to_timestamp(value)) == value
    assert duration_us(to_duration(value)) == value


def test_instants_are_utc() -> None:
    when = to_timestamp(1633329776235_000)
    assert instant(when) == "2021-10-04 06:42:56Z"
    assert instant(when, milliseconds=True) == "2021-10-04 06:42:56.235Z"
    assert instant(Timestamp(seconds=10**15)) == f"{10**15} s"


def test_sizes() -> None:
    assert [size(each) for each in (0, 1023, 1024, 1536 * 1024, 5 * 2**30, 2**50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 MiB",
        "5.0 GiB",
        "1024.0 TiB",
    ]
