from __future__ import annotations

import pytest

from tenure.domain import events as e
from tenure.domain.states import State
from tenure.projections.updates import SHOWN, text_of, update_of

LEASE = {"lease_id": "l", "attempt": 2, "worker_id": "w-9"}


def requeued(cause: e.RequeueCause, reason: str) -> e.JobRequeued:
    return e.JobRequeued(cause=cause, attempt=2, worker_id="w-9", reason=reason)


def terminated(outcome: e.Outcome) -> e.JobTerminated:
    return e.JobTerminated(outcome=outcome, reason="the reason")


CREATED = e.JobCreated(
    specification=b"",
    specification_digest=b"",
    allow_duplicate=True,
    created_by="u",
    project="",
    queue="q",
    priority=0,
    terms=e.Terms(),
    command="true",
    arguments=(),
)

SAID: list[tuple[e.Payload, State, str]] = [
    (CREATED, State.IN_QUEUE, "Your job is now waiting in the queue!"),
    (e.JobStarted(**LEASE), State.RUNNING, "Your job is now running!"),  # type: ignore[arg-type]
    (
        requeued(e.RequeueCause.FAILED, "exit code 1"),
        State.IN_QUEUE,
        "Attempt 2 on w-9 failed (exit code 1); trying again.",
    ),
    (
        requeued(e.RequeueCause.LOST, "no heartbeat for 60 s"),
        State.IN_QUEUE,
        "Attempt 2 on w-9 was lost (no heartbeat for 60 s); trying again.",
    ),
    (
        requeued(e.RequeueCause.RELEASED, "the worker drains"),
        State.IN_QUEUE,
        "Attempt 2 on w-9 was released (the worker drains); trying again.",
    ),
    (e.CancelRequested(reason="enough", until_us=1), State.CANCELING, "Your job is being cancelled."),
    (terminated(e.Outcome.CANCELLED), State.SUCCESS, "Your job has been cancelled!"),
    (terminated(e.Outcome.COMPLETED), State.SUCCESS, "Your job has completed successfully!"),
    (terminated(e.Outcome.FAILED), State.FAILURE, "Your job has failed: the reason"),
    (terminated(e.Outcome.LOST), State.FAILURE, "Your job has failed: the reason"),
    (terminated(e.Outcome.EXPIRED), State.EXPIRED, "Your job has expired: its time allocation is used up."),
    (terminated(e.Outcome.SYSTEM), State.FAILURE, "Your job has been stopped by the operator: the reason"),
]

UNSAID: list[e.Payload] = [
    e.JobAssigned(lease_us=1, **LEASE),  # type: ignore[arg-type]
    e.AssignmentDeclined(reason="r", passed_over_until_us=1, **LEASE),  # type: ignore[arg-type]
    e.JobHeartbeat(lease_id="l", attempt=2, count=1, last_beat_us=1),
    e.JobExtended(requested_us=1),
    e.AttemptFailed(stage=e.Stage.RUN, **LEASE),  # type: ignore[arg-type]
    e.AttemptReleased(reason="r", **LEASE),  # type: ignore[arg-type]
    e.LeaseExpired(silence_us=1, **LEASE),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("event", "state", "text"), SAID)
def test_the_text_is_exactly_so(event: e.Payload, state: State, text: str) -> None:
    assert text_of(event) == (state, text)
    assert type(event) in SHOWN


@pytest.mark.parametrize("event", UNSAID, ids=lambda event: type(event).__name__)
def test_the_rest_says_nothing(event: e.Payload) -> None:
    assert text_of(event) is None
    assert type(event) not in SHOWN


def test_a_line_has_the_place_and_time_of_its_event() -> None:
    event = e.RecordedEvent(
        position=7,
        stream="job/a",
        version=3,
        event_id="x",
        time_us=99,
        actor="server",
        request_id="",
        request_digest=b"",
        payload=terminated(e.Outcome.COMPLETED),
    )
    line = update_of(event, 2, "w-9")
    assert line is not None
    assert (line.position, line.time_us, line.attempt, line.worker_id) == (7, 99, 2, "w-9")
