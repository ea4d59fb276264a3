"""Streams of workers by hand: what is said, what is heard, and attempts that run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from tenure.controlplane.watch import Tail
from tenure.v1 import errors_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.hostile.catalogue import CONNECT
from tests.hostile.outcome import Outcome, outcome_of
from tests.hostile.scene import Scene, Send, Sent, raw_of

WITHIN_S = 10.0


class Stream:
    """One stream."""

    def __init__(self, scene: Scene, worker_id: str, who: str = "worker") -> None:
        self.worker_id = worker_id
        self.call = scene.open(CONNECT, scene.metadata(who), None)

    async def say(self, message: Sent) -> None:
        """Send something; a stream that has ended tells how when it is listened to."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(raw_of(CONNECT, message))

    async def hear(self) -> pb.ConnectResponse:
        """The next message.

        Raises:
            grpc.aio.AioRpcError: the stream was ended.
        """
        async with asyncio.timeout(WITHIN_S):
            raw = await self.call.read()
        assert isinstance(raw, bytes), "the stream has ended well"
        return pb.ConnectResponse.FromString(raw)

    async def until(self, kind: str) -> pb.ConnectResponse:
        """The next message of a kind, or a refusal."""
        while True:
            message = await self.hear()
            if message.WhichOneof("message") in (kind, "refusal"):
                return message

    async def hello(self, **fields: Any) -> pb.ConnectResponse:
        """Say who it is, and wait for Welcome."""
        await self.say(hello(self.worker_id, **fields))
        return await self.until("welcome")

    async def ending(self) -> Outcome:
        """How it ends."""
        try:
            while True:
                await self.hear()
        except grpc.aio.AioRpcError as error:
            return outcome_of(error)

    async def answer(self, message: Sent, kind: str) -> Outcome:
        """What is answered to a message: a refusal of it, an acknowledgement, or the end of the stream."""
        await self.say(message)
        try:
            return _outcome(await self.until(kind))
        except grpc.aio.AioRpcError as error:
            return outcome_of(error)

    def close(self) -> None:
        """Drop it."""
        self.call.cancel()


def _outcome(message: pb.ConnectResponse) -> Outcome:
    """What a worker is told of a message of its own, in the words of a refused call."""
    number: errors_pb2.ErrorReason.ValueType = errors_pb2.ERROR_REASON_UNSPECIFIED
    lost = errors_pb2.ERROR_REASON_LEASE_LOST
    text = field = ""
    match message.WhichOneof("message"):
        case "refusal":
            number, text, field = message.refusal.reason, message.refusal.message, message.refusal.field
        case "report_ack":
            number = message.report_ack.items[0].error
        case "heartbeat_ack" if message.heartbeat_ack.items[0].state == pb.LEASE_STATE_LOST:
            number = lost
        case "accept_ack" if message.accept_ack.items[0].state == pb.LEASE_STATE_LOST:
            number = lost
        case _:
            pass
    return Outcome(
        code="",
        reason=errors_pb2.ErrorReason.Name(number).removeprefix("ERROR_REASON_") if number else "",
        message=text,
        fields=(field,),
        infos=1,
        domains=("tenure",),
        said=text,
        open=True,
    )


def hello(worker_id: str = "w", **fields: Any) -> Sent:
    """A good Hello, with these fields changed."""
    first = {"worker_id": worker_id, "incarnation": "i", "protocol_version": 1, "queues": ["nobody-here"], "slots": 1}
    return {"hello": {**first, **fields}}


def beat(lease_id: str, **fields: Any) -> dict[str, Any]:
    """A beat for one lease."""
    return {"heartbeat": {"beats": [{"lease_id": lease_id, "count": 2, "stage": "ATTEMPT_STAGE_RUN", **fields}]}}


def report(lease_id: str, **fields: Any) -> dict[str, Any]:
    """A report of one lease."""
    return {"report": {"items": [{"lease_id": lease_id, **fields}]}}


def accept(lease_id: str) -> dict[str, Any]:
    """It takes an assignment."""
    return {"accept": {"lease_ids": [lease_id]}}


# Makes a message about a lease.
About = Callable[[str], Sent]
Then = Callable[[Scene, Stream, str, str], Awaitable[Outcome]]


async def running_attempt(scene: Scene, who: str = "worker") -> tuple[Stream, str, str]:
    """A stream with an attempt that runs and whose first beat is in the log, the lease, and the job."""
    queue = scene.fresh("queue")
    job_id = await scene.create(queue)
    stream = Stream(scene, scene.fresh("worker"), who)
    await stream.hello(queues=[queue])
    lease_id = (await stream.until("assignments")).assignments.items[0].lease_id
    await stream.answer(accept(lease_id), "accept_ack")
    await stream.answer(report(lease_id, started={}), "report_ack")
    before, tail = scene.position, Tail(scene.plane.store)
    await stream.answer(beat(lease_id, count=1), "heartbeat_ack")
    assert await tail.wait(before, WITHIN_S), "the first beat was not written down"
    tail.close()
    return stream, lease_id, job_id


def running(then: Then) -> Send:
    """Do something on a stream with an attempt that runs: with the stream, the lease and the job."""

    async def send(scene: Scene) -> Outcome:
        stream, lease_id, job_id = await running_attempt(scene)
        scene.mark()
        try:
            return await then(scene, stream, lease_id, job_id)
        finally:
            stream.close()

    return send


def first(*messages: Sent, who: str = "worker") -> Send:
    """A stream that begins with these messages, and how it ends."""

    async def send(scene: Scene) -> Outcome:
        if len(messages) == 1:
            return await scene.call(CONNECT, *messages, who=who)
        stream = Stream(scene, "", who)
        for message in messages:
            await stream.say(message)
        return await stream.ending()

    return send


def said(make: About, kind: str = "nothing") -> Send:
    """One message about a lease that is held. Where the stream lives on, the lease must be held still."""

    async def then(scene: Scene, stream: Stream, lease_id: str, job_id: str) -> Outcome:
        outcome = await stream.answer(make(lease_id), kind)
        if outcome.open:
            again = await stream.answer(beat(lease_id), "heartbeat_ack")
            assert (again.reason, again.open) == ("", True), f"the lease is not held any more: {again}"
        return outcome

    return running(then)


def after(*messages: About, kind: str = "report_ack") -> Send:
    """Several messages about a lease, each answered; the answer to the last is judged, and what it wrote."""

    async def then(scene: Scene, stream: Stream, lease_id: str, job_id: str) -> Outcome:
        outcome = Outcome(code="OK")
        for make in messages:
            scene.mark()
            outcome = await stream.answer(make(lease_id), kind)
        return outcome

    return running(then)


def over(make: About, kind: str) -> Send:
    """A message about a lease that is over: its job was ended."""

    async def then(scene: Scene, stream: Stream, lease_id: str, job_id: str) -> Outcome:
        await scene.ask("JobService.TerminateJobs", {"items": [{"id": job_id}]})
        scene.mark()
        return await stream.answer(make(lease_id), kind)

    return running(then)


def stolen(make: About, kind: str, who: str = "other-worker") -> Send:
    """A message about somebody else's lease; the one who holds it notices nothing."""

    async def then(scene: Scene, stream: Stream, lease_id: str, job_id: str) -> Outcome:
        thief = Stream(scene, scene.fresh("thief"), who)
        try:
            await thief.hello()
            outcome = await thief.answer(make(lease_id), kind)
        finally:
            thief.close()
        again = await stream.answer(beat(lease_id), "heartbeat_ack")
        assert again.reason == "", "the lease was taken from its holder"
        return outcome

    return running(then)
