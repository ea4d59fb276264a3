"""The agent's work directory: its lock, its id, and one private folder for each attempt.

    WORK_DIR/lock           held while an agent runs here: one agent a directory
    WORK_DIR/worker_id      made once, so that the worker is the same after a restart
    WORK_DIR/jobs/JOB-N/    of attempt N, made fresh, removed at its end; left-overs are removed at the next start
        work/               TENURE_JOB_DIR: working directory, base of relative sync paths
        home/ tmp/          HOME and TMPDIR
        spool/              the agent's own copies of files on their way
        deadline progress   TENURE_DEADLINE_FILE and TENURE_PROGRESS_FILE

Only the owner may look into any of it. What a job leaves in its folder is never trusted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Protocol

from tenure.agent.sync import removal
from tenure.agent.sync.offload import Offload
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.v1 import job_pb2

log = get_logger("workdir")

_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PROGRESS_BYTES = 4096
_MESSAGE_BYTES = 256


class WorkDirUnusable(Exception):
    """The work directory cannot be used; the text says why and what to do."""


class AttemptFolder(Protocol):
    """The private folder of one attempt; `job_dir` lies in it, and it lies in a folder that no job is given."""

    job_dir: Path
    home: Path
    tmp: Path
    spool: Path
    deadline_file: Path
    progress_file: Path

    def write_deadline(self, deadline_us: int | None) -> None:
        """Tell the command when its time ends: seconds since the epoch with microseconds; None: an empty file."""

    def progress(self) -> job_pb2.Progress | None:
        """What the command last said of its progress; None: nothing, or nothing that can be read."""

    async def remove(self) -> None:
        """Remove it with everything in it."""


class AttemptFolders(Protocol):
    """Makes the folders of attempts."""

    async def make(self, name: str) -> AttemptFolder:
        """A fresh folder, whatever was there before.

        Raises:
            OSError: it cannot be made (no space, no permission).
        """


class WorkDir:
    """A work directory that this process has locked."""

    def __init__(self, folder: Path, offload: Offload) -> None:
        """Lock it, making it when it is missing.

        Raises:
            WorkDirUnusable: another agent runs in it, or it cannot be written.
        """
        self.folder = folder.absolute()
        self.jobs = self.folder / "jobs"
        self._offload = offload
        try:
            self.jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WorkDirUnusable(
                f"the work directory {self.folder} cannot be used: {os.strerror(error.errno or 0)}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise WorkDirUnusable(
                f"another worker runs in {self.folder}: give each worker a --work-dir of its own"
            ) from None

    def worker_id(self, ids: Ids, chosen: str | None = None) -> str:
        """The worker's id: the chosen one, else the one kept here, else a new one that is kept from now on.

        Raises:
            WorkDirUnusable: the id is not of 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit.
        """
        file = self.folder / "worker_id"
        name = chosen
        if name is None:
            try:
                name = file.read_text(encoding="utf-8").strip()
            except FileNotFoundError:
                name = f"worker-{ids.new()}"
                draft = file.with_name("worker_id.new")
                with draft.open("w", encoding="utf-8") as kept:
                    kept.write(f"{name}\n")
                    kept.flush()
                    # Or the power fails, and an empty file keeps the worker from ever starting again.
                    os.fsync(kept.fileno())
                draft.replace(file)
        if _WORKER_ID.fullmatch(name) is None:
            source = "--worker-id" if chosen is not None else str(file)
            raise WorkDirUnusable(
                f"{source}: a worker id has 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit"
            )
        return name

    def remove_stale(self) -> int:
        """Remove the folders of attempts of an earlier agent; how many there were."""
        stale = list(self.jobs.iterdir())
        for folder in stale:
            _remove(folder)
        return len(stale)

    async def make(self, name: str) -> LocalAttemptFolder:
        """A fresh folder for an attempt.

        Raises:
            OSError: it cannot be made.
        """
        folder = LocalAttemptFolder(self.jobs / name, self._offload)
        await self._offload.run(folder.make)
        return folder

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)


class LocalAttemptFolder:
    """A private folder on a disk."""

    def __init__(self, folder: Path, offload: Offload) -> None:
        self._folder = folder
        self._offload = offload
        self.job_dir = folder / "work"
        self.home = folder / "home"
        self.tmp = folder / "tmp"
        self.spool = folder / "spool"
        self.deadline_file = folder / "deadline"
        self.progress_file = folder / "progress"

    def make(self) -> None:
        """Make it, after removing what was there.

        Raises:
            OSError: it cannot be made.
        """
        _remove(self._folder)
        for folder in (self._folder, self.job_dir, self.home, self.tmp, self.spool):
            folder.mkdir(mode=0o700)
        self.write_deadline(None)

    def write_deadline(self, deadline_us: int | None) -> None:
        """Replace the file in one step, so that the command never reads half of it."""
        text = "" if deadline_us is None else f"{deadline_us // 1_000_000}.{deadline_us % 1_000_000:06d}\n"
        with contextlib.suppress(OSError):  # a full disk must not end the attempt
            _replace(self._folder, self.deadline_file.name, text.encode())

    def progress(self) -> job_pb2.Progress | None:
        """Read `{"fraction": 0.4, "message": "…"}`; anything else is passed over."""
        try:
            return read_progress(_read_regular(self.progress_file))
        except OSError:
            return None

    async def remove(self) -> None:
        """Remove it with everything in it."""
        await self._offload.run(_remove, self._folder)


def read_progress(data: bytes) -> job_pb2.Progress | None:
    """A progress message from JSON; None: it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    fraction, message = value.get("fraction"), value.get("message", "")
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not isinstance(message, str):
        return None
    if not 0 <= fraction <= 1 or not math.isfinite(fraction):
        return None
    text = message.encode("utf-8", "replace")[:_MESSAGE_BYTES].decode("utf-8", "ignore")
    return job_pb2.Progress(fraction=fraction, message=text)


def _read_regular(path: Path) -> bytes:
    """The start of a file that the job made: never through a link, never waiting on a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _PROGRESS_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def _replace(folder: Path, name: str, data: bytes) -> None:
    """Give a file new content in one step; what the job has put in the folder is never opened, nor waited for."""
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        draft = f"{name}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o644, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:
            os.unlink(draft, dir_fd=parent)
            raise
    finally:
        os.close(parent)


def _remove(path: Path) -> None:
    if not removal.remove(path):
        log.warning("folder_left", path=str(path))
