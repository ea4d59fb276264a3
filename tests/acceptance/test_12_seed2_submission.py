"""Scenario 12: the second seed's job is created."""

from __future__ import annotations

from tenure.v1 import job_pb2
from tests.acceptance.callers import state_of
from tests.acceptance.seed2_story import OWNER, QUEUE
from tests.acceptance.specifications import seed2, seed2_document
from tests.acceptance.world import World

JOB = "f8952c89-2f81-4c57-926f-e7f5861e6a8e"


async def test_scenario_12_submission(world2024: World) -> None:
    world = world2024
    user = await world.user(OWNER)
    # The container group's queue is made by this job; the job's id is drawn before that of the queue's event.
    world.ids.then(JOB)
    assert await user.create(seed2()) == JOB

    job = await user.job(JOB)
    document = seed2_document()
    assert job.id == document["id"] == JOB
    assert job.owner.created_by == document["user_id"] == OWNER
    assert state_of(job) == "IN_QUEUE"
    assert job.created_at.ToJsonString() == "2024-10-20T14:08:33Z"
    assert job.status.num_failures == document["num_failures"] == 0
    assert job.status.num_heartbeats == document["num_heartbeats"] == 0
    assert not job.status.HasField("last_heartbeat_at")
    assert document["machine_id"] is None
    assert job.status.machine_id == ""
    assert job.status.attempt == 0
    assert list(job.attempts) == []

    specification = job.specification
    assert specification.queue == document["container_group_id"] == QUEUE
    assert specification.command == "python"
    assert list(specification.arguments) == ["/app/main.py"]
    assert dict(specification.environment) == {"STATE_SAVING_INTERVAL": "60.0", "STEP_RUNNING_TIME": "10.0"}
    assert specification.max_failures == document["max_failures"] == 3
    assert specification.heartbeat_interval.seconds == document["heartbeat_interval"] == 30
    assert specification.compression is False
    _assert_rules(specification.sync, document["sync"])


def _assert_rules(sync: job_pb2.Sync, document: object) -> None:
    assert isinstance(document, dict)
    for phase, count in (("before", 2), ("during", 1), ("after", 1)):
        rules = getattr(sync, phase)
        assert len(rules) == len(document[phase]) == count
        for rule, printed in zip(rules, document[phase], strict=True):
            # They were sent without their last slash.
            assert rule.prefix == printed["prefix"]
            assert rule.prefix.endswith("/")
            assert rule.bucket == printed["bucket"] == "transcripts"
            assert rule.local_path == printed["local_path"]
            assert job_pb2.SyncDirection.Name(rule.direction) == f"SYNC_DIRECTION_{printed['direction'].upper()}"


async def test_scenario_12_a_queue_is_made_by_use(world2024: World) -> None:
    world = world2024
    user, admin = await world.user(OWNER), await world.admin()
    job_id = await user.create(seed2())
    assert (await user.job(job_id)).specification.queue == QUEUE
    streams = {event.stream for event in await admin.events(types=["QueueConfigured"])}
    assert f"queue/{QUEUE}" in streams


async def test_scenario_12_only_a_worker_with_the_root_gets_it(world2024: World) -> None:
    world = world2024
    user = await world.user(OWNER)
    bare = await world.worker("bare", queues=[QUEUE])
    job_id = await user.create(seed2())
    await world.let_pass(5)
    await bare.round_trip()
    assert bare.assigned == []
    fitting = await world.worker("fitting", queues=[QUEUE], allowed_roots=["/app"])
    assignment = await fitting.assignment()
    assert assignment.job_id == job_id
    assert assignment.specification.sync.before[0].prefix == "demoapp1/job0/input/"
