"""A user who follows the output of jobs, and a worker who ships it, both by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tenure.v1 import worker_service_pb2 as pb
from tests.acceptance.callers import Caller
from tests.acceptance.scripted_worker import ScriptedWorker
from tests.acceptance.specifications import simple
from tests.acceptance.world import World, open_world
from tests.controlplane.shippers import Reader, Shipper, told

Assigned = tuple[str, pb.Assignment]


class Scene:
    """A world with a user and a worker, and what they do with output."""

    def __init__(self, world: World, user: Caller, worker: ScriptedWorker) -> None:
        self.world = world
        self.user = user
        self.worker = worker
        self._open: list[Shipper | Reader] = []

    async def run(self, worker: ScriptedWorker | None = None, **more: Any) -> Assigned:
        """A job whose command runs: its id and its assignment."""
        job_id = await self.user.create(simple(**more))
        return job_id, await (worker or self.worker).run()

    def follow(self, job_id: str, caller: Caller | None = None, **more: Any) -> Reader:
        self._open.append(reader := Reader(caller or self.user, job_id, **more))
        return reader

    async def ship(self, lease_id: str, subject: str = "machine-w") -> Shipper:
        token = await self.world.server.token(role="worker", subject=subject)
        self._open.append(shipper := Shipper(self.world, token, lease_id))
        return shipper

    async def shipping(self, lease_id: str, times: int = 1) -> tuple[Shipper, int]:
        """The call that a worker opens once it was asked so often, and where it is to begin."""
        await told(self.worker, times)
        shipper = await self.ship(lease_id)
        offset = await shipper.begin()
        assert offset is not None
        return shipper, offset

    async def report(self, assignment: pb.Assignment, tail: bytes = b"", offset: int = 0, **outcome: Any) -> None:
        """Report the end of an attempt with the last of its output; returns when it is acknowledged."""
        item = pb.Report.Item(lease_id=assignment.lease_id, output_tail=tail, output_offset=offset, **outcome)
        start = len(self.worker.heard)
        await self.worker.say(pb.ConnectRequest(report=pb.Report(items=[item])))
        await self.worker.until(
            lambda: next((m for m in self.worker.heard[start:] if m.HasField("report_ack")), None), "its answer"
        )
        self.worker.held.pop(assignment.lease_id, None)

    async def close(self) -> None:
        for one in self._open:
            await one.close()


@asynccontextmanager
async def open_scene() -> AsyncIterator[Scene]:
    """A scene with a user and the worker `w`, on the memory store."""
    async with open_world("memory:") as world:
        made = Scene(world, await world.user(), await world.worker("w"))
        yield made
        await made.close()


async def everything(call: Any) -> list[Any]:
    """All messages of a call."""
    return [one async for one in call]
