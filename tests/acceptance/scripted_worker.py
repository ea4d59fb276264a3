"""A worker whose every word a test decides: `WorkerService.Connect`, spoken by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tenure.v1 import job_pb2, worker_service_pb2
from tenure.v1.worker_service_pb2 import ConnectRequest, ConnectResponse, Report
from tests.acceptance.waiting import GENEROUS_S
from tests.acceptance.worker_stream import StreamOver as StreamOver
from tests.acceptance.worker_stream import WorkerStream

T = TypeVar("T")

HELD = worker_service_pb2.LEASE_STATE_HELD
LOST = worker_service_pb2.LEASE_STATE_LOST
RUN = job_pb2.ATTEMPT_STAGE_RUN
SYNC_BEFORE = job_pb2.ATTEMPT_STAGE_SYNC_BEFORE


@dataclass
class Held:
    """An attempt that the worker has accepted: the beats it has sent and when the next is due."""

    assignment: worker_service_pb2.Assignment
    count: int = 0
    next_beat_us: int = 0

    @property
    def interval_us(self) -> int:
        return self.assignment.heartbeat_interval.ToMicroseconds()


class ScriptedWorker(WorkerStream):
    """One worker. `held` are the attempts it accepted; the world beats for them while `beats_by_itself`."""

    def __init__(
        self,
        address: str,
        token: str,
        worker_id: str,
        now_us: Callable[[], int],
        *,
        queues: Sequence[str] = ("default",),
        slots: int = 1,
        allowed_roots: Sequence[str] = (),
    ) -> None:
        super().__init__(address, token, worker_id)
        self.id = worker_id
        self.beats_by_itself = True
        self.held: dict[str, Held] = {}
        self.incarnation = f"{worker_id}-1"
        self._now_us = now_us
        self._queues = queues
        self._slots = slots
        self._allowed_roots = allowed_roots
        self._taken = 0

    # --- the stream ---------------------------------------------------------------------------------------------------

    async def connect(
        self, *, leases: Iterable[worker_service_pb2.Assignment] = (), draining: bool = False
    ) -> worker_service_pb2.Welcome:
        """Open a stream, say Hello with these leases, and wait for Welcome."""
        await self.vanish()
        start = len(self.heard)
        self.open()
        hello = worker_service_pb2.Hello(
            worker_id=self.id,
            incarnation=self.incarnation,
            protocol_version=1,
            queues=self._queues,
            slots=self._slots,
            allowed_roots=self._allowed_roots,
            leases=[
                worker_service_pb2.HeldLease(lease_id=each.lease_id, job_id=each.job_id, attempt=each.attempt)
                for each in leases
            ],
            hostname="acceptance",
            agent_version="0",
            draining=draining,
        )
        await self.say(ConnectRequest(hello=hello))

        def welcome() -> worker_service_pb2.Welcome | None:
            return next((m.welcome for m in self.heard[start:] if m.HasField("welcome")), None)

        return await self.until(welcome, "Welcome")

    async def goodbye(self, reason: str = "") -> None:
        """End the stream on purpose."""
        await self.say(ConnectRequest(goodbye=worker_service_pb2.Goodbye(reason=reason)))
        await self.done_writing()

    async def round_trip(self) -> None:
        """A beat for nothing: once it is answered, everything that the server had sent before it has arrived."""
        await self.ask(
            ConnectRequest(heartbeat=worker_service_pb2.Heartbeat()),
            lambda m: m if m.HasField("heartbeat_ack") and not m.heartbeat_ack.items else None,
            "the answer to an empty heartbeat",
        )

    # --- assignments --------------------------------------------------------------------------------------------------

    async def assignment(self, *, within_s: float = GENEROUS_S) -> worker_service_pb2.Assignment:
        """The next assignment that the test has not looked at."""
        index = self._taken
        found = await self.until(
            lambda: self.assigned[index] if len(self.assigned) > index else None, "an assignment", within_s=within_s
        )
        self._taken += 1
        return found

    def untouched(self) -> list[worker_service_pb2.Assignment]:
        """Assignments that came and that the test has not looked at."""
        return self.assigned[self._taken :]

    async def accept(self, assignment: worker_service_pb2.Assignment) -> worker_service_pb2.AcceptAck.Item:
        """Accept, and the answer."""
        lease_id = assignment.lease_id
        answer = await self.ask(
            ConnectRequest(accept=worker_service_pb2.Accept(lease_ids=[lease_id])),
            lambda m: _item(m.accept_ack.items, lease_id),
            "the answer to an accept",
        )
        if answer.state == HELD:
            held = self.held.setdefault(lease_id, Held(assignment))
            held.next_beat_us = self._now_us() + held.interval_us
        return answer

    async def decline(self, assignment: worker_service_pb2.Assignment, reason: str = "not now") -> None:
        """Decline; it is not answered."""
        item = worker_service_pb2.Decline.Item(lease_id=assignment.lease_id, reason=reason)
        await self.say(ConnectRequest(decline=worker_service_pb2.Decline(items=[item])))

    async def take(self) -> worker_service_pb2.Assignment:
        """Wait for an assignment and accept it."""
        assignment = await self.assignment()
        answer = await self.accept(assignment)
        assert answer.state == HELD
        return assignment

    async def run(self) -> worker_service_pb2.Assignment:
        """Wait for an assignment, accept it and start its command."""
        assignment = await self.take()
        answer = await self.start(assignment)
        assert answer.state == HELD, answer
        return assignment

    # --- what it says of attempts -------------------------------------------------------------------------------------

    async def beat(
        self,
        assignment: worker_service_pb2.Assignment,
        *,
        message: str = "",
        fraction: float = 0,
        stage: job_pb2.AttemptStage.ValueType = RUN,
        sync: job_pb2.SyncCounters | None = None,
    ) -> worker_service_pb2.HeartbeatAck.Item:
        """One beat for one attempt, and the answer."""
        lease_id = assignment.lease_id
        held = self.held.setdefault(lease_id, Held(assignment))
        held.count += 1
        beat = worker_service_pb2.Beat(lease_id=lease_id, count=held.count, stage=stage, sync=sync)
        if message:
            beat.progress.CopyFrom(job_pb2.Progress(fraction=fraction, message=message))
        answer = await self.ask(
            ConnectRequest(heartbeat=worker_service_pb2.Heartbeat(beats=[beat])),
            lambda m: _item(m.heartbeat_ack.items, lease_id),
            "the answer to a heartbeat",
        )
        held.next_beat_us = self._now_us() + held.interval_us
        if answer.state == LOST:
            del self.held[lease_id]
        return answer

    async def start(self, assignment: worker_service_pb2.Assignment) -> worker_service_pb2.ReportAck.Item:
        """Report `started`."""
        return await self._report(
            Report.Item(lease_id=assignment.lease_id, started=worker_service_pb2.Started()),
            worker_service_pb2.REPORT_KIND_STARTED,
        )

    async def succeed(
        self, assignment: worker_service_pb2.Assignment, *, sync: job_pb2.SyncCounters | None = None
    ) -> worker_service_pb2.ReportAck.Item:
        """Report `succeeded`."""
        item = Report.Item(lease_id=assignment.lease_id, succeeded=worker_service_pb2.Succeeded())
        if sync is not None:
            item.last_beat.sync.CopyFrom(sync)
        return await self._report(item, worker_service_pb2.REPORT_KIND_SUCCEEDED)

    async def fail(
        self,
        assignment: worker_service_pb2.Assignment,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        oom: bool = False,
        stage: job_pb2.AttemptStage.ValueType = RUN,
        message: str = "",
    ) -> worker_service_pb2.ReportAck.Item:
        """Report `failed`."""
        failed = worker_service_pb2.Failed(stage=stage, exit_code=exit_code, signal=signal, oom=oom, message=message)
        return await self._report(
            Report.Item(lease_id=assignment.lease_id, failed=failed), worker_service_pb2.REPORT_KIND_FAILED
        )

    async def release(
        self, assignment: worker_service_pb2.Assignment, reason: str
    ) -> worker_service_pb2.ReportAck.Item:
        """Report `released`."""
        return await self._report(
            Report.Item(lease_id=assignment.lease_id, released=worker_service_pb2.Released(reason=reason)),
            worker_service_pb2.REPORT_KIND_RELEASED,
        )

    async def stopped(self, assignment: worker_service_pb2.Assignment) -> worker_service_pb2.ReportAck.Item:
        """Report `stopped`."""
        return await self._report(
            Report.Item(lease_id=assignment.lease_id, stopped=worker_service_pb2.Stopped()),
            worker_service_pb2.REPORT_KIND_STOPPED,
        )

    # --- what it is told ----------------------------------------------------------------------------------------------

    def stops(self, assignment: worker_service_pb2.Assignment) -> list[worker_service_pb2.Stop.Item]:
        """The orders to stop an attempt that have come."""
        return [item for m in self.heard for item in m.stop.items if item.lease_id == assignment.lease_id]

    async def told_to_stop(
        self, assignment: worker_service_pb2.Assignment, reason: worker_service_pb2.StopReason.ValueType
    ) -> worker_service_pb2.Stop.Item:
        """Wait for the order to stop an attempt for this reason."""
        return await self.until(
            lambda: next((item for item in self.stops(assignment) if item.reason == reason), None),
            f"an order to stop: {worker_service_pb2.StopReason.Name(reason)}",
        )

    async def told_deadline(self, assignment: worker_service_pb2.Assignment, expires_ms: int) -> None:
        """Wait for the news that the deadline is now this."""

        def told() -> bool:
            items = [item for m in self.heard for item in m.deadline_changed.items]
            return any(
                item.lease_id == assignment.lease_id and item.expires_at.ToMilliseconds() == expires_ms
                for item in items
            )

        await self.until(lambda: told() or None, "a moved deadline")

    # --- the inside ---------------------------------------------------------------------------------------------------

    async def _report(
        self, item: Report.Item, kind: worker_service_pb2.ReportKind.ValueType
    ) -> worker_service_pb2.ReportAck.Item:
        def answer(m: ConnectResponse) -> worker_service_pb2.ReportAck.Item | None:
            return next((i for i in m.report_ack.items if i.lease_id == item.lease_id and i.kind == kind), None)

        held = self.held.get(item.lease_id)
        if held is not None and kind != worker_service_pb2.REPORT_KIND_STARTED:
            item.last_beat.count = held.count
        got = await self.ask(
            ConnectRequest(report=Report(items=[item])),
            answer,
            f"the answer to {worker_service_pb2.ReportKind.Name(kind)}",
        )
        if kind != worker_service_pb2.REPORT_KIND_STARTED or got.state == LOST:
            self.held.pop(item.lease_id, None)
        return got


ItemT = TypeVar("ItemT", worker_service_pb2.AcceptAck.Item, worker_service_pb2.HeartbeatAck.Item)


def _item(items: Iterable[ItemT], lease_id: str) -> ItemT | None:
    return next((item for item in items if item.lease_id == lease_id), None)
