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

# The number of the state that is shown, by phase and by outcome: lists, because hashing an enum is slow.
_LIVE = [0, *(STATES[shown(phase, None)] for phase in sorted(Phase) if phase is not Phase.FINAL)]
_FINAL = [STATES[shown(Phase.FINAL, None)], *(STATES[shown(Phase.FINAL, outcome)] for outcome in sorted(Outcome))]


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
    state = _FINAL[job.outcome or 0] if phase is Phase.FINAL else _LIVE[phase]
    return JobColumns(
        state,
        phase is not Phase.FINAL,
        -job.origin.priority if phase is Phase.QUEUED else None,
        job.not_before_us,
        None if job.lease is None else 1,
        due_of(job),
        job.expires_us,
    )


def due_of(job: Job) -> int | None:
    """The earliest instant, passed or not, at which time alone concerns the job: while it waits the end of its wait
    for a retry or its deadline, while it has a worker the stop signal before its deadline, then the end of its grace.
    """
    phase = job.phase
    if phase is Phase.FINAL:
        return None
    if phase is Phase.STOPPING:
        return job.stop_until_us
    if phase is Phase.QUEUED:
        if job.not_before_us is None:
            return job.expires_us
        return job.not_before_us if job.expires_us is None else min(job.not_before_us, job.expires_us)
    return None if job.expires_us is None else job.stop_signal_us


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
