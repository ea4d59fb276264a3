"""A worker over time: stops, lost leases, lost contact, drains. The server is played by the test."""

from __future__ import annotations

import asyncio
import sys

import grpc
import pytest

from tenure.agent.connection import ConnectionRefused
from tenure.agent.sync.gate import FencedOff
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb

from .bench import BUCKET, Bench, PlayedCopying
from .conftest import Eventually
from .fake_server import LOST, Session, assignment, instant, span

pytestmark = pytest.mark.processes

# Writes ck/n every 10 ms; after SIGINT it writes what it has come to once more and exits with 0.
SAVES = """
import os, signal, time
os.makedirs("ck", exist_ok=True)
told = []
signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
def save(text):
    with open("ck/new", "w") as file: file.write(text)
    os.replace("ck/new", "ck/n")
while not told:
    save("running")
    open("up", "w").close()
    time.sleep(0.01)
save("saved")
"""


def saving(
    *, lease_s: float = 60.0, max_disconnected_s: float | None = None, expires_at_us: int | None = None
) -> pb.Assignment:
    during = job_pb2.SyncRule(bucket=BUCKET, prefix="ck/", local_path="ck", quiet_period=span(0.02))
    spec = job_pb2.JobSpecification(sync=job_pb2.Sync(during=[during]))
    if max_disconnected_s is not None:
        spec.max_disconnected.CopyFrom(span(max_disconnected_s))
    return assignment(
        command=sys.executable,
        arguments=("-c", SAVES),
        specification=spec,
        beat_s=0.05,
        lease_s=lease_s,
        expires_at_us=expires_at_us,
    )


async def welcomed(bench: Bench, slots: int = 1) -> Session:
    bench.start(slots=slots)
    session = await bench.server.session()
    await session.welcome()
    return session


async def up(bench: Bench, eventually: Eventually, name: str = "job-of-lease-1-1") -> None:
    await eventually((bench.job_dir(name) / "up").exists)


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


async def test_a_broken_stream_changes_nothing_for_the_command(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    await session.started(saving())
    await up(bench, eventually)
    count = (await session.beat()).count
    session.end()
    again = await bench.server.session()
    hello = await again.keep("lease-1")
    assert [(lease.lease_id, lease.job_id, lease.attempt) for lease in hello.leases] == [
        ("lease-1", "job-of-lease-1", 1)
    ]
    beat = await again.beat()
    assert beat.count > count
    assert (bench.job_dir() / "up").exists()
    assert again.nothing("report")
    await again.stop("lease-1", pb.STOP_REASON_CANCEL_REQUESTED, 5)
    await again.reported("released")


async def test_an_outage_loses_no_attempt(bench: Bench, eventually: Eventually) -> None:
    """The server is gone for longer than a lease; every command goes on and finishes in its first attempt."""
    session = await welcomed(bench, slots=3)
    done = bench.folder / "done"
    wait = f"while ! test -e {done}; do sleep 0.02; done"
    leases = [f"l{number}" for number in range(3)]
    await session.started(
        *(assignment(each, command="sh", arguments=("-c", wait), lease_s=0.4, beat_s=0.1) for each in leases)
    )
    await bench.server.stop()
    await asyncio.sleep(1.0)  # longer than two leases
    done.touch()
    await bench.server.start()
    again = await bench.server.session()
    hello = await again.keep(*leases, lease_s=0.4)
    assert sorted(lease.lease_id for lease in hello.leases) == leases
    reported = [await again.reported("succeeded") for _ in leases]
    assert sorted(item.lease_id for item in reported) == leases


async def test_a_report_is_repeated_until_it_is_acknowledged(bench: Bench) -> None:
    session = await welcomed(bench)
    await session.started(assignment())
    first = await session.reported("succeeded", answer=False)
    session.end(grpc.StatusCode.UNAVAILABLE)
    again = await bench.server.session()
    await again.keep("lease-1")
    second = await again.reported("succeeded")
    assert second.last_beat.count >= first.last_beat.count
    await again.started(assignment("lease-2"))
    await again.reported("succeeded")


async def test_an_accept_is_repeated_after_a_broken_stream(bench: Bench) -> None:
    session = await welcomed(bench)
    await session.assign(assignment())
    await session.next("accept")
    session.end()
    again = await bench.server.session()
    await again.keep("lease-1")
    assert await again.accepted() == ["lease-1"]
    await again.reported("started")
    await again.reported("succeeded")


async def test_a_lease_that_was_given_away_is_stopped_on_reconnect(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    await session.started(saving())
    await up(bench, eventually)
    session.end()
    again = await bench.server.session()
    await again.welcome(pb.LeaseVerdict(lease_id="lease-1", keep=False))
    await again.reported("stopped", LOST)
    await eventually(lambda: not bench.attempts())


async def test_without_contact_the_gate_closes_and_the_command_goes_on(bench: Bench, eventually: Eventually) -> None:
    copying = bench.copying = PlayedCopying()
    session = await welcomed(bench)
    await session.started(saving(lease_s=1.0))
    await up(bench, eventually)
    assert copying.gate is not None
    bench.server.silent = True
    gate = copying.gate
    # It lets requests in until a fence that does not move any more, and then none.
    fence = await gate.enter(0.01)
    await eventually(lambda: bench.clock.monotonic_ns() >= fence)
    waiting = asyncio.ensure_future(gate.enter(0.01))
    await session.beat()
    assert not waiting.done()
    assert (bench.job_dir() / "up").exists()
    bench.server.silent = False
    session.end()
    again = await bench.server.session()
    await again.keep("lease-1", lease_s=1.0)
    assert await asyncio.wait_for(waiting, 10) > fence
    await again.revoke()
    await again.reported("stopped")


async def test_a_job_may_end_with_its_lease(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    await session.started(saving(lease_s=0.5, max_disconnected_s=0.0))
    await up(bench, eventually)
    await bench.server.stop()
    # The command has saved and gone; the upload waits for the gate.
    await eventually(lambda: (bench.job_dir() / "ck/n").read_text() == "saved")
    await bench.server.start()
    again = await bench.server.session()
    await again.keep("lease-1", lease_s=5.0)
    released = (await again.reported("released")).released
    assert released.reason.startswith("the worker could not reach the server for")
    assert await bench.object("ck/n") == b"saved"


async def test_a_server_that_answers_no_beats_is_left(bench: Bench, eventually: Eventually) -> None:
    session = await welcomed(bench)
    await session.started(saving(lease_s=2.0))
    bench.server.silent = True
    again = await bench.server.session()
    bench.server.silent = False
    await again.keep("lease-1", lease_s=2.0)
    await again.beat()


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
    released = (await session.reported("released")).released
    assert released.reason == "worker is draining"
    assert await bench.object("ck/n") == b"saved"
    goodbye = await session.next("goodbye")
    assert goodbye.reason == "worker is draining"
    session.end()
    assert await bench.ended() is True
    assert bench.attempts() == []


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
    await session.beat(more=2)
    worker.abandon()
    assert (await session.reported("released")).released.reason == "the worker was stopped at once"
    await session.next("goodbye")
    session.end()
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


async def test_a_worker_whose_token_is_refused_ends(bench: Bench) -> None:
    bench.start()
    session = await bench.server.session()
    session.end(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", "the token is not known")
    with pytest.raises(ConnectionRefused, match="CREDENTIALS_INVALID: the token is not known"):
        await bench.ended()


async def test_a_worker_that_was_welcome_once_keeps_trying(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenure.agent.connection.REFUSED_WAIT_S", 0.01)
    session = await welcomed(bench)
    session.end(grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", "no")
    again = await bench.server.session()
    await again.welcome()


async def test_two_that_take_the_stream_from_each_other_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenure.agent.connection.LONGEST_WAIT_S", 0.01)
    bench.start()
    for _ in range(3):
        session = await bench.server.session()
        await session.welcome()
        session.end(grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED", "a newer stream has taken over")
    with pytest.raises(ConnectionRefused, match="another process uses the same worker id"):
        await bench.ended()


async def test_a_server_that_is_not_there_yet_is_waited_for(bench: Bench) -> None:
    await bench.server.stop()
    bench.start()
    await asyncio.sleep(0.2)
    await bench.server.start()
    await (await bench.server.session()).welcome()
