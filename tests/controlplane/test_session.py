from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenure.controlplane.call import BadMessage
from tenure.controlplane.session import Session
from tenure.controlplane.status import Violation
from tenure.controlplane.workers import Worker
from tenure.domain.errors import Reason, Refused
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import FakeCall, FakeWorker, Plane, worker_identity

HEARTBEAT = pb.ConnectRequest(heartbeat=pb.Heartbeat())
SUPERSEDED = Refused(Reason.SESSION_SUPERSEDED, "a newer stream of this worker has taken over")


@pytest.fixture
def session() -> Session:
    return Session("s", Worker(("fleet", "a")), FakeCall(worker_identity()))


async def test_a_bad_message_is_answered_and_the_stream_lives() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        worker.heard()
        [answer] = await worker.say(BadMessage((Violation("report.items[0].lease_id", "must not be empty"),)))
        assert answer.refusal.field == "report.items[0].lease_id"
        assert [m.WhichOneof("message") for m in await worker.say(HEARTBEAT)] == ["heartbeat_ack"]


async def test_a_worker_that_does_not_read_is_read_from_no_more() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")
        await worker.connect()
        worker.call.open.clear()
        beats = pb.Heartbeat(beats=[pb.Beat(lease_id="x", count=1) for _ in range(4096)])
        for _ in range(20):
            worker.stream.put(pb.ConnectRequest(heartbeat=beats))
        await plane.settle()
        assert worker.stream._queue.qsize() > 10
        worker.call.open.set()
        await plane.settle()
        assert worker.stream._queue.qsize() == 0
        assert sum(len(message.heartbeat_ack.items) for message in worker.call.sent) == 20 * 4096


async def test_a_slow_consumer_ends_its_stream_and_no_job() -> None:
    async with Plane() as plane:
        worker = FakeWorker(plane, "a")

        async def send(message: object) -> None:
            raise Refused(Reason.SLOW_CONSUMER, "it does not read")

        worker.call.send = send  # type: ignore[method-assign]
        refused = await worker.refused(pb.ConnectRequest(hello=worker.hello))
        assert refused.reason is Reason.SLOW_CONSUMER
        assert plane.service.queue_workers("default") == (0, 0)


async def test_what_was_put_off_is_not_begun_on_a_stream_that_was_ended(session: Session) -> None:
    done: list[str] = []

    async def first() -> None:
        done.append("first")
        session.end(SUPERSEDED)

    async def second() -> None:
        done.append("second")

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield HEARTBEAT

    async def answer(session: Session, message: pb.ConnectRequest) -> bool:
        session.later(first)
        session.later(second)
        return True

    with pytest.raises(Refused, match="newer stream"):
        await session.run(messages(), answer)
    assert done == ["first"]


async def test_what_is_there_to_be_read_is_not_answered_on_a_stream_that_was_ended(session: Session) -> None:
    answered: list[pb.ConnectRequest] = []

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield HEARTBEAT
        session.end(SUPERSEDED)
        yield HEARTBEAT

    async def answer(session: Session, message: pb.ConnectRequest) -> bool:
        answered.append(message)
        return True

    with pytest.raises(Refused, match="newer stream"):
        await session.run(messages(), answer)
    assert len(answered) == 1


@pytest.mark.parametrize("turns", range(5))
async def test_whoever_waits_for_what_was_put_off_does_not_go_on_after_the_end(session: Session, turns: int) -> None:
    went_on: list[bool] = []

    def end(turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(end, turns - 1)
        else:
            session.end(SUPERSEDED)

    async def last() -> None:
        end(turns)

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield HEARTBEAT
        await asyncio.Event().wait()

    async def answer(session: Session, message: pb.ConnectRequest) -> bool:
        session.later(last)
        await session.settled()
        went_on.append(session.ended)
        return True

    with pytest.raises(Refused, match="newer stream"):
        await session.run(messages(), answer)
    assert True not in went_on
