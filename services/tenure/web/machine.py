"""A machine that asks for work over HTTP: one stream of WorkerService.Connect, held on its behalf.

It asks, beats and reports in requests of its own. Between two questions it is not to be given anything, so
its stream has no free slot (`Capacity`) but while it asks. What it holds is leases like everybody's: they run out when
it is not heard of, and what it says of one that is over changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from google.rpc import code_pb2

from tenure.runtime.calls import Channel, Metadata
from tenure.runtime.clock import Clock
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tenure.web.conversation import Conversation
from tenure.web.failures import unacceptable

# Leases that are over, of which a machine may still speak.
MAX_ENDED = 64
PROTOCOL_VERSION = 1
AGENT_VERSION = "http"

HELD = pb.LEASE_STATE_HELD


class Records(Protocol):
    """What is read besides calling RPCs. Only after the machine's stream is open, which shows that it may serve the
    queue.
    """

    async def job(self, job_id: str, queue: str) -> job_pb2.Job | None:
        """A job of the queue with its updates, attempts and resolved application."""

    async def unclaimed(self, worker_id: str, queue: str) -> list[pb.HeldLease]:
        """Leases of the queue that a worker of this id held before the server was started."""


@dataclass(slots=True, kw_only=True)
class Held:
    """An attempt that a machine runs. `count` are its beats, `cancelled` says that the machine is to be told so."""

    lease_id: str
    job_id: str
    attempt: int
    count: int = 0
    cancelled: bool = False


class Machine:
    """One machine: its stream, and the attempts it runs, by job."""

    def __init__(
        self,
        *,
        channel: Channel,
        records: Records,
        clock: Clock,
        spawn: Callable[[Conversation], None],
        machine_id: str,
        queue: str,
        metadata: Metadata,
        incarnation: str,
    ) -> None:
        self.queue = queue
        self.held: dict[str, Held] = {}
        self.used_ns = clock.monotonic_ns()
        self._channel = channel
        self._records = records
        self._clock = clock
        self._spawn = spawn
        self._id = machine_id
        self._metadata = metadata
        self._incarnation = incarnation
        self._ended: dict[str, Held] = {}
        self._conversation: Conversation | None = None
        self._opening = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._wishes = 0
        self._drained = False
        self._known = False

    @property
    def asking(self) -> bool:
        """It waits for a job, or for its stream to be opened."""
        return self._asking.locked() or self._opening.locked()

    @property
    def busy(self) -> bool:
        """It holds something, or is asking."""
        return bool(self.held) or self.asking

    async def ask(self, wait_s: float) -> tuple[pb.Assignment, job_pb2.Job] | None:
        """A job for the machine: its own from here on, and written down as begun; None: there is none now.

        Raises:
            CallFailed: the machine may not serve this queue, or the server cannot answer now.
        """
        async with self._asking:
            conversation = await self.open()
            if self._drained:
                return None
            self._wishes = 1
            try:
                self._resize(conversation)
                assignment = await conversation.assignment(wait_s)
            finally:
                self._wishes = 0
            self._resize(conversation)
            if assignment is None or not await self._begin(conversation, assignment):
                return None
        job = await self._records.job(assignment.job_id, self.queue)
        return (assignment, job) if job is not None else None

    async def beat(self, job_id: str) -> str:
        """The machine runs this job still; `running`, or `canceled` when it is to stop it.

        Raises:
            CallFailed: there is no such job here, or the server cannot answer now.
        """
        conversation = await self.open()
        held = self.held.get(job_id)
        if held is None:
            await self._check_exists(job_id)
            return "canceled"
        if held.cancelled:
            # It stops its command now and reports nothing any more, so that is done for it.
            await self._report(conversation, held, released_report("its machine was told to stop it"))
            return "canceled"
        held.count += 1
        beat = pb.Beat(lease_id=held.lease_id, count=held.count, stage=job_pb2.ATTEMPT_STAGE_RUN)
        state = await conversation.beat(beat)
        if state == HELD:
            return "running"
        self._end(held)
        self._resize(conversation)
        return "canceled"

    async def report(self, job_id: str, outcome: pb.Report.Item) -> bool:
        """The machine has finished this job; whether that counts.

        Raises:
            CallFailed: there is no such job here, or the server cannot answer now.
        """
        conversation = await self.open()
        held = self.held.get(job_id) or self._ended.get(job_id)
        if held is None:
            await self._check_exists(job_id)
            return False
        return await self._report(conversation, held, outcome)

    async def open(self) -> Conversation:
        """The machine's stream, opened if there is none.

        Raises:
            CallFailed: it is not let in.
        """
        self.used_ns = self._clock.monotonic_ns()
        async with self._opening:
            if self._conversation is None or self._conversation.ended:
                self._conversation = await self._open()
            return self._conversation

    async def close(self) -> None:
        """Say goodbye; leases stay what they are."""
        if self._conversation is not None:
            self._conversation.close()

    async def _open(self) -> Conversation:
        if not self._known:
            # After a start of the server: what the machine runs is in the log, and it is asked for nothing here.
            for lease in await self._records.unclaimed(self._id, self.queue):
                self.held[lease.job_id] = Held(lease_id=lease.lease_id, job_id=lease.job_id, attempt=lease.attempt)
        hello = pb.Hello(
            worker_id=self._id,
            incarnation=self._incarnation,
            protocol_version=PROTOCOL_VERSION,
            queues=[self.queue],
            slots=len(self.held) + self._wishes,
            allowed_roots=["/"],
            leases=[
                pb.HeldLease(lease_id=held.lease_id, job_id=held.job_id, attempt=held.attempt)
                for held in self.held.values()
            ],
            agent_version=AGENT_VERSION,
            labels={"door": "http"},
        )
        conversation = Conversation(self._channel, self._metadata, self._told)
        self._spawn(conversation)
        welcome = await conversation.hello(hello)
        for verdict in welcome.leases:
            if not verdict.keep:
                self._end_lease(verdict.lease_id)
        if not self._known:
            for held in self.held.values():
                held.count = await self._beats(held.job_id)
        self._known = True
        return conversation

    async def _begin(self, conversation: Conversation, assignment: pb.Assignment) -> bool:
        """Accept an assignment and report it started: the machine does both by taking the job."""
        lease_id = assignment.lease_id
        if await conversation.accept(lease_id) != HELD:
            return False
        held = Held(lease_id=lease_id, job_id=assignment.job_id, attempt=assignment.attempt)
        # Before it is reported, so that an order to stop that comes first finds it.
        self.held[held.job_id] = held
        self._ended.pop(held.job_id, None)
        ack = await conversation.report(pb.Report.Item(lease_id=lease_id, started=pb.Started()))
        if ack.state != HELD:
            self._end(held)
            self._resize(conversation)
            return False
        return True

    async def _report(self, conversation: Conversation, held: Held, outcome: pb.Report.Item) -> bool:
        outcome.lease_id = held.lease_id
        outcome.last_beat.count = held.count
        # First, or the slot that this sets free would be given away.
        self._resize(conversation, less=self.held.get(held.job_id) is held)
        ack = await conversation.report(outcome)
        self._end(held)
        return ack.state == HELD

    def _resize(self, conversation: Conversation, *, less: bool = False) -> None:
        """Have as many slots as attempts, and one more while the machine asks."""
        slots = len(self.held) + self._wishes - less
        conversation.say(pb.ConnectRequest(capacity=pb.Capacity(slots=slots)))

    def _told(self, conversation: Conversation, message: pb.ConnectResponse) -> None:
        """What the server says on its own account."""
        match message.WhichOneof("message"):
            case "stop":
                for item in message.stop.items:
                    if item.reason == pb.STOP_REASON_LEASE_REVOKED:
                        self._end_lease(item.lease_id)
                        self._resize(conversation)
                        stopped = pb.Report.Item(lease_id=item.lease_id, stopped=pb.Stopped())
                        conversation.say(pb.ConnectRequest(report=pb.Report(items=[stopped])))
                    elif item.reason == pb.STOP_REASON_CANCEL_REQUESTED:
                        self._cancel(item.lease_id)
            case "drain":
                self._drained = True
                if message.drain.release:
                    for held in self.held.values():
                        held.cancelled = True
            case _:
                pass

    def _cancel(self, lease_id: str) -> None:
        for held in self.held.values():
            if held.lease_id == lease_id:
                held.cancelled = True

    def _end_lease(self, lease_id: str) -> None:
        for held in list(self.held.values()):
            if held.lease_id == lease_id:
                self._end(held)

    def _end(self, held: Held) -> None:
        """The attempt is over; its machine may repeat what it said."""
        if self.held.get(held.job_id) is held:
            del self.held[held.job_id]
        self._ended.pop(held.job_id, None)
        self._ended[held.job_id] = held
        while len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    async def _check_exists(self, job_id: str) -> None:
        if job_id not in self._ended and await self._records.job(job_id, self.queue) is None:
            raise unacceptable(code_pb2.NOT_FOUND, "JOB_NOT_FOUND", "there is no such job in this container group")

    async def _beats(self, job_id: str) -> int:
        job = await self._records.job(job_id, self.queue)
        return job.attempts[-1].num_heartbeats if job is not None and job.attempts else 0


def failed_report() -> pb.Report.Item:
    """A machine says that a job failed; it says no more."""
    return pb.Report.Item(failed=pb.Failed(stage=job_pb2.ATTEMPT_STAGE_RUN, message="reported by its machine"))


def succeeded_report() -> pb.Report.Item:
    """A machine says that a job is complete."""
    return pb.Report.Item(succeeded=pb.Succeeded())


def released_report(reason: str) -> pb.Report.Item:
    """A job is given back."""
    return pb.Report.Item(released=pb.Released(reason=reason))
