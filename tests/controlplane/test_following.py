"""What a follower hears while there is nothing to tell, and of attempts that never were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tenure.controlplane import following
from tenure.v1 import worker_service_pb2 as pb
from tenure.v1.job_service_pb2 import FollowLogsResponse
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import GENEROUS_S
from tests.controlplane.output_scene import Scene, open_scene
from tests.controlplane.shippers import Reader

SPAN_S = 10.0


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    # The time is the test's; the server only has to look at it.
    monkeypatch.setattr(following, "LATER_S", 0.02)
    async with open_scene() as made:
        yield made


async def next_piece(scene: Scene, reader: Reader, after_s: float) -> FollowLogsResponse:
    """What comes once so much more time has passed."""
    known = len(reader.pieces)
    await scene.world.clock.advance(after_s)
    await reader.until(lambda: len(reader.pieces) > known)
    assert len(reader.pieces) == known + 1
    return reader.pieces[-1]


async def first_piece(scene: Scene, reader: Reader) -> FollowLogsResponse:
    """What comes first, whenever the server has begun with it."""
    async with asyncio.timeout(GENEROUS_S):
        while not reader.pieces:
            await scene.world.clock.advance(1)
            await asyncio.sleep(0.02)
    return reader.pieces[0]


async def test_who_waits_for_an_attempt_hears_that_there_is_none_yet(scene: Scene) -> None:
    job_id = await scene.user.create(simple(queue="nobody"))
    nothing = FollowLogsResponse(offset=7, attempt=0)
    for reader in (scene.follow(job_id, from_offset=7), scene.follow(job_id, attempt=3, from_offset=7)):
        assert await first_piece(scene, reader) == nothing
    assert await next_piece(scene, reader, SPAN_S) == nothing


async def test_who_follows_a_quiet_command_hears_where_it_is(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    assert await next_piece(scene, reader, SPAN_S) == FollowLogsResponse(offset=0, attempt=1)
    await shipper.send(0, b"abc")
    await reader.reads("abc")
    assert await next_piece(scene, reader, SPAN_S) == FollowLogsResponse(offset=3, attempt=1)


async def test_the_time_without_a_word_begins_with_the_last_one(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await scene.world.clock.advance(SPAN_S - 1)
    await shipper.send(0, b"abc")
    await reader.reads("abc")
    await scene.world.clock.advance(SPAN_S - 1)
    await asyncio.sleep(0.1)  # as often as it likes to look
    await shipper.send(3, b"def", end=True)
    await reader.end()
    assert [piece.data for piece in reader.pieces] == [b"abc", b"def", b""]


async def test_an_attempt_that_no_worker_has_taken_is_not_said(scene: Scene) -> None:
    """It may be declined; whoever then connects again would get the end of that one instead of the next one."""
    queue = "later"
    job_id = await scene.user.create(simple(queue=queue))
    reader = scene.follow(job_id)
    await first_piece(scene, reader)
    await scene.world.clock.advance(SPAN_S - 4)
    worker = await scene.world.worker("x", queues=[queue])
    offered = await worker.assignment()
    assert offered.attempt == 1
    assert (await next_piece(scene, reader, 4)).attempt == 0
    await worker.accept(offered)
    assert (await next_piece(scene, reader, SPAN_S)).attempt == 1


async def test_a_snapshot_is_only_what_there_is(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id, snapshot=True)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await scene.world.clock.advance(2 * SPAN_S)
    await asyncio.sleep(0.1)  # as often as it likes to look
    await shipper.send(0, b"abc", printed=3)
    await reader.until(lambda: reader.ended)
    assert (reader.ended, [piece.data for piece in reader.pieces]) == (grpc.StatusCode.OK, [b"abc"])


async def test_the_end_of_a_job_is_not_that_of_an_attempt_that_never_was(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    waiting = scene.follow(job_id, attempt=2, from_offset=5)
    await scene.report(assignment, b"done", succeeded=pb.Succeeded())
    ended = FollowLogsResponse(offset=5, attempt=0, end=True)
    assert await waiting.end() == ended
    assert await scene.follow(job_id, attempt=2, from_offset=5).end() == ended
