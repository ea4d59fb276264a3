"""The phases of a job and the one table of what may happen in which.

`evolve` reads the table, the documentation is made from it and tests walk all of it. Everything that is not in it is
refused.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from tenure.domain import events as e


class Phase(IntEnum):
    """What the domain decides on."""

    QUEUED = 1
    ASSIGNED = 2
    RUNNING = 3
    STOPPING = 4
    FINAL = 5


class State(StrEnum):
    """What a user is shown."""

    IN_QUEUE = "IN_QUEUE"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    EXPIRED = "EXPIRED"


_Q, _A, _R, _S, _F = Phase.QUEUED, Phase.ASSIGNED, Phase.RUNNING, Phase.STOPPING, Phase.FINAL

# (phase, event) → the phase after it; None is "no job yet". The end of an attempt (failed, released, lease expired)
# leaves the phase as it is: the JobRequeued or JobTerminated of the same commit moves it.
TRANSITIONS: dict[tuple[Phase | None, type[e.JobEvent]], Phase] = {
    (None, e.JobCreated): _Q,
    (_Q, e.JobAssigned): _A,
    (_A, e.AssignmentDeclined): _Q,
    (_A, e.JobStarted): _R,
    (_A, e.JobHeartbeat): _A,
    (_R, e.JobHeartbeat): _R,
    (_S, e.JobHeartbeat): _S,
    (_Q, e.JobExtended): _Q,
    (_A, e.JobExtended): _A,
    (_R, e.JobExtended): _R,
    (_A, e.AttemptFailed): _A,
    (_R, e.AttemptFailed): _R,
    (_S, e.AttemptFailed): _S,
    (_A, e.AttemptReleased): _A,
    (_R, e.AttemptReleased): _R,
    (_S, e.AttemptReleased): _S,
    (_A, e.LeaseExpired): _A,
    (_R, e.LeaseExpired): _R,
    (_S, e.LeaseExpired): _S,
    (_A, e.JobRequeued): _Q,
    (_R, e.JobRequeued): _Q,
    (_R, e.CancelRequested): _S,
    (_Q, e.JobTerminated): _F,
    (_A, e.JobTerminated): _F,
    (_R, e.JobTerminated): _F,
    (_S, e.JobTerminated): _F,
}

# The outcomes a job may end with, phase by phase. QUEUED never completes or fails: nothing ran.
OUTCOMES: dict[Phase, frozenset[e.Outcome]] = {
    _Q: frozenset({e.Outcome.CANCELLED, e.Outcome.EXPIRED, e.Outcome.SYSTEM}),
    _A: frozenset({e.Outcome.FAILED, e.Outcome.LOST, e.Outcome.CANCELLED, e.Outcome.EXPIRED, e.Outcome.SYSTEM}),
    _R: frozenset(e.Outcome),
    _S: frozenset({e.Outcome.CANCELLED, e.Outcome.SYSTEM}),
}


def shown(phase: Phase, outcome: e.Outcome | None) -> State:
    """The state that a user is shown for a phase and, once final, its outcome."""
    match phase:
        case Phase.QUEUED | Phase.ASSIGNED:
            return State.IN_QUEUE
        case Phase.RUNNING:
            return State.RUNNING
        case Phase.STOPPING:
            return State.CANCELING
        case Phase.FINAL:
            match outcome:
                case e.Outcome.COMPLETED | e.Outcome.CANCELLED:
                    return State.SUCCESS
                case e.Outcome.EXPIRED:
                    return State.EXPIRED
                case _:
                    return State.FAILURE
