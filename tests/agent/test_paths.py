"""Which absolute folders a worker allows, and that two attempts never share one."""

from __future__ import annotations

import pytest

from tenure.agent.paths import PathsInUse, refused


@pytest.mark.parametrize(
    ("paths", "roots", "fits"),
    [
        ([], [], True),
        (["/app/data"], ["/app"], True),
        (["/app/data"], ["/srv", "/app/"], True),
        (["/app"], ["/app"], False),
        (["/application/data"], ["/app"], False),
        (["/app/data", "/etc"], ["/app"], False),
        (["/app/data"], [], False),
    ],
)
def test_only_below_an_allowed_root(paths: list[str], roots: list[str], fits: bool) -> None:
    assert (refused(paths, roots) is None) == fits


def test_neither_the_same_nor_one_inside_the_other() -> None:
    used = PathsInUse()
    used.take("a", ["/d/x"])
    assert [used.free([path]) for path in ("/d/x", "/d/x/y", "/d", "/d/xy", "/e")] == [False, False, False, True, True]
    used.give_back("a")
    assert used.free(["/d/x"])
    assert used.all() == []
