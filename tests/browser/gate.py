"""Jobs that go on when a test says so, however slow the machine is."""

from __future__ import annotations

from pathlib import Path


class Gate:
    """What a shell command waits for.

    Args:
        folder: of the test.
        name: of the file that it is.

    Attributes:
        command: the waiting, in words of the shell.
    """

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self._file = folder / name
        self.command = f"until [ -e {self._file} ]; do sleep 0.1; done"

    def open(self) -> None:
        """Let them go on."""
        self._file.touch()
