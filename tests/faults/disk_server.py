"""A real server whose data directory is a file system that a proof breaks; and what is left on it afterwards."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tenure.store import codec
from tenure.store.export import source_of
from tenure.store.sqlite_schema import rows
from tests.acceptance.processes import TENURE, ServerProcess

UNSAFE = Path(__file__).with_name("unsafe_server.py")


class DiskServer(ServerProcess):
    """`tenure serve` on `directory/data`, where the file system is mounted.

    `change` is one of those that `unsafe_server` knows; `before` goes in front of the command, as `strace …` does.
    """

    def __init__(
        self,
        directory: Path,
        *,
        change: str = "",
        before: Sequence[str] = (),
        more: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, more=["--log-level", "warning", *more], env=env)
        self._rest = self._arguments[len(TENURE) :]
        self.run_as(change=change, before=before)

    def run_as(self, *, change: str = "", before: Sequence[str] = ()) -> None:
        """How it is to be started from now on."""
        command = [sys.executable, str(UNSAFE), change] if change else list(TENURE)
        self._arguments = [*before, *command, *self._rest]


def jobs_in(directory: Path) -> set[str]:
    """The ids of all jobs in the log of a data directory that no server has open."""
    with source_of(directory) as (connection, _):
        found = rows(connection, "SELECT position, data FROM events WHERE version = 1")
    names = (codec.stream_named(data, position) for position, data in found)
    return {name.removeprefix("job/") for name in names if name.startswith("job/")}


def requests_in(directory: Path) -> dict[str, list[str]]:
    """The jobs that each request id has made, by the log of a data directory that no server has open."""
    made: dict[str, list[str]] = {}
    with source_of(directory) as (connection, _):
        found = rows(connection, "SELECT position, time_us, data FROM events WHERE version = 1 ORDER BY position")
    for position, time_us, data in found:
        stream = codec.stream_named(data, position)
        event = codec.decode(data, position=position, stream=stream, version=1, time_us=time_us)
        if event.request_id and stream.startswith("job/"):
            made.setdefault(event.request_id, []).append(stream.removeprefix("job/"))
    return made
