"""What must not be written anywhere: names of package registries, paths of one machine, work that is not done.

A letter of each pattern stands in brackets, so that this file does not match itself.
"""

from __future__ import annotations

import re

import pytest

from tests.house.tree import own_modules, read, text_files

REGISTRIES = r"py[p]i\.org|python[h]osted\.org|npm[j]s\.(org|com)|yarn[p]kg\.com|crates[.]io|index[-]url"
MACHINE_PATHS = r"(?<![\w.$}])/([r]oot|[w]ork/(main|shared|brief)|[U]sers|[h]ome/(?!tenure\b)\w+)/"
UNDONE = r"\b([T]ODO|[F]IXME|[X]XX|[N]otImplementedError)\b"
TICKETS = r"\b[i]ssues? #?\d"

OURS = [path for path in text_files() if not path.startswith("third_party/") and path != "LICENSE"]


@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        pytest.param(REGISTRIES, OURS, id="package registries"),
        pytest.param(MACHINE_PATHS, OURS, id="paths of one machine"),
        pytest.param(UNDONE, own_modules(), id="work that is not done"),
        pytest.param(TICKETS, OURS, id="tickets"),
    ],
)
def test_nowhere(pattern: str, where: list[str]) -> None:
    found = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in where
        for number, line in enumerate(read(path).splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("pattern", "text", "word"),
    [
        (REGISTRIES, "see https://{}.org/simple", "pypi"),
        (MACHINE_PATHS, "in /{}/.cache", "root"),
        (MACHINE_PATHS, "`/{}/somebody/jobs`", "home"),
        (UNDONE, "raise {}Error", "NotImplemented"),
        (TICKETS, "as {} 7 says", "issue"),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: str, text: str, word: str) -> None:
    assert re.search(pattern, text.format(word))
