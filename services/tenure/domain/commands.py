"""What can be asked of a job. Spans and times are integers of microseconds."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.domain.events import Stage, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What was last heard of an attempt; `count` is cumulative, `at_us` the server's wall time of the last beat."""

    count: int
    at_us: int
    stage: Stage = Stage.UNSPECIFIED
    progress: float | None = None
    progress_message: str = ""
    transfer: Transfer = Transfer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Give the job to a worker. `lease_id` becomes the id of the JobAssigned event."""

    lease_id: str
    worker_id: str
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Take an assignment back: the worker does not take it, or not in time."""

    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The worker is about to start the command."""

    lease_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write down the last beat of an attempt."""

    lease_id: str
    beat: Beat


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The attempt failed."""

    lease_id: str
    stage: Stage
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """Exit code 0 and everything stored."""

    lease_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The worker gives the attempt back."""

    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireLease:
    """The worker was not heard of for `silence_us`. `mass`: many leases ran out at once, so the job is no suspect."""

    lease_id: str
    silence_us: int
    mass: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend:
    """Add time."""

    requested_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """End the job for its owner; a running one may save its work for `grace_us`."""

    reason: str = ""
    grace_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """End the job as operator."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Do what is due by now, and nothing else."""


WorkerCommand = Decline | Start | Record | Fail | Succeed | Release | ExpireLease
Command = Assign | WorkerCommand | Extend | Terminate | Halt | Tick
