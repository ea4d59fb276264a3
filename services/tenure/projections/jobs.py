"""What a job is found by: the job's value → the columns of its row."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from tenure.domain.events import Outcome
from tenure.domain.job import Job, Origin
from tenure.domain.states import Phase, State, shown

# Numbers that stand for states in rows and indexes. They are stored: never renumbered.
STATES: dict[State, int] = {
    State.IN_QUEUE: 1,
    State.RUNNING: 2,
    State.CANCELING: 3,
    State.SUCCESS: 4,
    State.FAILURE: 5,
    State.EXPIRED: 6,
}

# This is on the way of every commit, and to look a member up in its enum, or to hash it, would cost more than the rest.
_QUEUED, _STOPPING, _FINAL = Phase.QUEUED, Phase.STOPPING, Phase.FINAL
_SHOWN_LIVE = [0, *(STATES[shown(phase, None)] for phase in sorted(Phase) if phase is not _FINAL)]
_SHOWN_FINAL = [STATES[shown(_FINAL, None)], *(STATES[shown(_FINAL, outcome)] for outcome in sorted(Outcome))]


class JobColumns(NamedTuple):
    """What changes in a job's row and is searched.

    `place` (minus its priority) is set while the job waits for a worker, `leased` while an attempt holds a lease;
    `due_us` is the next instant at which time alone concerns it.
    """

    state: int
    live: bool
    place: int | None
    not_before_us: int | None
    leased: int | None
    due_us: int | None
    expires_us: int | None


def columns_of(job: Job) -> JobColumns:
    """The columns of a job."""
    phase = job.phase
    if phase is _FINAL:
        return JobColumns(_SHOWN_FINAL[job.outcome or 0], False, None, None, None, None, None)
    return JobColumns(
        _SHOWN_LIVE[phase],
        True,
        -job.origin.priority if phase is _QUEUED else None,
        job.not_before_us,
        None if job.lease is None else 1,
        due_of(job),
        job.expires_us,
    )


def due_of(job: Job) -> int | None:
    """The earliest instant, passed or not, at which time alone concerns the job: while it waits the end of its wait
    for a retry or its deadline, while it has a worker the stop signal before its deadline, then the end of its grace.
    """
    phase, expires_us = job.phase, job.expires_us
    if phase is _FINAL:
        return None
    if phase is _STOPPING:
        return job.stop_until_us
    if phase is _QUEUED:
        not_before_us = job.not_before_us
        if not_before_us is None or expires_us is None:
            return expires_us if not_before_us is None else not_before_us
        return min(not_before_us, expires_us)
    return None if expires_us is None else job.stop_signal_us


def twin_of(origin: Origin) -> int:
    """A signed 64-bit number that is the same for jobs of one owner with one specification (and, by a rare accident,
    for others: compare)."""
    owner = b"\0".join((origin.created_by.encode(), origin.project.encode(), origin.specification_digest))
    return int.from_bytes(hashlib.blake2b(owner, digest_size=8).digest(), "big", signed=True)


def are_twins(one: Origin, other: Origin) -> bool:
    """Whether two jobs have the same owner and the same specification."""
    return (
        one.specification_digest == other.specification_digest
        and one.created_by == other.created_by
        and one.project == other.project
    )
