from __future__ import annotations

import pytest

from tenure.cli.reading import MAX_BYTES, DocumentError, read_values, without_comments


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('# before\n{"a": 1}  # behind\n', [{"a": 1}]),
        ('{"a": "#no", // yes\n "b": "http://x"} // end', [{"a": "#no", "b": "http://x"}]),
        ('{"a": "quote \\" # still text"}', [{"a": 'quote " # still text'}]),
        ('\t{\n\t"a":\t1}', [{"a": 1}]),
        ('\ufeff{"a": 1}', [{"a": 1}]),
        ('{"a": 1,}', [{"a": 1}]),
        ("[1, 2]", [[1, 2]]),
        ("{a: b, c: [d]}", [{"a": "b", "c": ["d"]}]),
        ("a: 1\nb: [x]\n", [{"a": 1, "b": ["x"]}]),
        ("a: 1\n---\na: 2\n---\n", [{"a": 1}, {"a": 2}]),
        ("a: &x {b: 1}\nc: *x\n", [{"a": {"b": 1}, "c": {"b": 1}}]),
        ("a:\nb: ~\nc: null\n", [{"a": None, "b": None, "c": None}]),
    ],
)
def test_json_with_comments_and_yaml(text: str, values: list[object]) -> None:
    assert read_values(text.encode()) == values


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("2024-10-20", "2024-10-20"),
        ("1_000", "1_000"),
        ("true", True),
        ("-1.5", -1.5),
        ("42", 42),
        ("'42'", "42"),
    ],
)
def test_yaml_means_what_json_means(scalar: str, value: object) -> None:
    assert read_values(f"a: {scalar}".encode()) == [{"a": value}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("# only a comment", "empty"),
        ("---\n---\n", "empty"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("a: 1\na: 2", "line 1: 'a' is there twice"),
        ("1: 2", "the key 1 is no text"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1 "b": 2}', "line 1, column 9"),
        ('{"a": "x\n"b": 2}', "line 1"),
        ("a: [1", "line"),
        ("a: !!python/object:os.system x", "line 1"),
        ("[" * 5000, "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: \x07", "neither JSON nor YAML"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        read_values(text.encode())


def test_other_encodings_and_sizes() -> None:
    with pytest.raises(DocumentError, match="byte 6 is not UTF-8"):
        read_values(b'{"a": \xff}')
    with pytest.raises(DocumentError, match="larger than 64 MiB"):
        read_values(b" " * (MAX_BYTES + 1))


def test_comments_are_blanked_in_place() -> None:
    text = '{"a#": 1} # x\n// y\n'
    blanked = without_comments(text)
    assert len(blanked) == len(text)
    assert blanked == '{"a#": 1}    \n    \n'
