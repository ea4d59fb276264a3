"""Lost contact, and what it changes for a command: nothing. The server is played by the test."""

from __future__ import annotations

import asyncio
from random import Random

import grpc
import pytest

from tenure.agent.connection import Connection, ConnectionRefused
from tenure.agent.ledger import Ledger
from tenure.agent.transport import StreamEnded
from tenure.agent.waiting import Changes, settle
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.bench import Bench, PlayedCopying
from tests.agent.conftest import Eventually
from tests.agent.fake_server import LOST, assignment
from tests.agent.jobs import saving, up, welcomed
from tests.fakes import FakeClock

pytestmark = pytest.mark.processes


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


async def test_an_accepted_job_that_is_over_on_reconnect_frees_its_slot(bench: Bench) -> None:
    session = await welcomed(bench)
    await session.assign(assignment())
    await session.next("accept")
    session.end()
    again = await bench.server.session()
    await again.welcome(pb.LeaseVerdict(lease_id="lease-1", keep=False))
    await again.reported("stopped")
    await again.started(assignment("lease-2"))
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


class PlayedStream:
    """Welcomes whoever says Hello, and ends when the test says so. It is its own transport."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.sent: list[str | None] = []
        self._welcomed = False

    async def open(self) -> PlayedStream:
        return self

    async def send(self, request: pb.ConnectRequest) -> None:
        self.sent.append(request.WhichOneof("message"))

    async def receive(self) -> pb.ConnectResponse:
        if not self._welcomed:
            self._welcomed = True
            return pb.ConnectResponse(welcome=pb.Welcome())
        await self.over.wait()
        raise StreamEnded(code="OK", reason="", message="")

    async def finish(self) -> None:
        return

    async def close(self) -> None:
        return


@pytest.mark.parametrize("turns", range(12))
async def test_a_connection_that_is_ended_just_when_its_stream_ends_leaves_no_task(turns: int) -> None:
    """The worker gives up waiting for the answer to Goodbye at the moment at which it comes, or a little later."""
    before = asyncio.all_tasks()
    clock, stream = FakeClock(), PlayedStream()
    changes = Changes(clock)
    connection = Connection(
        transport=stream,
        ledger=Ledger(changes.pulse),
        changes=changes,
        clock=clock,
        random=Random(1),
        hello=pb.Hello,
        on_welcome=lambda _: None,
        on_message=lambda _: None,
    )
    running = asyncio.ensure_future(connection.run())
    await clock.settle()
    connection.close("done")
    await clock.settle()
    assert stream.sent == ["hello", "goodbye"]
    stream.over.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    await settle(running)
    assert asyncio.all_tasks() - before == set()
