from __future__ import annotations

from tenure.controlplane.call import BadMessage
from tenure.controlplane.status import Violation
from tenure.domain.errors import Reason, Refused
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import FakeWorker, Plane

HEARTBEAT = pb.ConnectRequest(heartbeat=pb.Heartbeat())


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
