"""Real workers of several users, a place outside of everything, and what is to be found there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tenure.agent.sync import removal
from tenure.v1 import job_pb2
from tests.acceptance.callers import duration, outcome_of
from tests.acceptance.faulty_store import faulty_store
from tests.acceptance.fleet import BUCKET, Fleet, client
from tests.acceptance.processes import ServerProcess, WorkerProcess
from tests.hostile import agent_jobs
from tests.hostile.agent_jobs import Hostile
from tests.proof.sizes import FULL
from tests.servers.seaweedfs import SeaweedFS

NOBODY = 65534
CANARY = b"canary-5b1f0c7e: no job may see this stored"
WITHIN_S = 900.0 if FULL else 100.0
GONE_S = 20.0
# Many are waited for at once, and each look costs the server a call.
LOOKS_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Kind:
    """As whom a worker runs. `wrapped`: before its command line."""

    name: str
    uid: int
    wrapped: Sequence[str] = ()


def kinds() -> list[Kind]:
    """Both kinds, where we are root and may be others; else as whoever we are."""
    if os.geteuid() != 0:
        return [Kind(name="user", uid=os.geteuid())]
    found = [Kind(name="root", uid=0)]
    if shutil.which("setpriv"):
        # It may read everything, because the interpreter may lie in root's home; it may write nothing of others.
        become = [
            *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs"),
            *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
        ]
        probe = "import subprocess, sys, tenure; subprocess.run([sys.executable, '-c', ''], check=True)"
        if subprocess.run([*become, sys.executable, "-c", probe], capture_output=True, timeout=30).returncode == 0:
            found.append(Kind(name="nobody", uid=NOBODY, wrapped=become))
    return found


class KindOfWorker(WorkerProcess):
    """A worker that runs as somebody else, with a token file and folders of its own."""

    def __init__(
        self, name: str, kind: Kind, directory: Path, server: ServerProcess, store: SeaweedFS, *, slots: int
    ) -> None:
        home = directory / f"home-{name}"
        home.mkdir()
        (home / "token").write_text(server.admin_token())
        environment = store.environment() | {"TENURE_SECRET_OF_THE_AGENT": "not for jobs"}
        super().__init__(name, directory, server, queue=name, slots=slots, env=environment)
        self.work_dir.mkdir(exist_ok=True)
        for path in (home, home / "token", self.work_dir):
            os.chown(path, kind.uid, -1)
        position = self._arguments.index("--token-file") + 1
        self._arguments[position] = str(home / "token")
        self._arguments = [*kind.wrapped, *self._arguments]


@dataclass(kw_only=True)
class Scene:
    """A server, a store, and a place outside of everything."""

    directory: Path
    fleet: Fleet
    store: SeaweedFS
    workers: list[KindOfWorker] = field(default_factory=list)

    async def worker(self, name: str, kind: Kind, *, slots: int = 1) -> KindOfWorker:
        """A worker of a queue that has its name."""
        worker = KindOfWorker(name, kind, self.directory, self.fleet.server, self.store, slots=slots)
        self.workers.append(worker)
        worker.start()
        await worker.says(r"tenure: worker \S+ connected")
        return worker

    def marks(self, name: str) -> Path:
        """The folder of one job, where anybody may write; its path is on the command line of all its processes."""
        folder = self.directory / f"marks-{name}"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        return folder

    async def submit(self, worker: KindOfWorker, hostile: Hostile, *, heartbeat_s: float = 5) -> str:
        """Create a job for a worker; its id."""
        name = f"{worker.id}-{hostile.name}"
        specification = self.fleet.job(
            agent_jobs.PRELUDE + hostile.program,
            str(self.marks(name)),
            str(hostile.amount),
            heartbeat_s=heartbeat_s,
            during=[(name, "out")] if hostile.during else [],
            after=[(name, "out")] if hostile.after else [],
        )
        specification.queue = worker.id
        specification.max_failures = 1
        specification.time_allocation.CopyFrom(duration(3600))
        specification.termination_grace_period.CopyFrom(duration(1))
        return await self.fleet.create(specification)

    async def is_there(self, path: Path) -> None:
        """Wait until a job has made a file."""

        async def there() -> bool:
            return path.exists()

        await self.fleet.eventually(there, str(path), WITHIN_S)

    async def end_of(self, job_id: str) -> job_pb2.Job:
        """The job, once it is final."""

        async def final() -> job_pb2.Job | None:
            job = await self.fleet.caller.job(job_id)
            if outcome_of(job) != "UNSPECIFIED":
                return job
            await asyncio.sleep(LOOKS_EVERY_S)
            return None

        return await self.fleet.eventually(final, f"the end of {job_id}", WITHIN_S)


@asynccontextmanager
async def scene(store: SeaweedFS) -> AsyncIterator[Scene]:
    """Everything real, in a folder that other users may enter."""
    directory = Path(tempfile.mkdtemp(prefix="tenure-hostile-"))
    directory.chmod(0o755)
    store.create_bucket(BUCKET)
    server = ServerProcess(directory)
    try:
        await server.up()
        with faulty_store(store.endpoint_url) as faulty:
            opened = Scene(directory=directory, fleet=Fleet("hostile", directory, server, store, faulty), store=store)
            try:
                yield opened
            finally:
                for worker in opened.workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGCONT)
                    worker.close()
                await opened.fleet.close()
    finally:
        server.close()
        for pid in processes_of(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(removal.remove, directory)


def processes_of(marks: Path) -> list[int]:
    """Live processes whose command line has that path: jobs and whatever they forked."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if (
                    bytes(marks) + b"/marks-" in Path("/proc", entry, "cmdline").read_bytes()
                    or bytes(marks) + b"\0" in Path("/proc", entry, "cmdline").read_bytes()
                ):
                    found.append(int(entry))
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Everything in a folder: mode, owner, time of change, and content."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def make_outside(directory: Path, kind: Kind) -> Path:
    """A folder that the worker's user could change, with what nobody may store."""
    outside = directory / "outside"
    (outside / "work" / "out").mkdir(parents=True)
    (outside / "out").mkdir()
    for path in (outside / "canary", outside / "out" / "canary", outside / "work" / "out" / "canary"):
        path.write_bytes(CANARY)
    for path in [outside, *outside.rglob("*")]:
        os.chown(path, kind.uid, -1)
    return outside


async def stored(scene: Scene) -> dict[str, bytes]:
    """Every object of this test that is large enough to hold the canary, with its bytes."""
    s3 = client(scene.store)

    def read() -> dict[str, bytes]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="hostile/")
        found = [item for page in pages for item in page.get("Contents", ())]
        keys = [item["Key"] for item in found if item["Size"] >= len(CANARY)]
        return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    return await asyncio.to_thread(read)
