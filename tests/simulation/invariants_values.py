"""Values that histories made by hand consist of: instants, events, tokens. Times are seconds of virtual time."""

from __future__ import annotations

import base64
import struct
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tenure.domain import events as e
from tenure.v1 import job_service_pb2
from tenure.v1 import worker_service_pb2 as pb

WALL_US = 1_700_000_000_000_000
NS = 1_000_000_000
CreatedItem = job_service_pb2.CreateJobsResponse.Item
LEASE_S = 20
ALLOCATION_S = 600
HELD, LOST = pb.LEASE_STATE_HELD, pb.LEASE_STATE_LOST
JOB, WORKER, LEASE = "job-1", "worker-1", "lease-1"
TERMS = e.Terms(
    time_allocation_us=ALLOCATION_S * 1_000_000,
    basis=e.Basis.STARTED,
    max_time_allocation_us=3_600_000_000,
    heartbeat_interval_us=LEASE_S * 500_000,
    termination_grace_period_us=5_000_000,
)


def ns(seconds: float) -> int:
    return round(seconds * NS)


def us(seconds: float) -> int:
    """An instant of the wall clock."""
    return WALL_US + round(seconds * 1_000_000)


def instant(seconds: float) -> Timestamp:
    return Timestamp(seconds=us(seconds) // 1_000_000, nanos=us(seconds) % 1_000_000 * 1000)


def span(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=round(seconds % 1 * NS))


def token(position: int) -> str:
    return base64.urlsafe_b64encode(struct.pack(">B8sIQQ8s", 1, b"", 1, position, position, b"") + bytes(16)).decode()


def created(**changes: Any) -> e.JobCreated:
    fields: dict[str, Any] = {
        "specification": b"",
        "specification_digest": b"digest",
        "allow_duplicate": True,
        "created_by": "client-0",
        "project": "",
        "queue": "default",
        "priority": 0,
        "terms": TERMS,
        "command": "true",
        "arguments": (),
    }
    return e.JobCreated(**(fields | changes))


def assigned(attempt: int = 1, worker_id: str = WORKER, lease_id: str = LEASE) -> e.JobAssigned:
    return e.JobAssigned(lease_id=lease_id, attempt=attempt, worker_id=worker_id, lease_us=LEASE_S * 1_000_000)


def of_lease(kind: type[Any], lease_id: str = LEASE, attempt: int = 1, worker_id: str = WORKER, **fields: Any) -> Any:
    return kind(lease_id=lease_id, attempt=attempt, worker_id=worker_id, **fields)


def started(at_s: float, **names: Any) -> e.JobStarted:
    event: e.JobStarted = of_lease(e.JobStarted, deadline_us=us(at_s + ALLOCATION_S), **names)
    return event


def failed(**names: Any) -> e.AttemptFailed:
    event: e.AttemptFailed = of_lease(e.AttemptFailed, stage=e.Stage.RUN, exit_code=1, **names)
    return event


def expired(silence_s: float, **names: Any) -> e.LeaseExpired:
    event: e.LeaseExpired = of_lease(e.LeaseExpired, silence_us=round(silence_s * 1_000_000), **names)
    return event


def beat(count: int, at_s: float, lease_id: str = LEASE, attempt: int = 1) -> e.JobHeartbeat:
    return e.JobHeartbeat(lease_id=lease_id, attempt=attempt, count=count, last_beat_us=us(at_s))


def requeued(cause: e.RequeueCause, at_s: float, attempt: int = 1, worker_id: str = WORKER) -> e.JobRequeued:
    banned = us(at_s) + TERMS.ban_us if cause is e.RequeueCause.FAILED else None
    return e.JobRequeued(cause=cause, attempt=attempt, worker_id=worker_id, reason="it was", banned_until_us=banned)


def terminated(outcome: e.Outcome, attempt: int = 1) -> e.JobTerminated:
    return e.JobTerminated(outcome=outcome, reason="", attempt=attempt)
