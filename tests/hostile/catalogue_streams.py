"""Rows 31 and 61 to 74: what workers say on their streams, and who says it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import grpc.aio
from google.protobuf.message import Message

from tenure.v1 import errors_pb2, job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.hostile.catalogue import Case, call
from tests.hostile.catalogue_values import INFINITY, MAX_INT32, MIN_INT32, NAN, NO_IDS, NO_NUMBER
from tests.hostile.scene import Outcome, Scene, Send, outcome_of

WITHIN_S = 10.0
CONNECT = "WorkerService.Connect"


class Stream:
    """A stream of a worker, by hand."""

    def __init__(self, scene: Scene, worker_id: str, who: str = "worker") -> None:
        self.scene = scene
        self.worker_id = worker_id
        self.call = scene.open(CONNECT, scene.metadata(who), None)

    async def say(self, message: Message | bytes) -> None:
        """Send something; a stream that has ended tells how when it is listened to."""
        raw = message if isinstance(message, bytes) else message.SerializeToString()
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(raw)

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
        """The next message of a kind; refusals too, if it is not for them that is waited."""
        while True:
            message = await self.hear()
            if message.WhichOneof("message") in (kind, "refusal"):
                return message

    async def hello(self, **fields: object) -> pb.ConnectResponse:
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

    async def answer(self, message: Message | bytes, kind: str) -> Outcome:
        """What is answered to a message: a refusal of it, an acknowledgement, or the end."""
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
    raw = (message.SerializeToString(),)
    number = errors_pb2.ERROR_REASON_UNSPECIFIED
    text, fields = "", ()
    match message.WhichOneof("message"):
        case "refusal":
            number, text, fields = message.refusal.reason, message.refusal.message, (message.refusal.field,)  # type: ignore[assignment]
        case "report_ack":
            number = message.report_ack.items[0].error
        case "heartbeat_ack" if message.heartbeat_ack.items[0].state == pb.LEASE_STATE_LOST:
            number = errors_pb2.ERROR_REASON_LEASE_LOST
        case "accept_ack" if message.accept_ack.items[0].state == pb.LEASE_STATE_LOST:
            number = errors_pb2.ERROR_REASON_LEASE_LOST
    reason = errors_pb2.ErrorReason.Name(number).removeprefix("ERROR_REASON_") if number else ""
    return Outcome(
        code="", reason=reason, message=text, fields=fields, infos=1, domains=("tenure",), said=text, answers=raw, open=True
    )  # fmt: skip


def hello(worker_id: str = "w", **fields: object) -> pb.ConnectRequest:
    """A good Hello, with these fields changed."""
    first = {"worker_id": worker_id, "incarnation": "i", "protocol_version": 1, "queues": ["nobody-here"], "slots": 1}
    return pb.ConnectRequest(hello=pb.Hello(**{**first, **fields}))  # type: ignore[arg-type]


def beat(lease_id: str, **fields: object) -> pb.ConnectRequest:
    """A beat for one lease."""
    one = pb.Beat(**{"lease_id": lease_id, "count": 2, "stage": job_pb2.ATTEMPT_STAGE_RUN, **fields})  # type: ignore[arg-type]
    return pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[one]))


def report(lease_id: str, **fields: object) -> pb.ConnectRequest:
    """A report of one lease."""
    return pb.ConnectRequest(report=pb.Report(items=[pb.Report.Item(lease_id=lease_id, **fields)]))  # type: ignore[arg-type]


SUCCEEDED = {"succeeded": pb.Succeeded()}


def failed(**fields: object) -> dict[str, object]:
    """The outcome of a failed attempt."""
    return {"failed": pb.Failed(**{"stage": job_pb2.ATTEMPT_STAGE_RUN, **fields})}  # type: ignore[arg-type]


def first(*messages: pb.ConnectRequest | bytes, who: str = "worker") -> Send:
    """A stream that begins with these messages, and how it ends."""

    async def send(scene: Scene) -> Outcome:
        stream = Stream(scene, "", who)
        for message in messages:
            await stream.say(message)
        return await stream.ending()

    return send


Then = Callable[[Scene, Stream, str], Awaitable[Outcome]]


async def _running(scene: Scene, who: str = "worker") -> tuple[Stream, str, str]:
    """A stream with an attempt that runs and whose first beat is in the log; with the lease and the job."""
    queue, worker_id = scene.fresh("queue"), scene.fresh("worker")
    job_id = await scene.create(queue)
    stream = Stream(scene, worker_id, who)
    await stream.hello(queues=[queue])
    lease_id = (await stream.until("assignments")).assignments.items[0].lease_id
    await stream.answer(pb.ConnectRequest(accept=pb.Accept(lease_ids=[lease_id])), "accept_ack")
    await stream.answer(report(lease_id, started=pb.Started()), "report_ack")
    before = scene.position
    await stream.answer(beat(lease_id, count=1), "heartbeat_ack")
    async with asyncio.timeout(WITHIN_S):
        while scene.position == before:
            await asyncio.sleep(0.001)
    return stream, lease_id, job_id


def running(then: Then) -> Send:
    """Do something on a stream with an attempt that runs."""

    async def send(scene: Scene) -> Outcome:
        stream, lease_id, _ = await _running(scene)
        scene.mark()
        try:
            return await then(scene, stream, lease_id)
        finally:
            stream.close()

    return send


def said(make: Callable[[str], pb.ConnectRequest | bytes], kind: str = "nothing") -> Send:
    """One message about a lease that is held; the stream is then asked whether it still answers, if it is to."""

    async def then(scene: Scene, stream: Stream, lease_id: str) -> Outcome:
        outcome = await stream.answer(make(lease_id), kind)
        if outcome.open:
            again = await stream.answer(beat(lease_id), "heartbeat_ack")
            assert (again.reason, again.open) == ("", True), f"the lease is not held any more: {again}"
        return outcome

    return running(then)


def after(*messages: Callable[[str], pb.ConnectRequest], kind: str = "report_ack") -> Send:
    """Several messages about a lease, each answered; the answer to the last is judged, and what it wrote."""

    async def then(scene: Scene, stream: Stream, lease_id: str) -> Outcome:
        outcome = Outcome(code="OK")
        for make in messages:
            scene.mark()
            outcome = await stream.answer(make(lease_id), kind)
        return outcome

    return running(then)


# --- leases of others, and of nobody ----------------------------------------------------------------------------------


def stolen(make: Callable[[str], pb.ConnectRequest], kind: str, who: str = "other-worker") -> Send:
    """Somebody else's lease; the one who holds it notices nothing."""

    async def send(scene: Scene) -> Outcome:
        stream, lease_id, _ = await _running(scene)
        thief = Stream(scene, scene.fresh("thief"), who)
        await thief.hello()
        scene.mark()
        try:
            outcome = await thief.answer(make(lease_id), kind)
            again = await stream.answer(beat(lease_id), "heartbeat_ack")
            assert again.reason == "", "the lease was taken from its holder"
            return outcome
        finally:
            thief.close()
            stream.close()

    return send


def over(make: Callable[[str], pb.ConnectRequest], kind: str) -> Send:
    """A lease that is over: its job was ended."""

    async def send(scene: Scene) -> Outcome:
        stream, lease_id, job_id = await _running(scene)
        from tests.hostile.catalogue_later import TERMINATE, termination

        assert (await scene.call(TERMINATE, termination(job_id).SerializeToString())).code == "OK"
        scene.mark()
        try:
            return await stream.answer(make(lease_id), kind)
        finally:
            stream.close()

    return send


async def _unknown_lease(scene: Scene) -> Outcome:
    """A worker that holds a lease which the log does not know is told to stop."""
    stream = Stream(scene, scene.fresh("worker"))
    held = pb.HeldLease(lease_id="ahead-of-the-log", job_id="standing", attempt=99)
    welcome = (await stream.hello(leases=[held])).welcome
    stream.close()
    assert [verdict.keep for verdict in welcome.leases] == [False]
    return Outcome(code="", reason="LEASE_LOST", infos=1, domains=("tenure",), open=True)


async def _two_streams(scene: Scene) -> Outcome:
    worker_id = scene.fresh("twin")
    older, newer = Stream(scene, worker_id), Stream(scene, worker_id)
    await older.hello()
    await newer.hello()
    outcome = await older.ending()
    newer.close()
    return outcome


async def _clones(scene: Scene) -> Outcome:
    worker_id = scene.fresh("clone")
    streams = []
    outcome = Outcome(code="OK")
    for number in range(40):
        stream = Stream(scene, worker_id)
        streams.append(stream)
        try:
            await stream.hello(incarnation="ab"[number % 2])
        except grpc.aio.AioRpcError as error:
            outcome = outcome_of(error)
            break
    for stream in streams:
        stream.close()
    return outcome


async def _ship(scene: Scene, *messages: pb.ShipLogsRequest, who: str = "worker") -> Outcome:
    return await scene.call("WorkerService.ShipLogs", *(each.SerializeToString() for each in messages), who=who)


def shipped(*messages: pb.ShipLogsRequest) -> Send:
    """A call that brings output."""
    return lambda scene: _ship(scene, *messages)


def _counted(**counters: int) -> Callable[[str], pb.ConnectRequest]:
    return lambda lease: beat(lease, sync=job_pb2.SyncCounters(**counters))


HELLOS: dict[str, tuple[dict[str, object], str]] = {
    "no-queue": ({"queues": []}, "hello.queues"),
    "65-queues": ({"queues": [f"q{n}" for n in range(65)]}, "hello.queues"),
    "queue": ({"queues": ["a b"]}, "hello.queues[0]"),
    "slots": ({"slots": -1}, "hello.slots"),
    "1025-slots": ({"slots": 1025}, "hello.slots"),
    "most-slots": ({"slots": MAX_INT32}, "hello.slots"),
    "65-labels": ({"labels": {f"k{n}": "" for n in range(65)}}, "hello.labels"),
    "65-roots": ({"allowed_roots": ["/a"] * 65}, "hello.allowed_roots"),
    "long-root": ({"allowed_roots": ["/" * 1025]}, "hello.allowed_roots[0]"),
    "4097-leases": ({"leases": [pb.HeldLease(lease_id="a", job_id="b")] * 4097}, "hello.leases"),
    "blank-lease": ({"leases": [pb.HeldLease()]}, "hello.leases[0].lease_id"),
    "hostname": ({"hostname": "x" * 257}, "hello.hostname"),
    "version": ({"agent_version": "x" * 65}, "hello.agent_version"),
}
BEATS: dict[str, tuple[Callable[[str], pb.ConnectRequest], str]] = {
    f"progress-{name}": (
        lambda lease, fraction=fraction: beat(lease, progress=job_pb2.Progress(fraction=fraction)),  # type: ignore[misc]
        "heartbeat.beats[0].progress.fraction",
    )
    for name, fraction in {"150": 1.5, "negative": -0.1, "nan": NAN, "infinity": INFINITY, "huge": 1e308}.items()
} | {
    "message": (lambda lease: beat(lease, progress=job_pb2.Progress(message="x" * 257)), "heartbeat.beats[0].progress.message"),
    "count-negative": (lambda lease: beat(lease, count=-1), "heartbeat.beats[0].count"),
    "count-that-no-sum-holds": (lambda lease: beat(lease, count=2**63 - 1), "heartbeat.beats[0].count"),
    "stage": (lambda lease: beat(lease, stage=NO_NUMBER), "heartbeat.beats[0].stage"),
    "blank-lease": (lambda lease: beat(""), "heartbeat.beats[0].lease_id"),
    "long-lease": (lambda lease: beat("x" * 65), "heartbeat.beats[0].lease_id"),
    "4097": (lambda lease: pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[pb.Beat(lease_id="a")] * 4097)), "heartbeat.beats"),
    "files-negative": (_counted(files_uploaded=-1), "heartbeat.beats[0].sync.files_uploaded"),
    "bytes-negative": (_counted(bytes_downloaded=-(2**63)), "heartbeat.beats[0].sync.bytes_downloaded"),
}  # fmt: skip
OUTCOMES: dict[str, tuple[dict[str, object], str]] = {
    "exit-code-256": (failed(exit_code=256), "failed.exit_code"),
    "exit-code-negative": (failed(exit_code=-1), "failed.exit_code"),
    "exit-code-largest": (failed(exit_code=MAX_INT32), "failed.exit_code"),
    "exit-code-smallest": (failed(exit_code=MIN_INT32), "failed.exit_code"),
    "signal-0": (failed(signal=0), "failed.signal"),
    "signal-65": (failed(signal=65), "failed.signal"),
    "signal-999": (failed(signal=999), "failed.signal"),
    "stage": (failed(stage=NO_NUMBER), "failed.stage"),
    "message": (failed(message="x" * 1025), "failed.message"),
    "released-for-long": ({"released": pb.Released(reason="x" * 1025)}, "released.reason"),
}
RESULTS: dict[str, tuple[dict[str, object], str]] = {
    "tail": (SUCCEEDED | {"output_tail": b"x" * 65_537}, "output_tail"),
    "offset": (SUCCEEDED | {"output_offset": -1}, "output_offset"),
    "offset-largest": (SUCCEEDED | {"output_offset": 2**63 - 1}, "output_offset"),
    "count": (SUCCEEDED | {"last_beat": pb.FinalBeat(count=-1)}, "last_beat.count"),
    "count-that-no-sum-holds": (SUCCEEDED | {"last_beat": pb.FinalBeat(count=2**63 - 1)}, "last_beat.count"),
    "progress": (SUCCEEDED | {"last_beat": pb.FinalBeat(progress=job_pb2.Progress(fraction=NAN))}, "last_beat.progress.fraction"),
    "bytes": (SUCCEEDED | {"last_beat": pb.FinalBeat(sync=job_pb2.SyncCounters(bytes_uploaded=-1))}, "last_beat.sync.bytes_uploaded"),
}  # fmt: skip


def _reported(fields: dict[str, object]) -> Callable[[str], pb.ConnectRequest]:
    return lambda lease: report(lease, **fields)


# What is said of a lease that is another's, or over.
ABOUT_A_LEASE: dict[str, tuple[Callable[[str], pb.ConnectRequest], str]] = {
    "beat": (beat, "heartbeat_ack"),
    "accept": (lambda lease: pb.ConnectRequest(accept=pb.Accept(lease_ids=[lease])), "accept_ack"),
    "started": (lambda lease: report(lease, started=pb.Started()), "report_ack"),
    "succeeded": (_reported(SUCCEEDED), "report_ack"),
    "failed": (_reported(failed()), "report_ack"),
    "released": (lambda lease: report(lease, released=pb.Released(reason="x")), "report_ack"),
}

CASES: list[Case] = [
    Case(row=31, name="nothing", send=first(pb.ConnectRequest()), reason="INVALID_FIELD", fields=("message",)),
    Case(row=31, name="nothing-later", send=said(lambda lease: pb.ConnectRequest()), reason="INVALID_FIELD", fields=("message",), open=True),
    Case(row=31, name="no-outcome", send=said(lambda lease: report(lease)), reason="INVALID_FIELD", fields=("report.items[0].outcome",), open=True),
    Case(row=31, name="the-last-of-two-counts", send=after(lambda lease: pb.ConnectRequest.FromString(hello("w").SerializeToString() + beat(lease).SerializeToString()), kind="heartbeat_ack"), open=True),
    Case(row=61, name="beat-first", send=first(beat("a")), reason="HELLO_REQUIRED", fields=("hello",)),
    Case(row=61, name="goodbye-first", send=first(pb.ConnectRequest(goodbye=pb.Goodbye())), reason="HELLO_REQUIRED", fields=("hello",)),
    Case(row=61, name="nothing-at-all", send=call(CONNECT, who="worker"), reason="HELLO_REQUIRED", fields=("hello",)),
    Case(row=61, name="hello-twice", send=first(hello("twice"), hello("twice")), reason="HELLO_REQUIRED", fields=("hello",)),
    *(
        Case(row=61, name=f"version-{number}", send=first(hello("v", protocol_version=number)), reason="PROTOCOL_UNSUPPORTED", fields=("hello.protocol_version",))
        for number in (0, 2, -1, MAX_INT32)
    ),
    *(
        Case(row=61, name=name, send=first(hello(**fields)), reason="INVALID_FIELD", fields=(path,))  # type: ignore[arg-type]
        for name, (fields, path) in HELLOS.items()
    ),
    Case(row=61, name="garbage-later", send=said(lambda lease: b"\xff\xff"), reason="MALFORMED_REQUEST"),
    *(
        Case(row=62, name=f"{field}-{name}", send=first(hello(**{field: text})), reason="INVALID_FIELD", fields=(f"hello.{field}",))  # type: ignore[arg-type]
        for field in ("worker_id", "incarnation")
        for name, text in NO_IDS.items()
    ),
    Case(row=62, name="queue-of-others", send=first(hello("b"), who="bound-worker"), reason="QUEUE_NOT_ALLOWED", fields=("hello.queues",)),
    Case(row=62, name="users-token", send=first(hello("u"), who="owner"), reason="ROLE_NOT_ALLOWED"),
    Case(row=63, name="newer", send=_two_streams, reason="SESSION_SUPERSEDED"),
    Case(row=63, name="clones", send=_clones, reason="WORKER_CLONED"),
    *(
        Case(row=64, name=name, send=stolen(make, kind), reason="LEASE_LOST", open=True)
        for name, (make, kind) in ABOUT_A_LEASE.items()
    ),
    *(
        Case(row=64, name=f"{name}-of-nobody", send=stolen(lambda lease, make=make: make("no-such-lease"), kind, "worker"), reason="LEASE_LOST", open=True)  # type: ignore[misc]
        for name, (make, kind) in ABOUT_A_LEASE.items()
    ),
    Case(row=64, name="same-token-other-worker", send=stolen(beat, "heartbeat_ack", "worker"), reason="LEASE_LOST", open=True),
    *(
        Case(row=65, name=name, send=over(make, kind), reason="LEASE_LOST", open=True)
        for name, (make, kind) in ABOUT_A_LEASE.items()
    ),
    Case(row=66, name="lease-ahead-of-the-log", send=_unknown_lease, reason="LEASE_LOST", open=True),
    Case(row=67, name="succeeded-twice", send=after(_reported(SUCCEEDED), _reported(SUCCEEDED)), open=True),
    Case(row=67, name="failed-twice", send=after(_reported(failed()), _reported(failed())), open=True),
    Case(row=67, name="stopped-twice", send=after(lambda lease: report(lease, stopped=pb.Stopped()), lambda lease: report(lease, stopped=pb.Stopped())), open=True),
    Case(row=68, name="failed-after-success", send=after(_reported(SUCCEEDED), _reported(failed())), reason="OUTCOME_CONFLICT", open=True),
    Case(row=68, name="success-after-failure", send=after(_reported(failed()), _reported(SUCCEEDED)), reason="OUTCOME_CONFLICT", open=True),
    Case(row=68, name="released-after-success", send=after(_reported(SUCCEEDED), lambda lease: report(lease, released=pb.Released())), reason="OUTCOME_CONFLICT", open=True),
    Case(row=68, name="started-after-success", send=after(_reported(SUCCEEDED), lambda lease: report(lease, started=pb.Started())), reason="LEASE_LOST", open=True),
    *(
        Case(row=70, name=name, send=said(make), reason="INVALID_FIELD", fields=(path,), open=True)
        for name, (make, path) in BEATS.items()
    ),
    Case(row=70, name="backwards", send=said(lambda lease: beat(lease, count=0, progress=job_pb2.Progress(fraction=0)), "heartbeat_ack"), open=True),
    *(
        Case(row=71, name=name, send=said(_reported(fields)), reason="INVALID_FIELD", fields=(f"report.items[0].{path}",), open=True)
        for name, (fields, path) in OUTCOMES.items()
    ),
    *(
        Case(row=72, name=name, send=said(_reported(fields)), reason="INVALID_FIELD", fields=(f"report.items[0].{path}",), open=True)
        for name, (fields, path) in RESULTS.items()
    ),
    Case(row=72, name="shipped-for-nobody", send=shipped(pb.ShipLogsRequest(lease_id="a", data=b"x")), writes=False),
    Case(row=72, name="shipped-too-much", send=shipped(pb.ShipLogsRequest(lease_id="a", data=b"x" * 65_537)), reason="INVALID_FIELD", fields=("data",)),
    Case(row=72, name="shipped-from-before-the-beginning", send=shipped(pb.ShipLogsRequest(lease_id="a", offset=-1)), reason="INVALID_FIELD", fields=("offset",)),
    Case(row=72, name="shipped-without-a-lease", send=shipped(pb.ShipLogsRequest()), reason="INVALID_FIELD", fields=("lease_id",)),
    *(
        Case(row=74, name=f"capacity-{slots}", send=said(lambda lease, slots=slots: pb.ConnectRequest(capacity=pb.Capacity(slots=slots))), reason="INVALID_FIELD", fields=("capacity.slots",), open=True)  # type: ignore[misc]
        for slots in (-1, 1025, MAX_INT32, MIN_INT32)
    ),
    Case(row=74, name="nothing-accepted", send=said(lambda lease: pb.ConnectRequest(accept=pb.Accept())), reason="INVALID_FIELD", fields=("accept.lease_ids",), open=True),
    Case(row=74, name="4097-accepted", send=said(lambda lease: pb.ConnectRequest(accept=pb.Accept(lease_ids=["a"] * 4097))), reason="INVALID_FIELD", fields=("accept.lease_ids",), open=True),
    Case(row=74, name="nothing-declined", send=said(lambda lease: pb.ConnectRequest(decline=pb.Decline())), reason="INVALID_FIELD", fields=("decline.items",), open=True),
    Case(row=74, name="nothing-reported", send=said(lambda lease: pb.ConnectRequest(report=pb.Report())), reason="INVALID_FIELD", fields=("report.items",), open=True),
    Case(row=74, name="4097-reported", send=said(lambda lease: pb.ConnectRequest(report=pb.Report(items=[pb.Report.Item(lease_id="a", succeeded=pb.Succeeded())] * 4097))), reason="INVALID_FIELD", fields=("report.items",), open=True),
]  # fmt: skip
