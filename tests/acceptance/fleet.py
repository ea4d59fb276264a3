"""A real server, a real object store and real workers, and what the scenarios need of them.

The server is shared by the tests of a process, so each test has a queue, a folder and a prefix of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config

from tenure.v1 import job_pb2
from tests.acceptance.callers import Caller, duration, outcome_of, state_of, type_of
from tests.acceptance.faulty_store import FaultyStore
from tests.acceptance.processes import ServerProcess, WorkerProcess
from tests.acceptance.waiting import eventually
from tests.servers.seaweedfs import SeaweedFS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

BUCKET = "acceptance"
WITHIN_S = 60.0


class Fleet:
    """Everything real. `queue` names the queue and the prefix of this test; `faulty` lies between workers and store."""

    def __init__(
        self, name: str, directory: Path, server: ServerProcess, store: SeaweedFS, faulty: FaultyStore
    ) -> None:
        self.queue = name
        self.directory = directory
        self.server = server
        self.store = store
        self.faulty = faulty
        self.caller = Caller(server.address, server.admin_token())
        self._workers: list[WorkerProcess] = []
        self._s3: S3Client = client(store)

    async def close(self) -> None:
        """End what this test started; the server stays."""
        for worker in self._workers:
            worker.close()
        await self.caller.close()

    # --- workers ------------------------------------------------------------------------------------------------------

    async def worker(
        self,
        name: str,
        *,
        slots: int = 1,
        faulty: FaultyStore | None = None,
        server_address: str | None = None,
        wait: bool = True,
        more: Sequence[str] = (),
    ) -> WorkerProcess:
        """A worker on this test's queue, connected unless told otherwise."""
        environment = self.store.environment() | {"AWS_ENDPOINT_URL_S3": (faulty or self.faulty).endpoint_url}
        worker = WorkerProcess(
            f"{self.queue}-{name}",
            self.directory,
            self.server,
            queue=self.queue,
            slots=slots,
            env=environment,
            more=more,
            server_address=server_address,
        )
        self._workers.append(worker)
        worker.start()
        if wait:
            await worker.says(r"tenure: worker \S+ connected")
        return worker

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def job(
        self,
        program: str,
        *arguments: str,
        heartbeat_s: float = 1,
        max_wait_s: float | None = None,
        before: Sequence[tuple[str, str]] = (),
        during: Sequence[tuple[str, str]] = (),
        after: Sequence[tuple[str, str]] = (),
        environment: Mapping[str, str] | None = None,
    ) -> job_pb2.JobSpecification:
        """A Python program with sync rules: (folder below this test's prefix, folder of the job).

        With `max_wait_s` a file that is written all the time is uploaded that often.
        """
        specification = job_pb2.JobSpecification(
            queue=self.queue,
            command=sys.executable,
            arguments=["-c", program, *arguments],
            heartbeat_interval=duration(heartbeat_s),
            environment=environment or {},
        )
        for rules, added in (
            (before, specification.sync.before),
            (during, specification.sync.during),
            (after, specification.sync.after),
        ):
            for folder, local_path in rules:
                added.add(bucket=BUCKET, prefix=f"{self.queue}/{folder}/", local_path=local_path)
        if max_wait_s is not None:
            for rule in specification.sync.during:
                rule.max_wait.CopyFrom(duration(max_wait_s))
        return specification

    async def create(self, specification: job_pb2.JobSpecification) -> str:
        """Submit a job."""
        return await self.caller.create(specification)

    async def state(self, job_id: str) -> str:
        """Its state."""
        return state_of(await self.caller.job(job_id))

    async def until_state(self, job_id: str, state: str, *, within_s: float = WITHIN_S) -> job_pb2.Job:
        """The job, once it is in that state."""

        async def reached() -> job_pb2.Job | None:
            job = await self.caller.job(job_id)
            return job if state_of(job) == state else None

        return await self.eventually(reached, f"{job_id} to be {state}", within_s)

    async def until_attempt(self, job_id: str, number: int, *, within_s: float = WITHIN_S) -> job_pb2.Job:
        """The job, once that attempt runs."""

        async def reached() -> job_pb2.Job | None:
            job = await self.caller.job(job_id)
            return job if job.status.attempt == number and state_of(job) == "RUNNING" else None

        return await self.eventually(reached, f"attempt {number} of {job_id} to run", within_s)

    async def until_completed(self, job_id: str, *, within_s: float = WITHIN_S) -> job_pb2.Job:
        """The job, once it has ended; AssertionError when not by success."""

        async def ended() -> job_pb2.Job | None:
            job = await self.caller.job(job_id)
            return job if outcome_of(job) != "UNSPECIFIED" else None

        job = await self.eventually(ended, f"the end of {job_id}", within_s)
        assert outcome_of(job) == "COMPLETED", f"{job}\n{self.outputs()}"
        return job

    async def until_event(self, job_id: str, kind: str, *, within_s: float = WITHIN_S) -> None:
        """Wait for an event of that type."""

        async def there() -> bool:
            return kind in [type_of(event) for event in await self.caller.events(job_id)]

        await self.eventually(there, f"{kind} of {job_id}", within_s)

    async def eventually(self, look: Callable[[], Awaitable[T | None]], what: str, within_s: float = WITHIN_S) -> T:
        """`waiting.eventually`, and on failure what the processes wrote last."""
        try:
            found = await eventually(look, what, within_s=within_s)
            assert found is not None
            return found
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.outputs()}") from None

    def outputs(self) -> str:
        """What the processes wrote last."""
        return "\n".join(f"--- {one.name}\n{one.tail()}" for one in (*self._workers, self.server))

    # --- objects ------------------------------------------------------------------------------------------------------

    async def put(self, key: str, data: bytes) -> None:
        """Store an object below this test's prefix."""
        await asyncio.to_thread(self._s3.put_object, Bucket=BUCKET, Key=f"{self.queue}/{key}", Body=data)

    async def get(self, key: str) -> bytes | None:
        """The bytes of an object below this test's prefix; None: there is none."""

        def read() -> bytes | None:
            try:
                return self._s3.get_object(Bucket=BUCKET, Key=f"{self.queue}/{key}")["Body"].read()
            except self._s3.exceptions.NoSuchKey:
                return None

        return await asyncio.to_thread(read)

    async def encoding(self, key: str) -> str:
        """The Content-Encoding of an object."""
        head = await asyncio.to_thread(self._s3.head_object, Bucket=BUCKET, Key=f"{self.queue}/{key}")
        return str(head.get("ContentEncoding", ""))

    async def keys(self, folder: str) -> set[str]:
        """The objects below a folder of this test's prefix, without it."""
        prefix = f"{self.queue}/{folder}/"

        def read() -> set[str]:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            return {item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", ())}

        return await asyncio.to_thread(read)

    async def until_object(self, key: str, part: bytes, *, within_s: float = WITHIN_S) -> bytes:
        """The bytes of an object, once they have that part."""

        async def there() -> bytes | None:
            data = await self.get(key)
            return data if data is not None and part in data else None

        return await self.eventually(there, f"{part!r} in {key}", within_s)

    async def json(self, key: str) -> Any:
        """The JSON in an object, or None."""
        data = await self.get(key)
        return None if data is None else json.loads(data)

    async def until_file(self, path: Path, *, within_s: float = WITHIN_S) -> str:
        """The text of a file of this machine, once it is there and not empty."""

        async def there() -> str | None:
            return _text(path)

        return await self.eventually(there, f"the file {path.name}", within_s)


def _text(path: Path) -> str | None:
    return (path.read_text() or None) if path.exists() else None


def client(store: SeaweedFS) -> S3Client:
    """A client of the store itself."""
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5, "mode": "standard"}),
    )
