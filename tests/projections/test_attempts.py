from __future__ import annotations

import pytest

from tenure.domain import events as e
from tenure.projections.attempts import ENDS, advance, begin
from tenure.projections.rows import AttemptRow

ASSIGNED = e.JobAssigned(lease_id="l", attempt=3, worker_id="w", lease_us=60)
ROW = begin(ASSIGNED, 100)
RUNNING = advance(ROW, e.JobStarted(lease_id="l", attempt=3, worker_id="w"), 110)


def test_an_assignment_begins_an_attempt() -> None:
    assert AttemptRow(number=3, lease_id="l", worker_id="w", assigned_us=100) == ROW


def test_a_start_is_noted() -> None:
    assert (RUNNING.started_us, RUNNING.stage, RUNNING.end) == (110, e.Stage.RUN, "")


def test_beats_are_cumulative() -> None:
    copied = e.Transfer(bytes_downloaded=5, bytes_uploaded=6)
    row = advance(
        RUNNING,
        e.JobHeartbeat(lease_id="l", attempt=3, count=4, last_beat_us=1, stage=e.Stage.SYNC_AFTER, transfer=copied),
        120,
    )
    assert (row.beats, row.stage, row.bytes_downloaded, row.bytes_uploaded) == (4, e.Stage.SYNC_AFTER, 5, 6)
    row = advance(row, e.JobHeartbeat(lease_id="l", attempt=3, count=3, last_beat_us=1, transfer=copied), 130)
    assert (row.beats, row.stage) == (4, e.Stage.SYNC_AFTER)


def test_a_failure_says_how() -> None:
    row = advance(
        RUNNING,
        e.AttemptFailed(
            lease_id="l", attempt=3, worker_id="w", stage=e.Stage.SYNC_AFTER, signal=9, oom=True, message="oom"
        ),
        150,
    )
    assert (row.end, row.ended_us, row.exit_code, row.signal, row.oom) == ("AttemptFailed", 150, None, 9, True)
    assert (row.message, row.stage) == ("oom", e.Stage.SYNC_AFTER)


@pytest.mark.parametrize(
    ("event", "end", "message"),
    [
        (e.AttemptReleased(lease_id="l", attempt=3, worker_id="w", reason="drain"), "AttemptReleased", "drain"),
        (
            e.AssignmentDeclined(lease_id="l", attempt=3, worker_id="w", reason="full", passed_over_until_us=1),
            "AssignmentDeclined",
            "full",
        ),
        (
            e.LeaseExpired(lease_id="l", attempt=3, worker_id="w", silence_us=60_400_000),
            "LeaseExpired",
            "no heartbeat for 60 s",
        ),
    ],
)
def test_other_ends_say_why(event: e.Payload, end: str, message: str) -> None:
    row = advance(ROW, event, 150)
    assert (row.end, row.message, row.ended_us) == (end, message, 150)


@pytest.mark.parametrize("outcome", e.Outcome)
def test_an_attempt_ends_with_its_job(outcome: e.Outcome) -> None:
    row = advance(RUNNING, e.JobTerminated(outcome=outcome, reason="r", attempt=3), 200)
    assert (row.end, row.ended_us, row.message) == (ENDS[outcome], 200, "r")
    assert row.exit_code == (0 if outcome is e.Outcome.COMPLETED else None)


def test_what_does_not_concern_it_changes_nothing() -> None:
    assert advance(RUNNING, e.JobExtended(requested_us=1), 150) == RUNNING
