"""The processes that are measured: `tenure serve` as anybody starts it, a bare gRPC server, beanstalkd.

Each is ended by its id when its block is left. A server says on one line where it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_READY_S = 60.0
_END_S = 20.0
_LISTENING = re.compile(rb"listening on (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server: its process, its address, and the token to call it with."""

    pid: int
    address: str
    token: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return (("authorization", f"Bearer {self.token}"),)


@contextlib.asynccontextmanager
async def tenure(directory: Path) -> AsyncIterator[Server]:
    """`tenure serve` on SQLite in a new data directory below `directory`, everything as it comes."""
    data = directory / "data"
    arguments = ["-m", "tenure", "serve", "--store", f"sqlite://{data}", "--listen", "127.0.0.1:0"]
    async with _started([sys.executable, *arguments], directory) as process:
        address = await _address(process, directory)
        token = (data / "admin.token").read_text().strip()
        yield Server(pid=process.pid, address=address, token=token)


@contextlib.asynccontextmanager
async def bare(directory: Path) -> AsyncIterator[Server]:
    """The bare gRPC server of `noop_server`."""
    async with _started([sys.executable, "-m", "benchmarks.rig.noop_server"], directory) as process:
        address = await _address(process, directory)
        # A token of the usual length, that nobody looks at.
        yield Server(pid=process.pid, address=address, token="tnr_" + 43 * "x")


def beanstalkd_path() -> str | None:
    """Where beanstalkd is installed; None: it is not."""
    return shutil.which("beanstalkd")


@contextlib.asynccontextmanager
async def beanstalkd(directory: Path) -> AsyncIterator[Server]:
    """`beanstalkd -f0`: every job is in its log, with an fsync for each write."""
    path = beanstalkd_path()
    assert path is not None
    port = _free_port()
    log = directory / "beanstalkd"
    log.mkdir(parents=True)
    arguments = [path, "-l", "127.0.0.1", "-p", str(port), "-b", str(log), "-f", "0"]
    async with _started(arguments, directory) as process:
        await _connectable(port)
        yield Server(pid=process.pid, address=f"127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def _started(arguments: Sequence[str], directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    os.makedirs(directory, exist_ok=True)
    # The state folder is ours: no server that somebody runs on this machine is to be shadowed.
    environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state"), "PYTHONUNBUFFERED": "1"}
    with (directory / "stderr.log").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env=environment,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_END_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _address(process: asyncio.subprocess.Process, directory: Path) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(_READY_S):
        while line := await process.stdout.readline():
            if found := _LISTENING.search(line):
                return found.group(1).decode()
    message = f"the server ended before it listened:\n{(directory / 'stderr.log').read_text()[-2000:]}"
    raise RuntimeError(message)


async def _connectable(port: int) -> None:
    async with asyncio.timeout(_READY_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
