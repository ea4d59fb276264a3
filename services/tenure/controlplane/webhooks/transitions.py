"""What can be announced: an event of the log → the `type` of its announcement."""

from __future__ import annotations

from tenure.domain import events as e

_ENDS: dict[e.Outcome, str] = {
    e.Outcome.COMPLETED: "job.completed",
    e.Outcome.CANCELLED: "job.cancelled",
    e.Outcome.FAILED: "job.failed",
    e.Outcome.LOST: "job.lost",
    e.Outcome.EXPIRED: "job.expired",
    e.Outcome.SYSTEM: "job.stopped",
}
_OTHERS: dict[type[e.Payload], str] = {
    e.JobCreated: "job.created",
    e.JobAssigned: "job.assigned",
    e.JobStarted: "job.running",
    e.JobExtended: "job.extended",
    e.JobRequeued: "job.requeued",
    e.CancelRequested: "job.canceling",
}

TYPES: tuple[str, ...] = (*_OTHERS.values(), *_ENDS.values())
# What changes the state that users see: announced where an endpoint does not say what.
USUAL: frozenset[str] = frozenset(TYPES) - {"job.assigned", "job.extended"}
# The names of the events that the log is to be read for.
EVENTS: frozenset[str] = frozenset(kind.__name__ for kind in (*_OTHERS, e.JobTerminated))


def type_of(payload: e.Payload) -> str:
    """The type of an event's announcement; empty: it has none."""
    if isinstance(payload, e.JobTerminated):
        return _ENDS[payload.outcome]
    return _OTHERS.get(type(payload), "")
