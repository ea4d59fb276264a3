from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.cli.durations import MICROSECONDS, format_duration, parse_duration

S = 1_000_000


@pytest.mark.parametrize(
    ("text", "span_us"),
    [
        ("90s", 90 * S),
        ("1h30m", 5400 * S),
        ("2d", 172_800 * S),
        (" 1H 30M ", 5400 * S),
        ("1.5h", 5400 * S),
        ("500ms", S // 2),
        ("1m500ms", 60 * S + S // 2),
        ("0s", 0),
        ("0.1s", S // 10),
        ("1d2h3m4s5ms", (86_400 + 7_200 + 180 + 4) * S + 5_000),
    ],
)
def test_spans(text: str, span_us: int) -> None:
    assert parse_duration(text) == span_us


@pytest.mark.parametrize(
    "text", ["", "90", "h", "1h30", "1x", "-1s", "1s1h", "1s2s", "1..5s", "1e3s", "½h", "1h\n;", "٣s"]
)
def test_what_is_no_span_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 90s, 1h30m or 2d"):
        parse_duration(text)


@given(st.lists(st.integers(0, 999), min_size=5, max_size=5))
def test_every_sum_of_units_is_its_sum(counts: list[int]) -> None:
    text = "".join(f"{count}{unit}" for count, unit in zip(counts, MICROSECONDS, strict=True))
    assert parse_duration(text) == sum(c * size for c, size in zip(counts, MICROSECONDS.values(), strict=True))


@pytest.mark.parametrize(
    ("span_us", "text"),
    [
        (0, "0s"),
        (400_000, "0.4s"),
        (2 * S, "2s"),
        (59 * S, "59s"),
        (60 * S, "1m 0s"),
        (90 * S, "1m 30s"),
        (18_000 * S, "5h 0m"),
        (17_999 * S + 999_999, "5h 0m"),
        (2 * 86_400 * S + 3 * 3600 * S, "2d 3h"),
        (-90 * S, "-1m 30s"),
    ],
)
def test_spans_for_people(span_us: int, text: str) -> None:
    assert format_duration(span_us) == text
