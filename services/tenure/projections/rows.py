"""The lines of a job's history, as values: what was shown to its owner, and its attempts."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.domain.events import Stage
from tenure.domain.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRow:
    """One line of a job's history. `text` is what a person reads; `attempt` 0 and `worker_id` "": none."""

    position: int
    time_us: int
    state: State
    text: str
    attempt: int = 0
    worker_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt. `end` is the name of the event that ended it (`Completed`, `Cancelled`, `Expired`, `Stopped`,
    `Failed`, `Lost` for a JobTerminated), empty while it lives."""

    number: int
    lease_id: str
    worker_id: str
    assigned_us: int
    started_us: int | None = None
    ended_us: int | None = None
    stage: Stage = Stage.UNSPECIFIED
    end: str = ""
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    message: str = ""
    beats: int = 0
    bytes_downloaded: int = 0
    bytes_uploaded: int = 0
