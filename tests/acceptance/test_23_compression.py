"""Scenario 23, the server's side: the wish to compress reaches the worker, where the queue supports it."""

from __future__ import annotations

from tenure.v1 import queue_service_pb2
from tests.acceptance.callers import refusal
from tests.acceptance.specifications import simple
from tests.acceptance.world import World


async def test_scenario_23_the_worker_is_told(world: World) -> None:
    user = await world.user("user")
    worker = await world.worker("w", slots=2)
    await user.create(simple(hours=1, compression=True))
    assert (await worker.assignment()).specification.compression is True
    await user.create(simple(hours=1))
    assert (await worker.assignment()).specification.compression is False


async def test_scenario_23_a_queue_without_compression(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    await admin.upsert_queue(
        queue_service_pb2.QueueSpecification(
            name="plain", features=queue_service_pb2.QueueFeatures(time_extension=True, sync=True)
        )
    )
    refused = await refusal(user.create(simple(hours=1, queue="plain", compression=True)))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "FEATURE_UNSUPPORTED")
    assert refused.fields == ("items[0].specification.compression",)
