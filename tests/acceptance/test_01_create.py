"""Scenario 1: the first seed's job is created."""

from __future__ import annotations

from tenure.v1 import job_service_pb2
from tests.acceptance.callers import millis, outcome_of, state_of, updates_of
from tests.acceptance.specifications import seed1
from tests.acceptance.stories import WAITING
from tests.acceptance.world import T0_MS, World


async def test_scenario_01_create(world: World) -> None:
    user = await world.user("user")
    world.ids.then("62348")
    response = await user.create_many([seed1()])
    assert [item.id for item in response.responses] == ["62348"]
    assert response.resume_token

    job = await user.job("62348")
    assert job.id == "62348"
    assert job.provider_generated_id == "62348"
    assert state_of(job) == "IN_QUEUE"
    assert outcome_of(job) == "UNSPECIFIED"
    assert millis(job.created_at) == T0_MS
    assert updates_of(job) == [(T0_MS, "IN_QUEUE", WAITING)]
    assert job.owner.created_by == "user"
    assert job.owner.project == ""
    assert job.specification.time_allocation.seconds == 18_000
    assert (job.specification.application.name, job.specification.application.version) == (
        "acme-web-application",
        "1.0.0",
    )
    assert job.specification.replicas == 1
    assert not job.status.HasField("started_at")
    assert job.status.attempt == 0
    assert job.status.machine_id == ""

    admin = await world.admin()
    (event,) = await admin.events("62348")
    assert event.stream == "job/62348"
    assert event.stream_version == 1
    assert event.actor == "user:user"
    assert millis(event.time) == T0_MS


async def test_scenario_01_validate_only_creates_nothing(world: World) -> None:
    user = await world.user("user")
    admin = await world.admin()
    before = await admin.position()
    request = job_service_pb2.CreateJobsRequest(
        items=[job_service_pb2.CreateJobsRequest.Item(specification=seed1())], validate_only=True
    )
    response = await user.jobs.CreateJobs(request, metadata=user.metadata)
    assert [item.id for item in response.responses] == [""]
    assert await admin.position() == before
