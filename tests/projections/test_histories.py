from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.domain import events as e
from tenure.projections.histories import NO_MARKS, Marks, mark, tell
from tenure.projections.updates import SHOWN
from tests.store.making import created_event

KINDS: list[type[e.Payload]] = [
    e.JobAssigned,
    e.AssignmentDeclined,
    e.JobStarted,
    e.JobHeartbeat,
    e.JobExtended,
    e.AttemptFailed,
    e.JobRequeued,
    e.CancelRequested,
]


def marked(*kinds: type[e.Payload], start: Marks = NO_MARKS, version: int = 0) -> Marks:
    marks = start
    for kind in kinds:
        version += 1
        marks = mark(marks, version, kind)
    return marks


def stream(*payloads: e.Payload) -> list[e.RecordedEvent]:
    return [
        e.RecordedEvent(
            position=100 + version,
            stream="job/a",
            version=version,
            event_id=str(version),
            time_us=1_000 + version,
            actor="server",
            request_id="",
            request_digest=b"",
            payload=payload,
        )
        for version, payload in enumerate(payloads, start=1)
    ]


def assigned(attempt: int) -> e.JobAssigned:
    return e.JobAssigned(lease_id=f"l{attempt}", attempt=attempt, worker_id=f"w{attempt}", lease_us=60)


def started(attempt: int) -> e.JobStarted:
    return e.JobStarted(lease_id=f"l{attempt}", attempt=attempt, worker_id=f"w{attempt}")


def test_only_what_is_shown_and_what_tells_an_attempt_is_marked() -> None:
    kinds = (e.JobCreated, e.JobExtended, e.JobAssigned, e.JobHeartbeat, e.JobHeartbeat, e.JobStarted, e.JobExtended)
    assert marked(*kinds).versions() == [1, 3, 5, 6]


def test_a_job_that_was_never_given_out_has_little_to_keep() -> None:
    assert marked(e.JobCreated, e.JobExtended, e.JobTerminated).versions() == [1, 3]
    assert marked(e.JobCreated, e.JobTerminated).attempts == b""


def test_what_comes_after_the_end_of_an_attempt_is_not_its() -> None:
    whole = marked(e.JobCreated, e.JobAssigned, e.JobStarted, e.AttemptFailed, e.JobRequeued, e.JobTerminated)
    assert whole.attempts == marked(e.JobCreated, e.JobAssigned, e.JobStarted, e.AttemptFailed).attempts


@given(kinds=st.lists(st.sampled_from(KINDS), max_size=60))
def test_marks_come_back_from_their_bytes(kinds: list[type[e.Payload]]) -> None:
    marks = marked(e.JobCreated, *kinds)
    assert Marks.from_bytes(marks.to_bytes()) == marks


@given(kinds=st.lists(st.sampled_from(KINDS), max_size=3000))
def test_marks_are_bounded(kinds: list[type[e.Payload]]) -> None:
    marks = marked(e.JobCreated, *kinds * 5)
    shown = 1 + 5 * sum(kind in SHOWN for kind in kinds)
    assert len(marks.updates) // 4 + marks.left_out == shown
    assert len(marks.updates) <= 4 * 1000
    assert len(marks.attempts) <= 16 * 100


def test_the_first_ten_and_the_last_990_updates_stay() -> None:
    marks = marked(*[e.JobRequeued] * 1500)
    assert marks.versions() == [*range(1, 11), *range(511, 1501)]
    assert marks.left_out == 500


def test_the_first_ten_and_the_last_90_attempts_stay() -> None:
    marks = marked(*[e.JobAssigned, e.AssignmentDeclined] * 300)
    kept = [*range(1, 11), *range(211, 301)]
    assert marks.versions() == [version for number in kept for version in (2 * number - 1, 2 * number)]


def test_a_history_is_told_from_its_events() -> None:
    events = stream(
        created_event("a"),
        assigned(1),
        e.JobHeartbeat(lease_id="l1", attempt=1, count=2, last_beat_us=5),
        started(1),
        e.AttemptFailed(lease_id="l1", attempt=1, worker_id="w1", stage=e.Stage.RUN, exit_code=3),
        e.JobRequeued(cause=e.RequeueCause.FAILED, attempt=1, worker_id="w1", reason="exit code 3"),
        assigned(2),
        started(2),
        e.CancelRequested(reason="", until_us=9),
        e.JobTerminated(outcome=e.Outcome.CANCELLED, reason="", attempt=2),
    )
    marks = marked(*(type(event.payload) for event in events))
    named = [event for event in events if event.version in marks.versions()]
    assert tell(marks, named) == tell(marks, events)
    updates, attempts = tell(marks, named)
    assert [(line.position, line.attempt, line.worker_id) for line in updates] == [
        (101, 0, ""),
        (104, 1, "w1"),
        (106, 1, "w1"),
        (108, 2, "w2"),
        (109, 2, "w2"),
        (110, 2, "w2"),
    ]
    assert [(row.number, row.worker_id, row.end, row.exit_code, row.beats) for row in attempts] == [
        (1, "w1", "AttemptFailed", 3, 2),
        (2, "w2", "Cancelled", None, 0),
    ]
    assert [(row.assigned_us, row.started_us, row.ended_us) for row in attempts] == [
        (1_002, 1_004, 1_005),
        (1_007, 1_008, 1_010),
    ]


def test_an_end_without_a_live_attempt_names_no_worker() -> None:
    events = stream(
        created_event("a"),
        assigned(1),
        e.AttemptReleased(lease_id="l1", attempt=1, worker_id="w1", reason="drain"),
        e.JobRequeued(cause=e.RequeueCause.RELEASED, attempt=1, worker_id="w1", reason="drain"),
        e.JobTerminated(outcome=e.Outcome.CANCELLED, reason=""),
    )
    updates, _ = tell(marked(*(type(event.payload) for event in events)), events)
    assert (updates[-1].attempt, updates[-1].worker_id) == (0, "")


@pytest.mark.parametrize("attempts", [101, 250])
def test_what_belonged_to_an_attempt_that_is_left_out_falls_on_no_other(attempts: int) -> None:
    payloads: list[e.Payload] = [created_event("a")]
    for number in range(1, attempts + 1):
        payloads += [
            assigned(number),
            started(number),
            e.AttemptReleased(lease_id=f"l{number}", attempt=number, worker_id=f"w{number}", reason=f"r{number}"),
            e.JobRequeued(cause=e.RequeueCause.RELEASED, attempt=number, worker_id=f"w{number}", reason=f"r{number}"),
        ]
    events = stream(*payloads)
    marks = marked(*(type(event.payload) for event in events))
    updates, rows = tell(marks, [event for event in events if event.version in marks.versions()])
    assert [row.number for row in rows] == [*range(1, 11), *range(attempts - 89, attempts + 1)]
    assert all(row.message == f"r{row.number}" for row in rows)
    assert len(updates) == 1 + 2 * attempts
    assert all(line.worker_id == f"w{line.attempt}" for line in updates[1:])
