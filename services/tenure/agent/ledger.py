"""The worker's side of the protocol: what it holds, what it owes, and what every message of the server changes.

No sockets, threads or waiting: messages go in with the instant of their arrival, and `take` gives what is to be sent
now. What is owed is state, not a queue, so a broken stream loses nothing: after `reset` the same debts are simply
unsent again, and at most one message of each kind is ever waiting.
"""

from __future__ import annotations

from collections.abc import Callable

from tenure.agent.assignment import Assignment, instant_us, span_ns
from tenure.agent.holding import Holding, Owed, Standing, messages_of
from tenure.agent.lease import Lease
from tenure.agent.outcome import Outcome, StopCause, StopOrder, Stopped, kind_of, to_item
from tenure.runtime.logs import get_logger
from tenure.v1 import errors_pb2, worker_service_pb2
from tenure.v1.worker_service_pb2 import ConnectRequest

log = get_logger("ledger")

NS = 1_000_000_000
RESEND_NS = 10 * NS
IDLE_BEAT_NS = 15 * NS
LONGEST_TOGETHER_NS = NS // 10
_ANY_KIND = worker_service_pb2.REPORT_KIND_UNSPECIFIED
# Reasons to stop that leave the lease as it is; with any other it is over.
_ORDERS = (worker_service_pb2.STOP_REASON_CANCEL_REQUESTED, worker_service_pb2.STOP_REASON_EXPIRING)


class Ledger:
    """All leases of a worker. Instants are nanoseconds of one monotonic clock."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Make an empty ledger.

        Args:
            wake: called when there may be something to send.
        """
        self._wake = wake
        self._held: dict[str, Holding] = {}
        self._declined: dict[str, str] = {}
        # `stopped` of leases under which nothing was begun; on a new stream it is enough that Hello does not name them.
        self._never_begun: dict[str, Owed] = {}
        self._idle_beat_ns = 0
        self._unanswered_ns: int | None = None
        # Offset of the server's wall clock to our monotonic one; None: not known yet.
        self._server_offset_us: int | None = None

    # What the worker does.

    def add(self, assignment: Assignment, now_ns: int) -> Holding | None:
        """Note an assignment that has arrived; None: it is known already (the server repeated it)."""
        known = self._held.get(assignment.lease_id)
        if known is not None:
            known.accept_sent_ns = None
            self._wake()
            return None
        lease = Lease(length_ns=assignment.lease_ns, now_ns=now_ns)
        interval_ns = lease.interval_ns(assignment.heartbeat_ns)
        holding = Holding(assignment, lease, interval_ns=interval_ns, deadline_us=assignment.expires_at_us)
        self._held[assignment.lease_id] = holding
        return holding

    def accept(self, holding: Holding) -> None:
        """The worker takes it."""
        if holding.standing is Standing.OFFERED:
            holding.standing = Standing.ACCEPTED
            self._wake()

    def decline(self, lease_id: str, reason: str) -> None:
        """The worker does not take it; the server need not hear of it twice."""
        self._held.pop(lease_id, None)
        self._declined[lease_id] = reason
        self._wake()

    def announce_started(self, holding: Holding) -> None:
        """Report `started`; `holding.started` says when that was acknowledged."""
        holding.owe_started()
        self._wake()

    def finish(self, holding: Holding, outcome: Outcome) -> None:
        """Report an outcome; `holding.settled` says when nothing is owed any more."""
        holding.owe_outcome(Stopped() if holding.over else outcome)
        self._wake()

    def remove(self, holding: Holding) -> None:
        """Forget an assignment."""
        self._held.pop(holding.assignment.lease_id, None)

    def get(self, lease_id: str) -> Holding | None:
        """The assignment with this lease, if it is in hand."""
        return self._held.get(lease_id)

    def holdings(self) -> list[Holding]:
        """Everything in hand, oldest first."""
        return list(self._held.values())

    def deadline_ns(self, holding: Holding) -> int | None:
        """The job's deadline on the monotonic clock, by the server's wall clock; None: none, or not known."""
        if holding.deadline_us is None or self._server_offset_us is None:
            return None
        return (holding.deadline_us - self._server_offset_us) * 1000

    def shortest_lease_ns(self) -> int | None:
        """Length of the shortest lease in hand; None: there is none."""
        return min((holding.lease.length_ns for holding in self._held.values()), default=None)

    # The stream.

    def held_leases(self) -> list[worker_service_pb2.HeldLease]:
        """What Hello says of them: all that are in hand or have still to be reported."""
        return [
            worker_service_pb2.HeldLease(lease_id=lease_id, job_id=h.assignment.job_id, attempt=h.assignment.attempt)
            for lease_id, h in self._held.items()
        ]

    def reset(self, now_ns: int) -> None:
        """A new stream begins: nothing has been said on it."""
        self._declined.clear()
        self._never_begun.clear()
        self._unanswered_ns = None
        self._idle_beat_ns = now_ns + IDLE_BEAT_NS
        for holding in self._held.values():
            holding.accept_sent_ns = None
            holding.lease.forget_beats()
            if holding.owed is not None:
                holding.owed.sent_ns = None

    def welcome(self, message: worker_service_pb2.Welcome, asked_ns: int, now_ns: int) -> None:
        """The server's verdict on every lease that Hello, sent at `asked_ns`, has named."""
        if message.HasField("server_time"):
            self._server_offset_us = instant_us(message.server_time) - now_ns // 1000
        for verdict in message.leases:
            holding = self._held.get(verdict.lease_id)
            if holding is None:
                continue
            if not verdict.keep:
                self._lose(holding, now_ns, verdict.message or "the server has given the job away")
                continue
            holding.lease.kept(asked_ns, span_ns(verdict.lease))
            holding.move_deadline(instant_us(verdict.expires_at) if verdict.HasField("expires_at") else None)
            holding.next_beat_ns = now_ns
            holding.listener()
        self._wake()

    def take(self, now_ns: int) -> list[ConnectRequest]:
        """What is to be sent now; it counts as sent."""
        requests = []
        accepts = [h for h in self._held.values() if h.standing is Standing.ACCEPTED and _due(h.accept_sent_ns, now_ns)]
        if accepts:
            for holding in accepts:
                holding.accept_sent_ns = now_ns
            leases = [holding.assignment.lease_id for holding in accepts]
            requests.append(ConnectRequest(accept=worker_service_pb2.Accept(lease_ids=leases)))
        if self._declined:
            items = [
                worker_service_pb2.Decline.Item(lease_id=lease_id, reason=reason)
                for lease_id, reason in self._declined.items()
            ]
            self._declined.clear()
            requests.append(ConnectRequest(decline=worker_service_pb2.Decline(items=items)))
        owed_now = (*(holding.owed for holding in self._held.values()), *self._never_begun.values())
        reports = [owed for owed in owed_now if owed is not None and _due(owed.sent_ns, now_ns)]
        if reports:
            for owed in reports:
                owed.sent_ns = now_ns
            requests += messages_of(reports)
        beats = self._beats(now_ns)
        if beats or now_ns >= self._idle_beat_ns:
            self._idle_beat_ns = now_ns + IDLE_BEAT_NS
            if self._unanswered_ns is None:
                self._unanswered_ns = now_ns
            requests.append(ConnectRequest(heartbeat=worker_service_pb2.Heartbeat(beats=beats)))
        return requests

    def due_ns(self) -> int:
        """When `take` has something to give, at the latest."""
        due = [self._idle_beat_ns]
        for holding in self._held.values():
            if holding.standing is Standing.ACCEPTED:
                due.append(0 if holding.accept_sent_ns is None else holding.accept_sent_ns + RESEND_NS)
            if holding.beating:
                due.append(holding.next_beat_ns)
            if holding.owed is not None:
                due.append(0 if holding.owed.sent_ns is None else holding.owed.sent_ns + RESEND_NS)
        due += (0 if owed.sent_ns is None else owed.sent_ns + RESEND_NS for owed in self._never_begun.values())
        return 0 if self._declined else min(due)

    @property
    def unanswered_ns(self) -> int | None:
        """Since when a heartbeat has waited for an answer; None: it does not."""
        return self._unanswered_ns

    # What the server says.

    def accept_acknowledged(self, message: worker_service_pb2.AcceptAck, now_ns: int) -> None:
        """HELD: begin. LOST: forget it."""
        for item in message.items:
            holding = self._held.get(item.lease_id)
            if holding is None or holding.standing is not Standing.ACCEPTED:
                continue
            if item.state != worker_service_pb2.LEASE_STATE_HELD:
                self._forget(holding, now_ns, "the server took the assignment back")
                continue
            holding.standing = Standing.HELD
            holding.next_beat_ns = now_ns
            if item.HasField("expires_at"):
                holding.move_deadline(instant_us(item.expires_at))
            holding.listener()
        self._wake()

    def heartbeat_acknowledged(self, message: worker_service_pb2.HeartbeatAck, now_ns: int) -> None:
        """HELD: the lease counts anew from the sending of the beat. LOST: stop."""
        self._unanswered_ns = None
        for item in message.items:
            holding = self._held.get(item.lease_id)
            if holding is None or holding.over:
                continue
            if item.state != worker_service_pb2.LEASE_STATE_HELD:
                # With an outcome on its way, the answer to that report decides: it may have ended the lease itself.
                if holding.outcome is None:
                    self._lose(holding, now_ns, "the server no longer knows the lease")
                continue
            holding.lease.beat_acknowledged()
            if item.HasField("next_interval"):
                holding.interval_ns = holding.lease.interval_ns(span_ns(item.next_interval))
                holding.next_beat_ns = holding.beat_sent_ns + holding.interval_ns
            holding.move_deadline(instant_us(item.expires_at) if item.HasField("expires_at") else None)
            holding.listener()
        self._wake()

    def report_acknowledged(self, message: worker_service_pb2.ReportAck, now_ns: int) -> None:
        """HELD: it counts. Anything else: it does not, and the lease is over."""
        for item in message.items:
            if item.kind in (worker_service_pb2.REPORT_KIND_STOPPED, _ANY_KIND):
                self._never_begun.pop(item.lease_id, None)
            holding = self._held.get(item.lease_id)
            if holding is None or holding.owed is None or item.kind not in (holding.owed.kind, _ANY_KIND):
                continue
            counts = item.state == worker_service_pb2.LEASE_STATE_HELD and not item.error
            if holding.owed.kind == worker_service_pb2.REPORT_KIND_STOPPED:
                holding.settle()
            elif not counts:
                log.warning(
                    "report_refused",
                    job_id=holding.assignment.job_id,
                    attempt=holding.assignment.attempt,
                    kind=worker_service_pb2.ReportKind.Name(holding.owed.kind),
                    error=reason_name(item.error),
                )
                self._lose(holding, now_ns, "the server no longer knows the lease")
            elif holding.owed.kind == worker_service_pb2.REPORT_KIND_STARTED:
                holding.owed = None
                holding.started = True
                if item.HasField("expires_at"):
                    holding.move_deadline(instant_us(item.expires_at))
                holding.listener()
            else:
                holding.settle()
        self._wake()

    def stop(self, message: worker_service_pb2.Stop, now_ns: int) -> None:
        """The server wants attempts stopped."""
        for item in message.items:
            holding = self._held.get(item.lease_id)
            if holding is None:
                if item.reason not in _ORDERS:
                    self._owe_stopped(item.lease_id)
                continue
            match item.reason:
                case worker_service_pb2.STOP_REASON_CANCEL_REQUESTED:
                    cause, reason = StopCause.CANCEL, item.message or "the job was cancelled"
                case worker_service_pb2.STOP_REASON_EXPIRING:
                    cause, reason = StopCause.EXPIRE, item.message or "the job's time is ending"
                case _:
                    # A reason of a later version: the careful reading is that the lease is over.
                    self._lose(holding, now_ns, item.message or "the server ended the job")
                    continue
            grace_ns = span_ns(item.grace) if item.HasField("grace") else None
            holding.order(
                StopOrder(cause=cause, at_ns=now_ns, reason=reason, grace_ns=grace_ns, deadline_us=holding.deadline_us)
            )
        self._wake()

    def deadlines_changed(self, message: worker_service_pb2.DeadlineChanged) -> None:
        """Deadlines moved."""
        for item in message.items:
            holding = self._held.get(item.lease_id)
            if holding is not None:
                holding.move_deadline(instant_us(item.expires_at) if item.HasField("expires_at") else None)

    def _beats(self, now_ns: int) -> list[worker_service_pb2.Beat]:
        beating = [holding for holding in self._held.values() if holding.beating]
        if not any(holding.next_beat_ns <= now_ns for holding in beating):
            return []
        beats = []
        for holding in beating:
            # What is due within a tenth of its interval travels along, so that many attempts need few messages.
            if holding.next_beat_ns > now_ns + min(holding.interval_ns // 10, LONGEST_TOGETHER_NS):
                continue
            holding.count += 1
            holding.beat_sent_ns = now_ns
            holding.next_beat_ns = now_ns + holding.interval_ns
            holding.lease.beat_sent(now_ns)
            seen = holding.observe()
            beats.append(
                worker_service_pb2.Beat(
                    lease_id=holding.assignment.lease_id,
                    count=holding.count,
                    stage=holding.stage,
                    progress=seen.progress,
                    sync=seen.sync,
                )
            )
        return beats

    def _forget(self, holding: Holding, now_ns: int, reason: str) -> None:
        """Nothing was begun, and nothing is owed."""
        self.remove(holding)
        holding.settled = True
        holding.lose(now_ns, reason)

    def _owe_stopped(self, lease_id: str) -> None:
        """Nothing runs under it. The server may think otherwise: it may have told an earlier stream that it is held, or
        was started anew and takes every lease for accepted; then it keeps the slot until it hears this."""
        self._never_begun[lease_id] = Owed(item=to_item(lease_id, Stopped()), kind=kind_of(Stopped()))

    def _lose(self, holding: Holding, now_ns: int, reason: str) -> None:
        if holding.standing is Standing.OFFERED:
            self._forget(holding, now_ns, reason)
            self._owe_stopped(holding.assignment.lease_id)
            return
        done = holding.outcome is not None and not holding.over
        holding.lose(now_ns, reason)
        if done and not holding.settled:
            # The attempt has already ended; only the server does not count it.
            holding.owe_outcome(Stopped())


def _due(sent_ns: int | None, now_ns: int) -> bool:
    return sent_ns is None or now_ns >= sent_ns + RESEND_NS


def reason_name(reason: errors_pb2.ErrorReason.ValueType) -> str:
    """Name of a reason without its prefix; a number where this version does not know it."""
    try:
        return errors_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    except ValueError:
        return str(reason)
