"""The pinned packages: all with hashes, none from a named host, and what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import read

FILES = ["requirements/browser.txt", "requirements/build.txt", "requirements/dev.txt", "requirements/runtime.txt"]


@pytest.mark.parametrize("path", FILES)
def test_no_file_names_a_host_or_an_index(path: str) -> None:
    found = [line for line in read(path).splitlines() if re.search(r"://|^\s*-(?!-hash=)|\bfile:|@", line)]
    assert found == []


@pytest.mark.parametrize("path", FILES)
def test_every_package_is_pinned_with_hashes(path: str) -> None:
    text = read(path)
    assert _pins(path)
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        assert re.match(r"[A-Za-z0-9._\[\],-]+==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


@pytest.mark.parametrize("path", ["requirements/runtime.txt", "requirements/dev.txt"])
def test_the_pins_are_what_the_project_asks_for(path: str) -> None:
    _agree(path, _project()["project"]["dependencies"])


def test_the_development_pins_are_what_the_project_asks_for() -> None:
    _agree("requirements/dev.txt", _project()["dependency-groups"]["dev"])


def test_the_pins_of_the_browser_tests_are_what_the_project_asks_for() -> None:
    _agree("requirements/browser.txt", _project()["dependency-groups"]["browser"])


def test_the_build_pins_are_what_the_project_asks_for() -> None:
    _agree("requirements/build.txt", _project()["build-system"]["requires"])


@pytest.mark.parametrize("path", ["requirements/build.txt", "requirements/runtime.txt"])
def test_we_develop_with_what_we_ship(path: str) -> None:
    developed = _pins("requirements/dev.txt")
    assert {name: developed.get(name) for name in _pins(path)} == _pins(path)


def _agree(path: str, wanted: list[str]) -> None:
    pins = _pins(path)
    for requirement in map(Requirement, wanted):
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} is not in {path}: run `make requirements`"
        assert requirement.specifier.contains(pinned), f"{requirement} but {path} has {pinned}: run `make requirements`"


def _pins(path: str) -> dict[str, str]:
    """Canonical name → version."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", read(path), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def _project() -> dict[str, dict[str, list[str]]]:
    project: dict[str, dict[str, list[str]]] = tomllib.loads(read("pyproject.toml"))
    return project
