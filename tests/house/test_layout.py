"""Where things are and how large they may grow."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

import pytest

from tests.house.tree import ROOT, is_generated, own_modules, read

MAX_LINES = 350
# path: why it is longer.
LONGER: dict[str, str] = {}

SAYS_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc", "core"}

TOP_LEVEL = [
    "README.md",
    "pyproject.toml",
    "buf.yaml",
    "docker-compose.yml",
    "Dockerfile",
    "Makefile",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    ".ci/run",
    "protos",
    "services",
    "tests",
]


@pytest.mark.parametrize("path", TOP_LEVEL)
def test_the_top_level_is_complete(path: str) -> None:
    assert (ROOT / path).exists()


def test_files_are_short() -> None:
    """A longer file is split by topic, or its reason is given in LONGER."""
    lines = {path: len(read(path).splitlines()) for path in own_modules()}
    assert {path: count for path, count in lines.items() if count > MAX_LINES and path not in LONGER} == {}


def test_every_exception_is_still_needed() -> None:
    assert [path for path in LONGER if len(read(path).splitlines()) <= MAX_LINES] == []


def test_names_say_something() -> None:
    named = [path for path in own_modules() if SAYS_NOTHING & {part.removesuffix(".py") for part in path.split("/")}]
    assert named == []


def test_modules_say_what_they_are() -> None:
    modules = {path: ast.parse(read(path)) for path in own_modules() if path.startswith("services/")}
    assert [path for path, module in modules.items() if module.body and not ast.get_docstring(module)] == []


def test_the_source_root_is_no_package() -> None:
    assert not (ROOT / "services" / "__init__.py").exists()


def test_tests_lie_where_their_source_does() -> None:
    """A folder of tests/ that is named like a layer holds only tests of modules or folders which exist there."""
    layers = {path.name for path in (ROOT / "services" / "tenure").iterdir() if path.is_dir()}
    strays = []
    for path in own_modules():
        parts = PurePosixPath(path).parts
        if parts[0] != "tests" or len(parts) < 4 or parts[1] not in layers or not parts[-1].startswith("test_"):
            continue
        if not ROOT.joinpath("services", "tenure", *parts[1:-1]).is_dir():
            strays.append(path)
    assert strays == []


def test_generated_code_is_where_it_is_looked_for() -> None:
    generated = [
        path.relative_to(ROOT).as_posix() for path in (ROOT / "services").rglob("*_pb2*.py*") if path.suffix != ".pyc"
    ]
    assert generated
    assert all(is_generated(path) for path in generated)
