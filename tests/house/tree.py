"""The files of this repository, as the house's tests see them. No git needed: what is installed or made is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
GENERATED = ("services/tenure/v1/", "services/tenure/events/v1/")

_MADE = {".venv", ".git", "__pycache__", "build", "dist", "node_modules", "results"}
_TEXT = {
    ".cfg",
    ".ini",
    ".json",
    ".jsonl",
    ".md",
    ".proto",
    ".py",
    ".pyi",
    ".sh",
    ".sql",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}
_NAMED = {".dockerignore", ".gitignore", ".importlinter", "Dockerfile", "LICENSE", "Makefile", "run"}


@cache
def text_files() -> tuple[str, ...]:
    """Paths of all text files, relative to the root, with forward slashes, sorted."""
    return tuple(sorted(path.relative_to(ROOT).as_posix() for path in _walk() if _is_text(path)))


def read(path: str) -> str:
    """The text of a file of `text_files`."""
    return (ROOT / path).read_text(encoding="utf-8")


def is_generated(path: str) -> bool:
    """Whether protoc wrote the file."""
    return path.startswith(GENERATED) and not path.endswith("__init__.py")


def own_modules() -> list[str]:
    """Paths of the Python files that people write, tests and benchmarks included."""
    return [path for path in text_files() if path.endswith(".py") and not is_generated(path)]


def _walk() -> Iterator[Path]:
    for folder, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in _MADE and (not name.startswith(".") or name == ".ci")]
        yield from (Path(folder, file) for file in files)


def _is_text(path: Path) -> bool:
    return path.suffix in _TEXT or path.name in _NAMED
