"""A worker over time: stops, lost leases, drains, admission. The server is played by the test."""

from __future__ import annotations

import asyncio

import pytest

from tenure.agent import attempt
from tenure.agent.sync.gate import FencedOff
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.bench import BUCKET, Bench, PlayedCopying
from tests.agent.conftest import Eventually
from tests.agent.fake_server import LOST, assignment, instant
from tests.agent.jobs import saving, up, welcomed

pytestmark = pytest.mark.processes


async def test_cancel_with_grace_saves_before_it_reports(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    await session.started(saving())
    await up(bench, eventually)
    await session.stop("lease-1", pb.STOP_REASON_CANCEL_REQUESTED, 10)
    released = (await session.reported("released")).released
    assert released.reason == "the job was cancelled"
    assert await bench.object("ck/n") == b"saved"


async def test_an_expiring_attempt_beats_on_until_it_is_revoked(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    bench.server.deadlines["lease-1"] = 5_000_000
    await session.started(saving(expires_at_us=5_000_000))
    await up(bench, eventually)
    await session.stop("lease-1", pb.STOP_REASON_EXPIRING, 10)
    async with asyncio.timeout(20):
        while await bench.object("ck/n") != b"saved":  # noqa: ASYNC110 - the store does not call back
            await asyncio.sleep(0.02)
    assert (await session.beat(more=3)).stage == job_pb2.ATTEMPT_STAGE_SYNC_AFTER
    assert session.nothing("report")
    await session.revoke()
    await session.reported("stopped")


async def test_an_expiring_attempt_is_released_when_the_end_does_not_come(
    bench: Bench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server was started again with a clock that is behind: by it the job has time left."""
    monkeypatch.setattr(attempt, "OVERDUE_NS", 0)
    session = await welcomed(bench)
    bench.server.deadlines["lease-1"] = 5_000_000
    await session.started(saving(expires_at_us=5_000_000))
    await up(bench, eventually)
    await session.stop("lease-1", pb.STOP_REASON_EXPIRING, 1)
    released = (await session.reported("released")).released
    assert released.reason == "the command was stopped as its time was ending, and the end did not come"
    assert await bench.object("ck/n") == b"saved"


async def test_an_expiring_attempt_is_released_when_its_time_is_extended(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    bench.server.deadlines["lease-1"] = 5_000_000
    await session.started(saving(expires_at_us=5_000_000))
    await up(bench, eventually)
    await session.stop("lease-1", pb.STOP_REASON_EXPIRING, 10)
    await session.beat(more=2)
    changed = pb.DeadlineChanged.Item(lease_id="lease-1", expires_at=instant(6_000_000))
    bench.server.deadlines["lease-1"] = 6_000_000
    await session.send(deadline_changed=pb.DeadlineChanged(items=[changed]))
    released = (await session.reported("released")).released
    assert released.reason == "its time was extended after the command had been stopped"


@pytest.mark.parametrize("how", ["beat", "revoked"])
async def test_a_lost_lease_ends_the_command_without_a_last_upload(
    bench: Bench, eventually: Eventually, how: str
) -> None:
    copying = bench.copying = PlayedCopying()
    session = await welcomed(bench)
    await session.started(saving())
    await up(bench, eventually)
    if how == "beat":
        bench.server.lost.add("lease-1")
    else:
        await session.revoke()
    await session.reported("stopped", LOST)
    assert "finish_during" not in copying.steps
    assert copying.gate is not None
    with pytest.raises(FencedOff):
        await copying.gate.enter(0.1)
    await eventually(lambda: not bench.attempts())
    # The slot is free again.
    bench.server.lost.clear()
    await session.started(assignment("lease-2"))
    await session.reported("succeeded")


async def test_an_outcome_that_is_not_accepted_is_followed_by_stopped(bench: Bench) -> None:
    session = await welcomed(bench)
    await session.started(assignment())
    await session.reported("succeeded", LOST)
    await session.reported("stopped", LOST)


async def test_an_assignment_that_was_taken_back_is_forgotten(bench: Bench) -> None:
    session = await welcomed(bench)
    await session.assign(assignment())
    await session.accepted(LOST)
    await session.started(assignment("lease-2"))
    await session.reported("succeeded")
    assert {beat.lease_id for beat in session.beats} == {"lease-2"}


async def test_an_assignment_that_is_revoked_while_it_waits_for_a_slot_is_reported_as_stopped(bench: Bench) -> None:
    session = await welcomed(bench)
    await session.started(assignment("lease-1", command="sleep", arguments=("600",)))
    await session.assign(assignment("lease-2", accept_s=600))
    await session.revoke("lease-2")
    assert (await session.reported("stopped")).lease_id == "lease-2"
    await session.revoke("lease-1")
    assert (await session.reported("stopped")).lease_id == "lease-1"
    assert session.nothing("accept")


async def test_beats_that_are_due_travel_together(bench: Bench) -> None:
    session = await welcomed(bench, slots=8)
    leases = [f"l{number}" for number in range(8)]
    items = [assignment(each, command="sleep", arguments=("600",), beat_s=0.3) for each in leases]
    await session.started(*items)
    await session.beat("l7", more=4)
    last = [sorted(beat.lease_id for beat in heartbeat.beats) for heartbeat in session.heartbeats[-2:]]
    assert last == [leases, leases]
    counts = [beat.count for beat in session.beats if beat.lease_id == "l3"]
    assert counts == list(range(1, len(counts) + 1))


async def test_drain_saves_releases_and_says_goodbye(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    worker = bench.running[0][0]
    await session.started(saving())
    await up(bench, eventually)
    worker.drain("worker is draining")
    again = await bench.server.session()
    assert (await again.keep("lease-1")).draining
    released = (await again.reported("released")).released
    assert released.reason == "worker is draining"
    assert await bench.object("ck/n") == b"saved"
    goodbye = await again.next("goodbye")
    assert goodbye.reason == "worker is draining"
    again.end()
    assert await bench.ended() is True
    assert bench.attempts() == []


async def test_a_job_that_comes_while_the_worker_says_goodbye_does_not_hurt(bench: Bench) -> None:
    session = await welcomed(bench)
    bench.running[0][0].drain("enough")
    await session.next("goodbye")
    await session.assign(assignment("late"))
    session.end()
    assert await bench.ended() is True
    assert bench.attempts() == []


async def test_a_job_that_comes_just_when_the_last_work_is_done_is_declined(
    bench: Bench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends last is a call that ships output; the job comes between its end and the Goodbye."""
    session = await welcomed(bench)
    worker, loop = bench.running[0][0], asyncio.get_running_loop()
    came: list[str] = []

    def offer() -> None:
        try:
            worker._received(pb.ConnectResponse(assignments=pb.Assignments(items=[assignment("late")])))
        except RuntimeError as error:
            came.append(str(error))
        else:
            came.append("")

    class Slow:
        async def send(self, request: pb.ShipLogsRequest) -> None:
            await asyncio.Event().wait()

        async def receive(self) -> pb.ShipLogsResponse:
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None:
            # After the callbacks of the task that this is the last step of.
            loop.call_soon(loop.call_soon, offer)

    async def slow() -> Slow:
        return Slow()

    assert worker._shipping is not None
    monkeypatch.setattr(worker._shipping._transport, "open_shipping", slow)
    await session.started(assignment("a", command="true"))
    await session.send(follow_output=pb.FollowOutput(lease_ids=["a"]))
    await session.reported("succeeded")
    await eventually(lambda: not worker._ledger.holdings())
    worker.drain("enough")
    assert (await session.next("decline")).items[0].reason == "the worker is leaving"
    await session.next("goodbye")
    session.end()
    assert await bench.ended() is True
    assert came == [""]


async def test_a_draining_worker_takes_no_job(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench, slots=2)
    await session.started(assignment("a", command="sleep", arguments=("600",)))
    await session.send(drain=pb.Drain(release=False, reason="maintenance"))
    await session.assign(assignment("b"))
    declined = (await session.next("decline")).items[0]
    assert (declined.lease_id, declined.reason) == ("b", "the worker is draining: maintenance")
    session.end()
    again = await bench.server.session()
    assert (await again.keep("a")).draining
    await again.revoke("a")
    await again.reported("stopped")
    await again.next("goodbye")
    again.end()
    assert await bench.ended() is True


async def test_the_servers_drain_may_ask_for_a_release(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    await session.started(saving())
    await up(bench, eventually)
    await session.send(drain=pb.Drain(release=True, reason="maintenance"))
    assert (await session.reported("released")).released.reason == "maintenance"
    await session.next("goodbye")


async def test_a_second_signal_ends_at_once(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    worker = bench.running[0][0]
    deaf = 'trap "" INT TERM; touch up; while true; do sleep 0.05; done'
    await session.started(assignment(command="sh", arguments=("-c", deaf), grace_s=600))
    await up(bench, eventually)
    worker.drain("worker is draining")
    again = await bench.server.session()
    await again.keep("lease-1")
    await again.beat(more=2)
    worker.abandon()
    assert (await again.reported("released")).released.reason == "the worker was stopped at once"
    await again.next("goodbye")
    again.end()
    assert await bench.ended() is True


async def test_folders_are_never_shared(bench: Bench) -> None:
    """The second attempt waits for the folder of the first, and is declined when it does not become free."""
    session = await welcomed(bench, slots=3)
    rule = job_pb2.SyncRule(bucket=BUCKET, prefix="x/", local_path=str(bench.folder / "data/x"))
    inner = job_pb2.SyncRule(bucket=BUCKET, prefix="x/", local_path=str(bench.folder / "data/x/inner/"))
    spec = job_pb2.JobSpecification(sync=job_pb2.Sync(during=[rule]))
    below = job_pb2.JobSpecification(sync=job_pb2.Sync(during=[inner]))
    await session.started(assignment("a", command="sleep", arguments=("600",), specification=spec))
    assert (bench.folder / "data/x").is_dir()
    await session.assign(assignment("b", accept_s=0.1, specification=below))
    declined = (await session.next("decline")).items[0]
    assert (declined.lease_id, declined.reason) == ("b", "its folders are in use by another attempt")
    await session.assign(assignment("c", accept_s=30, specification=below))
    await session.revoke("a")
    await session.reported("stopped")
    assert await session.accepted() == ["c"]
    await session.reported("started")
    await session.reported("succeeded")


async def test_what_does_not_fit_is_declined(bench: Bench) -> None:
    session = await welcomed(bench)
    outside = job_pb2.SyncRule(bucket=BUCKET, prefix="x/", local_path="/etc/x")
    spec = job_pb2.JobSpecification(sync=job_pb2.Sync(before=[outside]))
    await session.assign(assignment("a", specification=spec))
    assert "does not lie below a root" in (await session.next("decline")).items[0].reason
    await session.started(assignment("b", command="sleep", arguments=("600",)))
    await session.assign(assignment("c", accept_s=0.1))
    assert (await session.next("decline")).items[0].reason == "the worker has no free slot"
    await session.assign(assignment("d", command=""))
    assert (await session.next("decline")).items[0].reason == "the assignment names no command"
