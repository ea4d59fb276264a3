"""Who may import whom: the contracts in .importlinter, and what they cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.house.tree import ROOT, own_modules, read

PURE = ("services/tenure/domain/", "services/tenure/projections/")


def test_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout


def test_the_domain_needs_nothing_but_the_standard_library() -> None:
    known = {*sys.stdlib_module_names, "tenure"}
    pure = [path for path in own_modules() if path.startswith(PURE)]
    assert pure
    assert {
        path: foreign for path in pure if (foreign := {name.split(".")[0] for name in _imported(path)} - known)
    } == {}


def _imported(path: str) -> set[str]:
    """Absolute names of the modules that a file imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(read(path))):
        match node:
            case ast.Import(names=aliases):
                names.update(alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module)
            case _:
                pass
    return names


def test_relative_imports_are_not_used() -> None:
    """A moved file then says itself what it needs, and a search for a module finds all its users."""
    relative = [
        path
        for path in own_modules()
        if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(read(path))))
    ]
    assert relative == []
