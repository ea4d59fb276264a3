"""Object keys become paths, and a key is whatever somebody stored: hostile until checked here.

Only the part of a key after the prefix is a path; it is checked by its text alone, before any file is touched, and
the same rules say which local files may become objects, so that what one attempt stores the next can load.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from tenure.agent.sync.objects import ObjectRefused

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
RESERVED = ".tenure-"
"""No segment of a path may start so: the marker and the temporary files of this program do."""

_MAX_SHOWN = 20


class KeysRefused(ObjectRefused):
    """Object keys that cannot be file names below a folder; `keys` holds at most 20 of them, escaped."""

    def __init__(self, keys: Iterable[tuple[str, str]], count: int) -> None:
        shown = [f"{escaped(key)} ({why})" for key, why in keys][:_MAX_SHOWN]
        self.keys = tuple(shown)
        more = f" and {count - len(shown)} more" if count > len(shown) else ""
        super().__init__(f"{count} object keys cannot be file names: {', '.join(shown)}{more}")


def escaped(key: str) -> str:
    """A key as one line of printable ASCII, cut to 200 characters."""
    text = key.encode("unicode_escape").decode("ascii")
    return text if len(text) <= 200 else text[:200] + "…"


def fault(relative: str, *, prefix: str = "") -> str:
    """Why `prefix + relative` cannot be copied to or from the path `relative`; empty when it can.

    Args:
        relative: The part of the key after the prefix.
        prefix: The rule's prefix; only its length matters.
    """
    try:
        encoded = relative.encode()
        length = len(prefix.encode()) + len(encoded)
    except UnicodeEncodeError:
        return "not UTF-8"
    if not relative:
        return "empty"
    if length > MAX_KEY_BYTES:
        return f"longer than {MAX_KEY_BYTES} bytes"
    if relative.startswith("/"):
        return "absolute"
    if "\\" in relative:
        return "backslash"
    if any(unicodedata.category(character) == "Cc" for character in relative):
        return "control character"
    for segment in relative.split("/"):
        if segment in {"", ".", ".."}:
            return f"segment {segment!r}"
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            return f"segment longer than {MAX_SEGMENT_BYTES} bytes"
        if segment.startswith(RESERVED):
            return f"segment starts with {RESERVED}"
    return ""


def check(relatives: Iterable[str], *, prefix: str) -> None:
    """Accept the keys below a prefix as a set of files, or none of them.

    Args:
        relatives: The parts of the keys after the prefix, each once.
        prefix: The rule's prefix.

    Raises:
        KeysRefused: A key cannot be a path, or one is a file and a folder at once (`a` and `a/b`).
    """
    files = set(relatives)
    found: list[tuple[str, str]] = []
    count = 0
    for relative in sorted(files):
        why = fault(relative, prefix=prefix) or _folder_fault(relative, files)
        if why:
            count += 1
            if len(found) < _MAX_SHOWN:
                found.append((relative, why))
    if count:
        raise KeysRefused(found, count)


def _folder_fault(relative: str, files: set[str]) -> str:
    cut = relative.find("/")
    while cut >= 0:
        if relative[:cut] in files:
            return f"{escaped(relative[:cut])} is a file, too"
        cut = relative.find("/", cut + 1)
    return ""
