"""What every log must satisfy, whatever happened."""

from __future__ import annotations

from collections.abc import Sequence

from tenure.events.v1 import event_pb2
from tests.acceptance.callers import type_of

ENDS = {"AssignmentDeclined", "JobRequeued", "JobTerminated"}


def assert_dense(events: Sequence[event_pb2.Event]) -> None:
    """Positions and versions have no gap and no repeat."""
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    versions: dict[str, int] = {}
    for event in events:
        versions[event.stream] = versions.get(event.stream, 0) + 1
        assert event.stream_version == versions[event.stream], event.stream
    ids = [event.event_id for event in events]
    assert len(set(ids)) == len(ids)


def assert_one_owner(events: Sequence[event_pb2.Event]) -> None:
    """Never two live leases on a job, and no word of one that is not live."""
    live: dict[str, str] = {}
    for event in events:
        kind, stream = type_of(event), event.stream
        if kind == "JobAssigned":
            assert stream not in live, f"{stream}: a second lease at position {event.position}"
            live[stream] = event.event_id
        elif kind in ("JobStarted", "JobHeartbeat", "AttemptFailed", "AttemptReleased", "LeaseExpired"):
            payload = getattr(event, event.WhichOneof("payload") or "")
            assert live.get(stream) == payload.lease_id, f"{stream}: {kind} of a dead lease at {event.position}"
        elif kind in ENDS:
            live.pop(stream, None)


def assert_ends_once(events: Sequence[event_pb2.Event]) -> None:
    """Nothing happens to a job after its end."""
    final: set[str] = set()
    for event in events:
        assert event.stream not in final, f"{event.stream}: {type_of(event)} after its end"
        if event.HasField("job_terminated"):
            final.add(event.stream)
