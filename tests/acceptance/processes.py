"""Real servers and real workers: `tenure serve` and `tenure worker` as processes, each ended by its id.

Each process leads a group of its own; what it writes goes to a file that a failing test shows the end of. A worker's
commands lead groups of their own again and end with their worker, so nothing is searched for by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.servers.ports import own_port

READY_S = 60.0
LISTENING = re.compile(r"^tenure: listening on (\S+)$", re.MULTILINE)
TENURE = (sys.executable, "-m", "tenure")


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small environment, with a state folder of its own, for a process of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    home.mkdir(parents=True, exist_ok=True)
    return {**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), **(more or {})}


def run_tenure(
    *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = READY_S
) -> subprocess.CompletedProcess[str]:
    """Run `tenure` to its end."""
    return subprocess.run(
        [*TENURE, *arguments],
        env=dict(env) if env is not None else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Running(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""

    def poll(self) -> int | None:
        """Its exit code; None: it runs."""

    def wait(self) -> int:
        """Its exit code, once it has ended."""


Launch = Callable[[Sequence[str], Mapping[str, str], Path], Running]


def popen(arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> Running:
    """Start a program whose output is added to that file."""
    with output.open("ab") as file:
        return subprocess.Popen(
            arguments, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )


class Process:
    """One `tenure …` that runs until it is ended; `launch` is how it is started."""

    launch: Launch = staticmethod(popen)

    def __init__(self, name: str, directory: Path, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.output_file = directory / f"{name}.log"
        self._arguments = [*TENURE, *arguments]
        self._env = dict(env)
        self._process: Running | None = None

    def start(self) -> None:
        """Start it; does not wait."""
        assert self._process is None or self._process.poll() is not None
        self._process = self.launch(self._arguments, self._env, self.output_file)

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """It has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """What it has written so far."""
        return self.output_file.read_text(errors="replace") if self.output_file.exists() else ""

    def signal(self, number: int) -> None:
        """Send it (and not its group) a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the process alone, and wait until it is gone; what it leaves behind notices by itself."""
        if self.running:
            self.signal(signal.SIGKILL)
            assert self._process is not None
            self._process.wait()

    def close(self) -> None:
        """Kill it and, when they do not end by themselves, the helpers in its group."""
        if self._process is None:
            return
        self.kill()
        give_up = time.monotonic() + 5
        with contextlib.suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < give_up:
                os.killpg(self._process.pid, 0)
                time.sleep(0.02)
            os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self, *, within_s: float = READY_S) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        give_up = time.monotonic() + within_s
        while (code := self._process.poll()) is None:
            if time.monotonic() > give_up:
                raise AssertionError(f"{self.name} did not end within {within_s} s:\n{self.tail()}")
            await asyncio.sleep(0.02)
        return code

    async def says(self, pattern: str | re.Pattern[str], *, after: int = 0, within_s: float = READY_S) -> re.Match[str]:
        """Wait until its output, from that character on, has the pattern."""
        give_up = time.monotonic() + within_s
        while (found := re.compile(pattern).search(self.output(), after)) is None:
            if not self.running:
                raise AssertionError(f"{self.name} has ended:\n{self.tail()}")
            if time.monotonic() > give_up:
                raise AssertionError(f"{self.name} did not say {pattern!r} within {within_s} s:\n{self.tail()}")
            await asyncio.sleep(0.02)
        return found

    def tail(self) -> str:
        """The end of its output."""
        return self.output()[-4000:]


class ServerProcess(Process):
    """`tenure serve` on a store in a directory; started again it listens on the same port."""

    def __init__(self, directory: Path, *, more: Sequence[str] = (), env: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.store_url = f"sqlite://{self.data}"
        self.home = directory / "home"
        self.env = environment(self.home, env)
        self.address = f"127.0.0.1:{own_port()}"
        super().__init__(
            "server", directory, ["serve", "--store", self.store_url, "--listen", self.address, *more], self.env
        )

    async def up(self) -> None:
        """Start it and wait until it says that it listens."""
        after = len(self.output())
        self.start()
        found = await self.says(LISTENING, after=after)
        assert found[1] == self.address, found[0]

    @property
    def token_file(self) -> Path:
        """The file with the local administrator's token."""
        return self.data / "admin.token"

    def admin_token(self) -> str:
        """The local administrator's token."""
        return self.token_file.read_text().strip()


class WorkerProcess(Process):
    """`tenure worker`."""

    def __init__(
        self,
        worker_id: str,
        directory: Path,
        server: ServerProcess,
        *,
        queue: str = "default",
        slots: int = 1,
        env: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
        server_address: str | None = None,
    ) -> None:
        self.id = worker_id
        self.work_dir = directory / f"work-{worker_id}"
        arguments = [
            *("worker", "--server", server_address or server.address, "--token-file", str(server.token_file)),
            *("--queue", queue, "--slots", str(slots), "--work-dir", str(self.work_dir), "--worker-id", worker_id),
            *more,
        ]
        super().__init__(f"worker-{worker_id}", directory, arguments, environment(directory / f"home-{worker_id}", env))
