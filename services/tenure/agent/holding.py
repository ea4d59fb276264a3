"""One assignment in the worker's hands: its lease, what the worker owes to the server for it, and its orders.

Everything here is state and rules, without waiting: the attempt that does the work is told of every change through
`listener`, and looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tenure.agent.assignment import Assignment
from tenure.agent.lease import Lease
from tenure.agent.outcome import Outcome, StopCause, StopOrder, kind_of, to_item
from tenure.agent.output import OutputRing
from tenure.v1 import job_pb2, worker_service_pb2

# A message of reports is closed when it has so many bytes: far below what servers take.
REPORT_BYTES = 1024 * 1024


class Standing(Enum):
    """How far the server and the worker are agreed about an assignment."""

    OFFERED = "offered"  # not answered: the worker waits for a free slot or folder
    ACCEPTED = "accepted"  # Accept is owed or on its way
    HELD = "held"  # the server confirmed it
    OVER = "over"  # lost; once it is quiet, `stopped` is owed


@dataclass(slots=True)
class Observation:
    """What an attempt says of itself in a beat."""

    progress: job_pb2.Progress | None = None
    sync: job_pb2.SyncCounters | None = None


@dataclass(slots=True)
class Owed:
    """A report that is not acknowledged yet; `sent_ns` is None until it was sent on the present stream."""

    item: worker_service_pb2.Report.Item
    kind: worker_service_pb2.ReportKind.ValueType
    sent_ns: int | None = None


def _silent() -> None:
    pass


@dataclass(slots=True)
class Holding:
    """An assignment from its arrival until nothing is owed for it.

    Attributes:
        count: beats sent so far, over all streams.
        interval_ns: how often to beat, as last heard from the server.
        beat_sent_ns: sending of the last one.
        next_beat_ns: when the next one is due.
        deadline_us: end of the job's time as last heard; None: none.
        started: the server acknowledged `started`: the command may be executed.
        outcome: what the attempt came to, once it is known.
        settled: nothing is owed any more.
        output: what its command prints; closed once that is all, also where none was started.
        observe: asked for each beat.
        listener: called after every change.
    """

    assignment: Assignment
    lease: Lease
    standing: Standing = Standing.OFFERED
    stage: job_pb2.AttemptStage.ValueType = job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
    count: int = 0
    interval_ns: int = 0
    beat_sent_ns: int = 0
    next_beat_ns: int = 0
    deadline_us: int | None = None
    accept_sent_ns: int | None = None
    started: bool = False
    outcome: Outcome | None = None
    owed: Owed | None = None
    settled: bool = False
    output: OutputRing = field(default_factory=OutputRing)
    orders: dict[StopCause, StopOrder] = field(default_factory=dict)
    observe: Callable[[], Observation] = Observation
    listener: Callable[[], None] = _silent

    @property
    def beating(self) -> bool:
        """Beats are sent for it: until its outcome is acknowledged, so that a slow server does not lose it."""
        return self.standing is Standing.HELD and not self.settled

    @property
    def over(self) -> bool:
        """The lease is lost: nothing more may be started or written."""
        return self.standing is Standing.OVER

    def order(self, order: StopOrder) -> None:
        """Tell the attempt to stop; the first order of each cause stands."""
        if order.cause not in self.orders:
            self.orders[order.cause] = order
            self.listener()

    def lose(self, now_ns: int, reason: str) -> None:
        """The server said that the lease is over."""
        self.lease.lose()
        if self.standing is not Standing.OVER:
            self.standing = Standing.OVER
            # What is said of a lost lease counts for nothing; only `stopped` is awaited.
            self.owed = None
        self.order(StopOrder(cause=StopCause.LOST, at_ns=now_ns, reason=reason))
        self.listener()

    def move_deadline(self, deadline_us: int | None) -> None:
        """The end of the job's time is now this."""
        if deadline_us != self.deadline_us:
            self.deadline_us = deadline_us
            self.listener()

    def owe_started(self) -> None:
        """Every `before` rule is complete: ask for leave to start the command."""
        item = worker_service_pb2.Report.Item(lease_id=self.assignment.lease_id)
        item.started.SetInParent()
        self.owed = Owed(item=item, kind=worker_service_pb2.REPORT_KIND_STARTED)

    def owe_outcome(self, outcome: Outcome) -> None:
        """The attempt is over: report it until it is acknowledged, in place of whatever was owed."""
        self.outcome = outcome
        item = to_item(self.assignment.lease_id, outcome)
        seen = self.observe()
        item.last_beat.count = self.count
        if seen.sync is not None:
            item.last_beat.sync.CopyFrom(seen.sync)
        if seen.progress is not None:
            item.last_beat.progress.CopyFrom(seen.progress)
        item.output_tail = self.output.tail()
        item.output_offset = self.output.end - len(item.output_tail)
        self.owed = Owed(item=item, kind=kind_of(outcome))

    def settle(self) -> None:
        """Nothing is owed any more."""
        self.owed = None
        self.settled = True
        self.listener()


def messages_of(reports: list[Owed]) -> list[worker_service_pb2.ConnectRequest]:
    """Reports as messages, none of them large: each outcome brings the last of an output along."""
    messages: list[worker_service_pb2.ConnectRequest] = []
    room = 0
    for owed in reports:
        size = owed.item.ByteSize()
        if size > room:
            messages.append(worker_service_pb2.ConnectRequest())
            room = REPORT_BYTES
        messages[-1].report.items.append(owed.item)
        room -= size
    return messages
