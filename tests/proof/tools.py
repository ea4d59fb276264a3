"""What proofs need of the machine; without it they are skipped, and say what to install."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

PACKAGES = {"strace": "strace", "mkfs.ext4": "e2fsprogs", "losetup": "mount", "ip": "iproute2", "nft": "nftables"}
FAKETIME = [
    Path("/usr/lib", f"{os.uname().machine}-linux-gnu", "faketime", "libfaketime.so.1"),
    Path("/usr/lib64/faketime/libfaketime.so.1"),
]


def needs_linux_root() -> None:
    """Skip unless we may mount, make network namespaces and trace."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs Linux and root")


def needs(*programs: str) -> None:
    """Skip unless these programs are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES.get(program, program) for program in missing}))
        pytest.skip(f"needs {', '.join(missing)}: apt install {packages}")


def faketime_library() -> Path:
    """Where libfaketime is, or skip."""
    for path in FAKETIME:
        if path.exists():
            return path
    pytest.skip("needs libfaketime: apt install faketime")
