from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.agent.sync.keys import KeysRefused, check, escaped, fault

HOSTILE = {
    "../../etc/passwd": "segment '..'",
    "a/../b": "segment '..'",
    "..": "segment '..'",
    "a/./b": "segment '.'",
    "a//b": "segment ''",
    "a/": "segment ''",
    "/etc/passwd": "absolute",
    "": "empty",
    "a\\b": "backslash",
    "..\\..\\x": "backslash",
    "nul\0byte": "control character",
    "new\nline": "control character",
    "del\x7f": "control character",
    "c1\x85": "control character",
    "s" * 256: "segment longer than 255 bytes",
    "ü" * 128: "segment longer than 255 bytes",
    "a/" * 600 + "a": "longer than 1024 bytes",
    ".tenure-owned": "segment starts with .tenure-",
    "a/.tenure-0123/b": "segment starts with .tenure-",
    "lone\ud800surrogate": "not UTF-8",
}
HARMLESS = ["a", "a/b/c", "-rf", " ", "CON", "~", "...", "..a", "a..", ".hidden", "ü/漢字", "s" * 255, "$HOME", "*"]


@pytest.mark.parametrize(("key", "why"), HOSTILE.items(), ids=lambda value: escaped(value)[:20])
def test_hostile_keys_are_refused(key: str, why: str) -> None:
    assert fault(key) == why
    with pytest.raises(KeysRefused):
        check(["fine", key], prefix="p/")


@pytest.mark.parametrize("key", HARMLESS)
def test_harmless_keys_are_accepted(key: str) -> None:
    assert fault(key) == ""
    check([key], prefix="p/")


def test_the_prefix_counts_for_the_length() -> None:
    relative = "/".join(["d" * 100] * 10)
    assert fault(relative, prefix="p" * 14 + "/") == ""
    assert fault(relative, prefix="p" * 15 + "/") == "longer than 1024 bytes"


@pytest.mark.parametrize("keys", [["a", "a/b"], ["a/b/c", "x", "a"], ["a/b", "a/b/c/d"]])
def test_a_file_cannot_be_a_folder_too(keys: list[str]) -> None:
    with pytest.raises(KeysRefused, match="is a file, too"):
        check(keys, prefix="")


def test_names_that_only_look_alike_are_files() -> None:
    check(["a", "a-b", "ab/c", "a.d/e"], prefix="")


def test_at_most_twenty_keys_are_named_and_escaped() -> None:
    with pytest.raises(KeysRefused) as caught:
        check([f"../{number:03}\x1b[31m" for number in range(50)], prefix="")
    assert len(caught.value.keys) == 20
    assert str(caught.value).startswith("50 object keys cannot be file names")
    assert str(caught.value).endswith("and 30 more")
    assert str(caught.value).isprintable()


@given(st.text(max_size=60))
def test_an_accepted_key_is_a_plain_path_below_the_folder(key: str) -> None:
    if fault(key) == "":
        segments = key.split("/")
        assert not {"", ".", ".."} & set(segments)
        assert not key.startswith("/")
        assert "\0" not in key
