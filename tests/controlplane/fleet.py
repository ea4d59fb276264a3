"""A control plane without its transport, and workers that speak its protocol by hand.

Everything runs on the test's loop: a memory store, an injected clock, and sessions that are plain calls.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from types import TracebackType

from google.protobuf.message import Message

from tenure.controlplane.call import BadMessage
from tenure.controlplane.handler import Handler, Step
from tenure.controlplane.pages import Pages
from tenure.controlplane.tokens import Identity
from tenure.controlplane.worker_service import WorkerService
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Refused
from tenure.domain.job import Job
from tenure.runtime.ids import Ids
from tenure.store.memory import MemoryStore
from tenure.store.store import Store
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.fakes import FakeClock, SequenceIds

HELD = pb.LEASE_STATE_HELD
LOST = pb.LEASE_STATE_LOST
SECOND_US = 1_000_000


def worker_identity(subject: str = "fleet", queues: tuple[str, ...] = ()) -> Identity:
    return Identity(principal=f"worker:{subject}", role="worker", subject=subject, queues=queues)


class FakeCall:
    """What the transport would give; keeps what is sent. While `blocked` is clear, sending waits."""

    rpc = "WorkerService.Connect"
    deadline: float | None = None
    peer = "test"

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.sent: list[pb.ConnectResponse] = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, message: Message) -> None:
        await self.open.wait()
        assert isinstance(message, pb.ConnectResponse)
        copy = pb.ConnectResponse()
        copy.CopyFrom(message)
        self.sent.append(copy)


class Stream:
    """The messages of one stream, as the service reads them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[pb.ConnectRequest | BadMessage | None] = asyncio.Queue()

    def put(self, message: pb.ConnectRequest | BadMessage | None) -> None:
        self._queue.put_nowait(message)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> pb.ConnectRequest | BadMessage:
        message = await self._queue.get()
        if message is None:
            raise StopAsyncIteration
        return message


class FakeWorker:
    """A worker by hand: `connect`, then say things and look at what came back.

    With `accepting` it accepts every assignment at once.
    """

    def __init__(
        self,
        plane: Plane,
        worker_id: str,
        *,
        slots: int = 1,
        queues: Iterable[str] = ("default",),
        identity: Identity | None = None,
        incarnation: str = "one",
        roots: Iterable[str] = (),
        accepting: bool = True,
    ) -> None:
        self.plane = plane
        self.id = worker_id
        self.hello = pb.Hello(
            worker_id=worker_id,
            incarnation=incarnation,
            protocol_version=1,
            queues=queues,
            slots=slots,
            allowed_roots=roots,
        )
        self.identity = identity or worker_identity()
        self.accepting = accepting
        self.counts: dict[str, int] = {}
        self.call = FakeCall(self.identity)
        self.stream = Stream()
        self.task: asyncio.Task[None] | None = None
        self._read = 0

    async def connect(self, held: Iterable[pb.Assignment] = (), *, settle: bool = True) -> pb.Welcome:
        """Open a new stream that names these leases; returns the Welcome."""
        self.call = FakeCall(self.identity)
        self.stream = Stream()
        self._read = 0
        hello = pb.Hello()
        hello.CopyFrom(self.hello)
        for one in held:
            hello.leases.add(lease_id=one.lease_id, job_id=one.job_id, attempt=one.attempt)
        self.stream.put(pb.ConnectRequest(hello=hello))
        self.task = self.plane.group.create_task(self._run(self.stream, self.call))
        if settle:
            await self.plane.settle()
        return self.call.sent[0].welcome if self.call.sent else pb.Welcome()

    async def _run(self, stream: Stream, call: FakeCall) -> None:
        with suppress(Refused):
            await self.plane.service.connect(stream, call)

    async def refused(self, *messages: pb.ConnectRequest | BadMessage) -> Refused:
        """Open a stream that says this; returns how the server ends it."""
        stream = Stream()
        for message in messages:
            stream.put(message)
        try:
            async with asyncio.timeout(5):
                await self.plane.service.connect(stream, self.call)
        except Refused as refused:
            return refused
        raise AssertionError("the stream was not refused")

    async def vanish(self) -> None:
        """The stream ends without a word."""
        self.stream.put(None)
        await self.plane.settle()

    async def say(self, message: pb.ConnectRequest | BadMessage) -> list[pb.ConnectResponse]:
        """Send a message; returns what has come since the last time."""
        self.stream.put(message)
        await self.plane.settle()
        return self.heard()

    def heard(self) -> list[pb.ConnectResponse]:
        """What has come since the last time."""
        fresh = self.call.sent[self._read :]
        self._read = len(self.call.sent)
        return fresh

    @property
    def assignments(self) -> list[pb.Assignment]:
        """All assignments of this stream."""
        return [item for message in self.call.sent for item in message.assignments.items]

    @property
    def stops(self) -> list[pb.Stop.Item]:
        """All orders to stop of this stream."""
        return [item for message in self.call.sent for item in message.stop.items]

    @property
    def deadlines(self) -> list[int]:
        """All deadlines told of on this stream, in microseconds."""
        return [
            item.expires_at.ToMicroseconds() for message in self.call.sent for item in message.deadline_changed.items
        ]

    async def accept(self, *leases: str) -> list[pb.AcceptAck.Item]:
        answers = await self.say(pb.ConnectRequest(accept=pb.Accept(lease_ids=leases)))
        return [item for answer in answers for item in answer.accept_ack.items]

    async def decline(self, lease_id: str, reason: str = "no room") -> None:
        item = pb.Decline.Item(lease_id=lease_id, reason=reason)
        await self.say(pb.ConnectRequest(decline=pb.Decline(items=[item])))

    async def beat(self, *leases: str) -> list[pb.HeartbeatAck.Item]:
        beats = []
        for lease_id in leases:
            self.counts[lease_id] = self.counts.get(lease_id, 0) + 1
            beats.append(pb.Beat(lease_id=lease_id, count=self.counts[lease_id], stage=job_pb2.ATTEMPT_STAGE_RUN))
        answers = await self.say(pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=beats)))
        return [item for answer in answers for item in answer.heartbeat_ack.items]

    async def report(self, *items: pb.Report.Item) -> list[pb.ReportAck.Item]:
        answers = await self.say(pb.ConnectRequest(report=pb.Report(items=items)))
        return [item for answer in answers for item in answer.report_ack.items]

    async def start(self, *leases: str) -> list[pb.ReportAck.Item]:
        """Accept and report started."""
        await self.accept(*leases)
        return await self.report(*(started(lease_id) for lease_id in leases))


def started(lease_id: str) -> pb.Report.Item:
    return pb.Report.Item(lease_id=lease_id, started=pb.Started())


def succeeded(lease_id: str) -> pb.Report.Item:
    return pb.Report.Item(lease_id=lease_id, succeeded=pb.Succeeded())


def stopped(lease_id: str) -> pb.Report.Item:
    return pb.Report.Item(lease_id=lease_id, stopped=pb.Stopped())


def released(lease_id: str, reason: str = "drain") -> pb.Report.Item:
    return pb.Report.Item(lease_id=lease_id, released=pb.Released(reason=reason))


def failed(lease_id: str, exit_code: int = 1) -> pb.Report.Item:
    return pb.Report.Item(lease_id=lease_id, failed=pb.Failed(stage=job_pb2.ATTEMPT_STAGE_RUN, exit_code=exit_code))


class Plane:
    """A control plane on a memory store, from `start` to `stop`; may be started anew on the same store."""

    def __init__(self, *, clock: FakeClock | None = None, ids: Ids | None = None, store: Store | None = None) -> None:
        self.clock = clock or FakeClock(rounds=40)
        self.ids = ids or SequenceIds()
        self.store = store or MemoryStore()
        self.group = asyncio.TaskGroup()
        self._runner: asyncio.Task[None] | None = None
        self._made = 0
        self._boot()

    def _boot(self) -> None:
        self.handler = Handler(self.store, self.clock, self.ids)
        self.service = WorkerService(
            handler=self.handler, store=self.store, clock=self.clock, ids=self.ids, pages=Pages(b"secret of the tests")
        )

    async def __aenter__(self) -> Plane:
        await self.group.__aenter__()
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.crash()
        await self.group.__aexit__(kind, error, trace)

    async def _start(self) -> None:
        await self.handler.load()
        self._runner = self.group.create_task(self.service.run())
        await self.service.loaded.wait()

    async def crash(self) -> None:
        """The process is gone: its memory and its streams with it. What is in the store stays."""
        await self.service.drain()
        assert self._runner is not None
        self._runner.cancel()
        await self.settle()
        await self.handler.finish()

    async def restart(self) -> None:
        """Another process takes over the store."""
        await self.crash()
        self._boot()
        await self._start()

    async def settle(self) -> None:
        await self.clock.settle()

    async def create(self, count: int = 1, **changes: object) -> list[str]:
        """Create jobs; `changes` are fields of JobCreated, or of its terms."""
        event = job_created(**changes)
        events = []
        for _ in range(count):
            self._made += 1
            digest = hashlib.sha256(str(self._made).encode()).digest()
            events.append(replace(event, specification_digest=digest))
        executed = await self.handler.create(events, actor="user:someone")
        return [job.id for job in executed.jobs if isinstance(job, Job)]

    async def job(self, job_id: str) -> Job:
        """A job as the log has it."""
        return (await self.store.load_jobs([job_id]))[job_id].job

    async def do(self, job_id: str, command: c.Command) -> Job:
        """Carry out a command of a user."""
        executed = await self.handler.execute([Step(job_id=job_id, command=command)], actor="user:someone")
        job = executed.jobs[0]
        assert isinstance(job, Job)
        return job

    async def events(self, job_id: str) -> list[e.RecordedEvent]:
        """The events of a job."""
        return await self.store.read_stream(e.job_stream(job_id), 0, 10_000)

    async def types(self, job_id: str) -> list[str]:
        """The types of a job's events, in order."""
        return [type(event.payload).__name__ for event in await self.events(job_id)]


def job_created(**changes: object) -> e.JobCreated:
    terms = e.Terms()
    fields = {name: value for name, value in changes.items() if name in e.Terms.__slots__}
    others = {name: value for name, value in changes.items() if name not in fields}
    specification = job_pb2.JobSpecification(command="/bin/true", queue=str(changes.get("queue", "default")))
    event = e.JobCreated(
        specification=specification.SerializeToString(),
        specification_digest=b"",
        allow_duplicate=True,
        created_by="someone",
        project="",
        queue="default",
        priority=0,
        terms=replace(terms, **fields),  # type: ignore[arg-type]
        command="/bin/true",
        arguments=(),
    )
    return replace(event, **others)  # type: ignore[arg-type]


@asynccontextmanager
async def fleet(
    plane: Plane, count: int, make: Callable[[int], FakeWorker] | None = None
) -> AsyncIterator[list[FakeWorker]]:
    """So many workers, connected at once."""
    workers = [make(index) if make else FakeWorker(plane, f"worker-{index:03}") for index in range(count)]
    for worker in workers:
        await worker.connect(settle=False)
    await plane.settle()
    yield workers
