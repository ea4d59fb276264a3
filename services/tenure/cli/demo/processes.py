"""Starts and ends the demo's server and workers: real processes of this installation."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TENURE = (sys.executable, "-m", "tenure")
LISTENING = "tenure: listening on "
HTTP = "tenure: http on "


class ProcessFailed(Exception):
    """A process ended or did not get ready; the message holds the end of its log."""


class Process:
    """One `tenure …` process in a session of its own, its lines read as they come.

    Args:
        name: for messages.
        arguments: what follows `tenure`.
        environment: added to this process's own.
        on_line: told of each line of its log, in a thread.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self._lines: deque[str] = deque(maxlen=50)
        self._on_line = on_line
        self._seen = threading.Condition()
        self._process = subprocess.Popen(
            [*TENURE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_for(self, beginning: str, seconds: float) -> str:
        """The first of its lines that starts so.

        Raises:
            ProcessFailed: it ended before, or did not print it in time.
        """
        deadline = time.monotonic() + seconds
        with self._seen:
            while True:
                for line in self._lines:
                    if line.startswith(beginning):
                        return line
                ended = self._process.poll() is not None and not self._reader.is_alive()
                if ended or time.monotonic() >= deadline:
                    raise ProcessFailed(f"{self.name} did not get ready:\n" + "\n".join(self._lines))
                self._seen.wait(0.2)

    def kill(self) -> None:
        """Kill -9, as when a machine loses its power: everything it runs goes with it."""
        if self._process.poll() is None:
            for pid in [self._process.pid, *_descendants(self._process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, and SIGKILL when that takes too long; returns its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.rstrip()
            with self._seen:
                self._lines.append(line)
                self._seen.notify_all()
            if self._on_line is not None:
                self._on_line(line)
        with self._seen:
            self._seen.notify_all()


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def start_server(data: Path) -> tuple[Process, str, str]:
    """A server on SQLite in that folder, the address it listens on, and that of its web door."""
    anywhere = "127.0.0.1:0"
    server = Process("the server", ["serve", "--store", f"sqlite://{data}", "--listen", anywhere, "--http", anywhere])
    try:
        line = server.wait_for(LISTENING, 30.0)
        door = server.wait_for(HTTP, 30.0)
    except BaseException:
        server.kill()
        raise
    return server, line.removeprefix(LISTENING).strip(), door.removeprefix(HTTP).strip()


def start_worker(
    name: str, address: str, data: Path, work: Path, queues: Sequence[str], store: Mapping[str, str]
) -> Process:
    """A worker with one slot for those queues; it keeps its files in `work`."""
    arguments = ["worker", "--server", address, "--token-file", str(data / "admin.token"), "--slots", "1"]
    for queue in queues:
        arguments += ["--queue", queue]
    arguments += ["--work-dir", str(work), "--worker-id", name]
    worker = Process(name, arguments, environment=store)
    try:
        worker.wait_for("tenure: worker ", 30.0)
    except BaseException:
        worker.kill()
        raise
    return worker
