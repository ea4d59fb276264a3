"""A store with a handler and watches of it, for tests of watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tenure.controlplane.handler import Handler, Step
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.tokens import Identity
from tenure.controlplane.watch import Watches
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.store.store import Store
from tenure.v1 import job_pb2, job_service_pb2
from tests.fakes import FakeClock, SequenceIds

ALICE = Identity(principal="user:alice", role="user", subject="alice")
BOB = Identity(principal="user:bob", role="user", subject="bob")
Request = job_service_pb2.WatchJobsRequest
Response = job_service_pb2.WatchJobsResponse


class Bench:
    """A store with a handler, and watches of it."""

    def __init__(self, store: Store, mark_seconds: float = 60.0) -> None:
        self.store = store
        self.clock = FakeClock()
        self.handler = Handler(store, self.clock, SequenceIds())
        self.resume = ResumeTokens(store, b"k" * 32)
        self.watches = Watches(store, self.resume, mark_seconds)

    async def job(self, owner: str = "alice") -> str:
        event = e.JobCreated(
            specification=job_pb2.JobSpecification(command="true").SerializeToString(),
            specification_digest=b"",
            allow_duplicate=True,
            created_by=owner,
            project="",
            queue="default",
            priority=0,
            terms=e.Terms(time_allocation_us=3_600_000_000, basis=e.Basis.CREATED),
            command="true",
            arguments=(),
        )
        executed = await self.handler.create([event], actor=f"user:{owner}")
        job = executed.jobs[0]
        assert isinstance(job, Job)
        return job.id

    async def do(self, job_id: str, command: c.Command) -> None:
        await self.handler.execute([Step(job_id=job_id, command=command)], actor="user:alice", partial=True)


async def take(stream: AsyncIterator[Response], count: int) -> list[Response]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(count)]


def kinds(responses: list[Response]) -> list[str | None]:
    return [response.WhichOneof("message") for response in responses]
