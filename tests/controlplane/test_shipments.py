"""Output on its way from a worker to those who follow it, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from tenure.v1 import worker_service_pb2 as pb
from tenure.v1.job_service_pb2 import FollowLogsRequest
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import eventually
from tests.acceptance.world import open_world
from tests.controlplane.output_scene import Scene, open_scene
from tests.controlplane.shippers import asked, told


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with open_scene() as made:
        yield made


async def test_nothing_is_asked_of_a_worker_that_nobody_follows(scene: Scene) -> None:
    _, assignment = await scene.run()
    await scene.worker.beat(assignment)
    shipper = await scene.ship(assignment.lease_id)
    assert await shipper.begin() is None
    assert await shipper.hear() is None
    await scene.worker.round_trip()
    assert asked(scene.worker) == []


async def test_output_is_read_as_it_is_shipped_to_its_end(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, offset = await scene.shipping(assignment.lease_id)
    assert asked(scene.worker) == [assignment.lease_id]
    assert offset == 0
    await shipper.send(0, b"one\n")
    await reader.reads("one\n")
    await shipper.send(4, b"two\n")
    await reader.reads("one\ntwo\n")
    await shipper.send(8, end=True)
    last = await reader.end()
    assert (last.offset, last.attempt, last.data) == (8, 1, b"")
    await shipper.stopped()


async def test_a_worker_is_asked_for_what_it_has_taken(scene: Scene) -> None:
    """A worker knows nothing of a lease before it has heard of it, and asks nobody about it."""
    job_id = await scene.user.create(simple(queue="later"))
    scene.follow(job_id)
    logs = scene.world.server.plane.workers.logs
    await eventually(lambda: _is(bool(logs._topics._all)), "the call to arrive")
    worker = await scene.world.worker("x", queues=["later"])
    offered = await worker.assignment()
    await eventually(lambda: _is(bool(logs._shipments._feeds)), "it to be followed")
    await worker.round_trip()
    assert asked(worker) == []
    await worker.accept(offered)
    await told(worker)


async def test_several_share_one_shipping_and_without_any_it_stops(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    first = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"abc")
    await first.reads("abc")
    late, middle, behind = (
        scene.follow(job_id),
        scene.follow(job_id, from_offset=1),
        scene.follow(job_id, from_offset=5),
    )
    await late.reads("abc")
    await middle.reads("bc")
    await shipper.send(3, b"defg")
    await first.reads("abcdefg")
    await late.reads("abcdefg")
    await middle.reads("bcdefg")
    await behind.reads("fg")
    assert len(asked(scene.worker)) == 1
    for reader in (first, late, middle):
        await reader.close()
    await shipper.send(7, b"h")
    await behind.reads("fgh")
    await behind.close()
    assert await shipper.stopped()
    await scene.worker.round_trip()
    assert len(asked(scene.worker)) == 1


async def test_one_who_wants_earlier_output_has_it_shipped_again(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    first = scene.follow(job_id, from_offset=4)
    shipper, offset = await scene.shipping(assignment.lease_id)
    assert offset == 4
    await shipper.send(4, b"ef")
    await first.reads("ef")
    second = scene.follow(job_id)
    again, offset = await scene.shipping(assignment.lease_id, 2)
    assert offset == 0
    assert await shipper.stopped()
    # The worker has less than was asked for, and says so by the offset.
    await again.send(2, b"cdef")
    await again.send(6, b"gh")
    await first.reads("efgh")
    await second.reads("cdefgh")
    # What it does not have is not asked for again.
    third = scene.follow(job_id)
    await third.reads("cdefgh")
    await scene.worker.round_trip()
    assert len(asked(scene.worker)) == 2


async def test_a_gap_is_seen_by_the_offset(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"abc")
    await shipper.send(1000, b"xyz")
    await reader.reads("abc[1000]xyz")


async def test_a_reader_that_does_not_read_holds_up_the_worker_and_nobody_else(scene: Scene) -> None:
    """What nobody reads stays with the worker; memory is bounded on the way. Who reads decides, not who does not."""
    job_id, assignment = await scene.run()
    idle = scene.user.jobs.FollowLogs(FollowLogsRequest(job_id=job_id), metadata=scene.user.metadata)
    shipper, _ = await scene.shipping(assignment.lease_id)
    pieces, sent = 512, 0

    async def ship() -> None:
        nonlocal sent
        for number in range(pieces):
            await shipper.send(65_536 * number, b"%065536d" % number, end=number == pieces - 1)
            sent += 1

    shipping = asyncio.ensure_future(ship())
    reached = -1
    while reached != sent:
        reached = sent
        await asyncio.wait((shipping,), timeout=0.5)
    assert 0 < sent < pieces
    reader = scene.follow(job_id)
    await reader.end()
    await shipping
    held = [piece for piece in reader.pieces if piece.data]
    assert held[0].offset <= reached * 65_536
    assert all(before.offset + len(before.data) == after.offset for before, after in pairwise(held))
    assert held[-1].data.endswith(b"%d" % (pieces - 1))
    idle.cancel()


async def test_pieces_that_break_the_rules_end_the_call_and_not_the_following(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"x" * 65_537)
    assert (await shipper.refused()).reason == "INVALID_FIELD"
    other = await scene.ship(assignment.lease_id)
    await other.begin()
    other.lease_id = "another"
    await other.send(0, b"x")
    assert (await other.refused()).reason == "INVALID_FIELD"
    third = await scene.ship(assignment.lease_id)
    await third.begin()
    await third.send(0, b"good")
    await reader.reads("good")


async def test_another_workers_lease_cannot_be_spoken_for(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    await told(scene.worker)
    stranger = await scene.ship(assignment.lease_id, subject="machine-x")
    await stranger._call.write(pb.ShipLogsRequest(lease_id=assignment.lease_id, data=b"lies"))
    refused = await stranger.refused()
    assert (refused.code, refused.reason) == ("ABORTED", "LEASE_LOST")
    assert reader.pieces == []


async def test_a_newer_call_takes_the_place_of_an_older_one(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    older, _ = await scene.shipping(assignment.lease_id)
    await older.send(0, b"abc")
    await reader.reads("abc")
    newer, offset = await scene.shipping(assignment.lease_id)
    assert offset == 3
    assert await older.stopped()
    await newer.send(3, b"def")
    await reader.reads("abcdef")


async def test_after_a_broken_connection_it_goes_on_at_the_same_offset(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"abc")
    await reader.reads("abc")
    await scene.worker.vanish()
    await shipper.close()
    late = scene.follow(job_id, from_offset=2)
    await late.reads("c")
    await scene.worker.connect(leases=[assignment])
    again, offset = await scene.shipping(assignment.lease_id, 2)
    assert offset == 3
    await again.send(3, b"def")
    await reader.reads("abcdef")
    await late.reads("cdef")


async def test_a_worker_that_was_away_is_asked_when_it_comes_back(scene: Scene) -> None:
    job_id, assignment = await scene.run()
    await scene.worker.vanish()
    reader = scene.follow(job_id)
    await scene.world.settle()
    assert asked(scene.worker) == []
    await scene.worker.connect(leases=[assignment])
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"abc")
    await reader.reads("abc")


async def test_a_call_that_broke_is_asked_for_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenure.controlplane.shipments.ASK_AGAIN_S", 0.1)
    job_id, assignment = await scene.run()
    reader = scene.follow(job_id)
    shipper, _ = await scene.shipping(assignment.lease_id)
    await shipper.send(0, b"abc")
    await reader.reads("abc")
    await asyncio.sleep(0.1)  # it is not asked for more often than this, however often calls break
    await shipper.close()
    again, offset = await scene.shipping(assignment.lease_id, 2)
    assert offset == 3
    await again.send(3, b"def")
    await reader.reads("abcdef")


async def test_a_server_that_was_started_again_goes_on_and_has_what_was_kept(tmp_path: Path) -> None:
    async with open_world(f"sqlite://{tmp_path / 'data'}") as world:
        scene = Scene(world, await world.user(), await world.worker("w", slots=2))
        ended, first = await scene.run()
        await scene.report(first, b"kept", succeeded=pb.Succeeded())
        job_id, assignment = await scene.run(name="second")
        reader = scene.follow(job_id)
        shipper, _ = await scene.shipping(assignment.lease_id)
        await shipper.send(0, b"abc")
        await reader.reads("abc")
        await scene.close()
        await world.stop()
        await world.start()
        again = Scene(world, await world.user(), await world.same_worker(scene.worker))
        resumed = again.follow(job_id, attempt=1, from_offset=3)
        await (done := again.follow(ended)).end()
        assert done.text == "kept"
        await again.worker.connect(leases=[assignment])
        shipper, offset = await again.shipping(assignment.lease_id)
        assert offset == 3
        await shipper.send(3, b"def", end=True)
        assert (await resumed.end()).offset == 6
        assert resumed.text == "def"
        await again.close()


async def _is(seen: bool) -> bool:
    return seen
