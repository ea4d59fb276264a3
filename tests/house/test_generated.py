"""The committed code of the protos is what protos/generate.py makes of them now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.house.tree import ROOT, SERVICES


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "protos" / "generate.py"), str(tmp_path)], check=True, timeout=60)
    assert _generated(SERVICES) == _generated(tmp_path), "run `make generate`"


def test_every_generated_folder_is_a_package() -> None:
    folders = {Path(path).parent for path in _generated(SERVICES)}
    assert [folder for folder in folders if not (SERVICES / folder / "__init__.py").exists()] == []


def _generated(root: Path) -> dict[str, str]:
    """Path below the root → text, of every file that protoc makes."""
    files = (path for ending in ("py", "pyi") for path in root.rglob(f"*_pb2*.{ending}"))
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in files}
