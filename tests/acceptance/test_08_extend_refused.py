"""Scenario 8: when an extension is refused, and why."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from tenure.v1 import job_pb2, queue_service_pb2
from tests.acceptance.callers import Extension, duration, millis, refusal
from tests.acceptance.specifications import HOUR_S, seed1, simple
from tests.acceptance.stories import EXPIRES_MS, running
from tests.acceptance.world import T0_MS, World


async def test_scenario_08_final(world: World) -> None:
    user = await world.user("user")
    job_id = await user.create(seed1())
    await user.terminate(job_id)
    refused = await refusal(user.extend(job_id, HOUR_S))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "JOB_FINAL")


async def test_scenario_08_product_without_extension(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    product = job_pb2.ProductReference(id="fixed", category="fixed", provider="example")
    await admin.upsert_queue(
        queue_service_pb2.QueueSpecification(
            name="fixed",
            products=[queue_service_pb2.QueueProduct(product=product, time_extension=False)],
        )
    )
    specification = simple(hours=1, product=product)
    job_id = await user.create(specification)
    refused = await refusal(user.extend(job_id, HOUR_S))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "EXTENSION_UNSUPPORTED")


async def test_scenario_08_queue_without_extension(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    await admin.upsert_queue(
        queue_service_pb2.QueueSpecification(
            name="rigid", features=queue_service_pb2.QueueFeatures(time_extension=False, sync=True)
        )
    )
    job_id = await user.create(simple(hours=1, queue="rigid"))
    refused = await refusal(user.extend(job_id, HOUR_S))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "EXTENSION_UNSUPPORTED")


async def test_scenario_08_no_allocation(world: World) -> None:
    user = await world.user("user")
    job_id = await user.create(simple())
    assert not (await user.job(job_id)).status.HasField("expires_at")
    refused = await refusal(user.extend(job_id, HOUR_S))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "NO_TIME_ALLOCATION")


async def test_scenario_08_over_the_cap(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    await admin.upsert_queue(
        queue_service_pb2.QueueSpecification(
            name="capped",
            max_time_allocation=duration(2 * HOUR_S),
            basis=job_pb2.TIME_ALLOCATION_BASIS_CREATED,
        )
    )
    job_id = await user.create(simple(hours=1, queue="capped"))
    refused = await refusal(user.extend(job_id, HOUR_S + 1))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "EXTENSION_CAP")
    assert refused.metadata["remaining_seconds"] == "3600"
    assert await user.extend(job_id, HOUR_S) == T0_MS + 2 * HOUR_S * 1000
    refused = await refusal(user.extend(job_id, 1))
    assert refused.reason == "EXTENSION_CAP"
    assert refused.metadata["remaining_seconds"] == "0"


@pytest.mark.parametrize(
    "requested",
    [
        Duration(),
        Duration(seconds=-1),
        Duration(nanos=-1),
        Duration(seconds=1, nanos=-1),
        Duration(seconds=2**62),
        Duration(seconds=315_576_000_001),
        Duration(seconds=315_576_000_000),
        Duration(seconds=1, nanos=2_000_000_000),
    ],
    ids=["zero", "negative", "negative nanos", "mixed signs", "2^62 s", "over the type", "10,000 years", "nanos"],
)
async def test_scenario_08_bad_spans(memory_world: World, requested: Duration) -> None:
    world = memory_world
    story = await running(world)
    admin = await world.admin()
    before = await admin.position()
    refused = await refusal(story.user.extend_many([Extension(job_id=story.job_id, requested_time=requested)]))
    assert refused.code == "INVALID_ARGUMENT"
    assert refused.reason == "INVALID_FIELD"
    assert refused.fields
    assert all(field.startswith("items[0].requested_time") for field in refused.fields), refused
    assert await admin.position() == before
    assert millis((await story.user.job(story.job_id)).status.expires_at) == EXPIRES_MS


async def test_scenario_08_thirty_seconds_stay_thirty_seconds(world: World) -> None:
    story = await running(world)
    assert await story.user.extend(story.job_id, 30) == EXPIRES_MS + 30_000
    admin = await world.admin()
    (event,) = await admin.events(story.job_id, types=["JobExtended"])
    assert event.job_extended.requested_time.ToMicroseconds() == 30_000_000


async def test_scenario_08_all_or_nothing(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    job_id, final = await user.create(seed1()), await user.create(simple(hours=1))
    await user.terminate(final)
    before = await admin.position()
    items = [Extension(job_id=each, requested_time=duration(HOUR_S)) for each in (job_id, final)]
    refused = await refusal(user.extend_many(items))
    assert refused.reason == "JOB_FINAL"
    assert await admin.position() == before
    assert millis((await user.job(job_id)).status.expires_at) == EXPIRES_MS


async def test_scenario_08_stopping(world: World) -> None:
    story = await running(world)
    await story.user.terminate(story.job_id, grace_s=10)
    refused = await refusal(story.user.extend(story.job_id, HOUR_S))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "JOB_STOPPING")
