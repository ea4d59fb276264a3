"""A ledger that a test plays with: messages go in and come out by name, at the instant that the test names."""

from __future__ import annotations

from typing import Any

from tenure.agent.assignment import decode
from tenure.agent.holding import Holding
from tenure.agent.ledger import Ledger
from tenure.v1 import errors_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.fake_server import HELD, assignment, span


class Book:
    """A ledger, and the instant it is asked at."""

    def __init__(self) -> None:
        self.woken = 0
        self.ledger = Ledger(self.wake)
        self.now = 0
        self.ledger.reset(0)

    def wake(self) -> None:
        self.woken += 1

    def take(self) -> dict[str, Any]:
        """What is to be sent now, by kind."""
        sent = self.ledger.take(self.now)
        kinds = [request.WhichOneof("message") or "" for request in sent]
        assert len(set(kinds)) == len(kinds)
        return {kind: getattr(request, kind) for kind, request in zip(kinds, sent, strict=True)}

    def offer(self, lease_id: str = "a", *, lease_s: float = 60, beat_s: float = 30) -> Holding:
        holding = self.ledger.add(decode(assignment(lease_id, lease_s=lease_s, beat_s=beat_s)), self.now)
        assert holding is not None
        return holding

    def held(self, lease_id: str = "a", *, lease_s: float = 60, beat_s: float = 30) -> Holding:
        holding = self.offer(lease_id, lease_s=lease_s, beat_s=beat_s)
        self.ledger.accept(holding)
        self.take()
        self.accept_ack(lease_id)
        return holding

    def accept_ack(self, lease_id: str, state: pb.LeaseState.ValueType = HELD) -> None:
        items = [pb.AcceptAck.Item(lease_id=lease_id, state=state)]
        self.ledger.accept_acknowledged(pb.AcceptAck(items=items), self.now)

    def beat_ack(self, *lease_ids: str, state: pb.LeaseState.ValueType = HELD, next_s: float | None = None) -> None:
        interval = span(next_s) if next_s is not None else None
        items = [pb.HeartbeatAck.Item(lease_id=each, state=state, next_interval=interval) for each in lease_ids]
        self.ledger.heartbeat_acknowledged(pb.HeartbeatAck(items=items), self.now)

    def stop(self, lease_id: str = "a", reason: pb.StopReason.ValueType = pb.STOP_REASON_LEASE_REVOKED) -> None:
        self.ledger.stop(pb.Stop(items=[pb.Stop.Item(lease_id=lease_id, reason=reason)]), self.now)

    def report_ack(self, kind: str, state: pb.LeaseState.ValueType = HELD, error: int = 0, lease_id: str = "a") -> None:
        number = pb.ReportKind.Value(f"REPORT_KIND_{kind.upper()}")
        item = pb.ReportAck.Item(lease_id=lease_id, state=state, kind=number)
        item.error = errors_pb2.ErrorReason.ValueType(error)
        self.ledger.report_acknowledged(pb.ReportAck(items=[item]), self.now)
