"""What an event makes of the attempt it belongs to: row + event → row."""

from __future__ import annotations

from dataclasses import replace

from tenure.domain import events as e
from tenure.projections.rows import AttemptRow

# How an attempt ended that was live when its job ended.
ENDS: dict[e.Outcome, str] = {
    e.Outcome.COMPLETED: "Completed",
    e.Outcome.CANCELLED: "Cancelled",
    e.Outcome.FAILED: "Failed",
    e.Outcome.LOST: "Lost",
    e.Outcome.EXPIRED: "Expired",
    e.Outcome.SYSTEM: "Stopped",
}


def begin(event: e.JobAssigned, time_us: int) -> AttemptRow:
    """The attempt that an assignment begins."""
    return AttemptRow(number=event.attempt, lease_id=event.lease_id, worker_id=event.worker_id, assigned_us=time_us)


def advance(row: AttemptRow, event: e.Payload, time_us: int) -> AttemptRow:
    """The live attempt after an event of its job; events that do not concern it leave it as it is."""
    match event:
        case e.JobStarted():
            return replace(row, started_us=time_us, stage=e.Stage.RUN)
        case e.JobHeartbeat():
            return replace(
                row,
                beats=max(row.beats, event.count),
                stage=event.stage or row.stage,
                bytes_downloaded=event.transfer.bytes_downloaded,
                bytes_uploaded=event.transfer.bytes_uploaded,
            )
        case e.AttemptFailed():
            return replace(
                _end(row, event, time_us, event.message),
                stage=event.stage or row.stage,
                exit_code=event.exit_code,
                signal=event.signal,
                oom=event.oom,
            )
        case e.AttemptReleased() | e.AssignmentDeclined():
            return _end(row, event, time_us, event.reason)
        case e.LeaseExpired():
            return _end(row, event, time_us, f"no heartbeat for {event.silence_us // 1_000_000} s")
        case e.JobTerminated():
            completed = event.outcome is e.Outcome.COMPLETED
            return replace(
                row,
                ended_us=time_us,
                end=ENDS[event.outcome],
                exit_code=0 if completed else None,
                message=event.reason,
            )
        case _:
            return row


def _end(row: AttemptRow, event: e.Payload, time_us: int, message: str) -> AttemptRow:
    return replace(row, ended_us=time_us, end=type(event).__name__, message=message)
