"""Following a job's output over the wire: who may, what there is now, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tenure.controlplane import following
from tenure.v1 import job_pb2, queue_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tenure.v1.job_service_pb2 import FollowLogsRequest, RetrieveJobRequest
from tests.acceptance.callers import refusal
from tests.acceptance.specifications import simple
from tests.controlplane.output_scene import Scene, everything, open_scene
from tests.controlplane.shippers import asked, told


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with open_scene() as made:
        yield made


async def test_an_attempt_is_waited_for(scene: Scene) -> None:
    queue = "later"
    job_id = await scene.user.create(simple(queue=queue))
    reader, second = scene.follow(job_id), scene.follow(job_id, attempt=2)
    scene.worker = await scene.world.worker("x", queues=[queue])
    assignment = await scene.worker.run()
    await told(scene.worker)
    shipper = await scene.ship(assignment.lease_id, "machine-x")
    await shipper.begin()
    await shipper.send(0, b"first", end=True)
    assert (await reader.end()).attempt == 1
    await scene.report(assignment, b"first", released=pb.Released(reason="drain"))
    again = await scene.worker.run()
    await told(scene.worker, 2)
    shipper = await scene.ship(again.lease_id, "machine-x")
    await shipper.begin()
    await shipper.send(0, b"second", end=True)
    assert (await second.end()).attempt == 2
    assert (reader.text, second.text) == ("first", "second")


async def test_the_last_of_each_attempt_is_kept(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    failed = pb.Failed(stage=job_pb2.ATTEMPT_STAGE_RUN, exit_code=1)
    await scene.report(assignment, b"it failed\n", 500, failed=failed)
    other = await scene.world.worker("x")
    scene.worker = other
    again = await other.run()
    await scene.report(again, b"it worked\n", succeeded=pb.Succeeded())
    # Out of the store, not only on the way there.
    await scene.world.server.plane.workers.logs.written(5)

    async def read(**more: Any) -> tuple[str, int, int, str]:
        last = await (reader := scene.follow(job_id, **more)).end()
        return last.data.decode(), last.offset, last.attempt, reader.text

    assert await read() == ("it worked\n", 0, 2, "it worked\n")
    assert await read(attempt=1) == ("it failed\n", 500, 1, "it failed\n")
    assert await read(attempt=2) == ("it worked\n", 0, 2, "it worked\n")
    assert await read(attempt=1, from_offset=503) == ("failed\n", 503, 1, "failed\n")
    assert await read(attempt=1, from_offset=9999) == ("", 9999, 1, "")
    assert await read(attempt=1, snapshot=True) == ("it failed\n", 500, 1, "it failed\n")
    # There is no third attempt, and never will be.
    assert await read(attempt=3) == ("", 0, 0, "")
    assert asked(scene.worker) == []


async def test_an_attempt_that_printed_nothing_ends_at_once(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    await scene.report(assignment, succeeded=pb.Succeeded())
    for one in (reader, scene.follow(job_id)):
        async with asyncio.timeout(following.PATIENCE_S / 2):
            assert (await one.end()).data == b""


async def test_what_is_on_its_way_when_the_attempt_ends_is_waited_for(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"a" * 10)
    await scene.report(assignment, b"ab", 9, succeeded=pb.Succeeded())
    await shipper.send(10, b"b" * 10, end=True)
    await reader.end()
    assert reader.text == "a" * 10 + "b" * 10


async def test_what_was_kept_completes_what_a_broken_shipping_brought(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"abc")
    await reader.reads("abc")
    await shipper.close()
    await scene.report(assignment, b"cdef", 2, succeeded=pb.Succeeded())
    last = await reader.end()
    assert (reader.text, last.data) == ("abcdef", b"def")


async def test_the_output_of_a_job_that_was_ended_comes_when_its_worker_has_stopped_it(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    await scene.user.terminate(job_id)
    late = scene.follow(job_id)
    await scene.worker.told_to_stop(assignment, pb.STOP_REASON_LEASE_REVOKED)
    await scene.report(assignment, b"last words", stopped=pb.Stopped())
    for one in (reader, late):
        await one.end()
        assert one.text == "last words"
    # Nobody else's word counts.
    other = await scene.world.worker("x")
    scene.worker = other
    await scene.report(assignment, b"lies lies lies", stopped=pb.Stopped())
    await (again := scene.follow(job_id)).end()
    assert again.text == "last words"


async def test_a_worker_that_never_says_its_last_word_is_not_waited_for_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE_S", 0.2)
    job_id, _ = await scene.run()
    reader = scene.follow(job_id)
    await told(scene.worker)
    await scene.user.terminate(job_id)
    assert (await reader.end()).data == b""


async def test_an_attempt_that_was_not_taken_is_not_the_latest(scene: Scene) -> None:
    job_id = await scene.user.create(simple())
    reader = scene.follow(job_id)
    offered = await scene.worker.assignment()
    explicit = scene.follow(job_id, attempt=1)
    await scene.worker.decline(offered)
    assert (await explicit.end()).attempt == 1
    late = scene.follow(job_id)
    other = await scene.world.worker("x")
    scene.worker = other
    assignment = await other.run()
    await told(other)
    shipper = await scene.ship(assignment.lease_id, "machine-x")
    await shipper.begin()
    await shipper.send(0, b"hello", end=True)
    for one in (reader, late):
        assert (await one.end()).attempt == 2
        assert one.text == "hello"


async def test_a_job_that_ends_without_an_attempt_has_no_output(scene: Scene) -> None:
    job_id = await scene.user.create(simple(queue="nobody"))
    reader = scene.follow(job_id)
    await (now := scene.follow(job_id, snapshot=True)).until(lambda: now.ended)
    assert (now.ended, now.pieces) == (grpc.StatusCode.OK, [])
    await scene.user.terminate(job_id)
    assert (await reader.end()).attempt == 0


async def test_a_snapshot_ends_with_what_was_printed_by_then(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id, snapshot=True)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"abc", printed=6)
    await reader.reads("abc")
    await shipper.send(3, b"def", printed=1_000)
    await reader.until(lambda: reader.ended)
    assert (reader.ended, reader.text) == (grpc.StatusCode.OK, "abcdef")
    assert not any(piece.end for piece in reader.pieces)
    assert await shipper.stopped()


async def test_a_snapshot_of_a_command_that_has_printed_nothing_is_empty(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id, snapshot=True)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0)
    await reader.until(lambda: reader.ended)
    assert (reader.ended, reader.pieces) == (grpc.StatusCode.OK, [])


async def test_a_snapshot_does_not_wait_for_a_worker_that_is_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE_S", 0.2)
    job_id, _ = await scene.run()
    await scene.worker.vanish()
    call = scene.user.jobs.FollowLogs(
        FollowLogsRequest(job_id=job_id, snapshot=True), metadata=scene.user.metadata, timeout=20
    )
    refused = await refusal(everything(call))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WORKER_UNREACHABLE")


async def test_others_see_what_they_see_of_a_job_that_is_not_there(scene: Scene) -> None:
    job_id, _ = await scene.run()
    other = await scene.world.user("other")

    async def follow(job: str) -> object:
        call = other.jobs.FollowLogs(FollowLogsRequest(job_id=job), metadata=other.metadata, timeout=20)
        return await everything(call)

    async def retrieve() -> object:
        return await other.jobs.RetrieveJob(RetrieveJobRequest(id=job_id), metadata=other.metadata, timeout=20)

    unknown, hidden, known = [await refusal(one) for one in (follow("no-such-job"), follow(job_id), retrieve())]
    assert unknown.raw == hidden.raw == known.raw
    assert (hidden.code, hidden.reason) == ("NOT_FOUND", "JOB_NOT_FOUND")
    await scene.worker.round_trip()
    assert asked(scene.worker) == []
    # The members of its project see it, and so do administrators.
    admin = await scene.world.admin()
    reader = scene.follow(job_id, admin)
    await told(scene.worker)
    assert reader.ended is None


async def test_a_queue_may_have_no_logs(scene: Scene) -> None:
    admin = await scene.world.admin()
    features = queue_service_pb2.QueueFeatures(time_extension=True, sync=True, compression=True)
    await admin.upsert_queue(queue_service_pb2.QueueSpecification(name="silent", features=features))
    scene.worker = await scene.world.worker("x", queues=["silent"])
    job_id, assignment = await scene.run(scene.worker, queue="silent")
    await scene.report(assignment, b"secret", succeeded=pb.Succeeded())
    call = scene.user.jobs.FollowLogs(FollowLogsRequest(job_id=job_id), metadata=scene.user.metadata, timeout=20)
    assert (await refusal(everything(call))).reason == "FEATURE_UNSUPPORTED"
    assert await scene.world.server.plane.store.outputs.find(job_id, 1) is None
