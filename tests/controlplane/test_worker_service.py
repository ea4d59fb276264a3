from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.controlplane.fleet import HELD, FakeWorker, Plane, succeeded


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    async with Plane() as one:
        yield one


async def test_a_whole_life(plane: Plane) -> None:
    worker = FakeWorker(plane, "a")
    await worker.connect()
    [job_id] = await plane.create()
    await plane.settle()
    [assignment] = worker.assignments
    assert assignment.job_id == job_id
    assert [item.state for item in await worker.accept(assignment.lease_id)] == [HELD]
    [ack] = await worker.start(assignment.lease_id)
    assert ack.state == HELD
    [ack] = await worker.report(succeeded(assignment.lease_id))
    assert ack.state == HELD
    assert await plane.types(job_id) == ["JobCreated", "JobAssigned", "JobStarted", "JobTerminated"]
