"""What a user is told of an event: event → one line of the job's history, or none.

The texts are part of the contract. Assignments, declined assignments, heartbeats and extensions say nothing.
"""

from __future__ import annotations

from tenure.domain import events as e
from tenure.domain.states import Phase, State, shown
from tenure.projections.rows import UpdateRow

# The types of events that add a line. A type that is missing here never shows, whatever `text_of` says.
SHOWN: frozenset[type[e.Payload]] = frozenset(
    {e.JobCreated, e.JobStarted, e.JobRequeued, e.CancelRequested, e.JobTerminated}
)


def text_of(event: e.Payload) -> tuple[State, str] | None:
    """The state and the text that an event shows; None: it shows nothing."""
    match event:
        case e.JobCreated():
            return State.IN_QUEUE, "Your job is now waiting in the queue!"
        case e.JobStarted():
            return State.RUNNING, "Your job is now running!"
        case e.JobRequeued():
            return State.IN_QUEUE, _requeued(event)
        case e.CancelRequested():
            return State.CANCELING, "Your job is being cancelled."
        case e.JobTerminated():
            return shown(Phase.FINAL, event.outcome), _terminated(event)
        case _:
            return None


def update_of(event: e.RecordedEvent, attempt: int = 0, worker_id: str = "") -> UpdateRow | None:
    """The line that an event adds, with the attempt and worker it speaks of; None: it adds none."""
    said = text_of(event.payload)
    if said is None:
        return None
    state, text = said
    return UpdateRow(
        position=event.position, time_us=event.time_us, state=state, text=text, attempt=attempt, worker_id=worker_id
    )


def spoken_of(event: e.Payload, attempt: int, worker_id: str) -> tuple[int, str]:
    """The attempt and the worker that a line speaks of, given the job's latest ones; (0, ""): none."""
    match event:
        case e.JobStarted() | e.JobRequeued():
            return event.attempt, event.worker_id
        case e.JobTerminated():
            return event.attempt, worker_id if event.attempt == attempt and attempt else ""
        case e.CancelRequested():
            return attempt, worker_id
        case _:
            return 0, ""


def _requeued(event: e.JobRequeued) -> str:
    who = f"Attempt {event.attempt} on {event.worker_id}"
    match event.cause:
        case e.RequeueCause.FAILED:
            return f"{who} failed ({event.reason}); trying again."
        case e.RequeueCause.LOST:
            return f"{who} was lost ({event.reason}); trying again."
        case e.RequeueCause.RELEASED:
            return f"{who} was released ({event.reason}); trying again."


def _terminated(event: e.JobTerminated) -> str:
    match event.outcome:
        case e.Outcome.CANCELLED:
            return "Your job has been cancelled!"
        case e.Outcome.COMPLETED:
            return "Your job has completed successfully!"
        case e.Outcome.FAILED | e.Outcome.LOST:
            return f"Your job has failed: {event.reason}"
        case e.Outcome.EXPIRED:
            return "Your job has expired: its time allocation is used up."
        case e.Outcome.SYSTEM:
            return f"Your job has been stopped by the operator: {event.reason}"
