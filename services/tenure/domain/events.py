"""What can happen to a job or a queue. Field for field the messages of `tenure.events.v1`.

Times and spans are integers of microseconds. An event holds the decision with everything needed to replay it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Basis(IntEnum):
    """From which instant a time allocation counts."""

    NONE = 0
    CREATED = 1
    STARTED = 2


class Stage(IntEnum):
    """Where in its life an attempt is."""

    UNSPECIFIED = 0
    SYNC_BEFORE = 1
    RUN = 2
    SYNC_AFTER = 3


class Outcome(IntEnum):
    """How a job ended."""

    COMPLETED = 1
    CANCELLED = 2
    FAILED = 3
    LOST = 4
    EXPIRED = 5
    SYSTEM = 6


class RequeueCause(IntEnum):
    """Why a job waits again."""

    FAILED = 1
    LOST = 2
    RELEASED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a queue supports."""

    time_extension: bool = True
    suspension: bool = False
    logs: bool = True
    sync: bool = True
    compression: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a job lives under: its own wishes and its queue's policy, resolved once when it is created."""

    time_allocation_us: int | None = None
    basis: Basis = Basis.NONE
    max_time_allocation_us: int | None = None
    features: Features = Features()
    heartbeat_interval_us: int = 30_000_000
    max_failures: int = 3
    retry_initial_us: int = 0
    retry_maximum_us: int = 3_600_000_000
    termination_grace_period_us: int = 30_000_000
    ban_us: int = 600_000_000
    max_lost_leases: int = 5
    lost_lease_window_us: int = 600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What an attempt has copied, and how many files waited to be copied then."""

    files_downloaded: int = 0
    files_uploaded: int = 0
    bytes_downloaded: int = 0
    bytes_uploaded: int = 0
    files_pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """The parts of a specification that lists of jobs are filtered by. `labels` are pairs sorted by key."""

    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    application_name: str = ""
    application_version: str = ""
    product_id: str = ""
    product_category: str = ""
    product_provider: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCreated:
    """A job was created."""

    specification: bytes
    specification_digest: bytes
    allow_duplicate: bool
    created_by: str
    project: str
    queue: str
    priority: int
    terms: Terms
    command: str
    arguments: tuple[str, ...]
    absolute_paths: tuple[str, ...] = ()
    facets: Facets = Facets()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAssigned:
    """A job was given to a worker. `lease_id` is the id of this event, `subject` that of the worker's token; empty: not
    known, as in logs that were written before it was kept.
    """

    lease_id: str
    attempt: int
    worker_id: str
    lease_us: int
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentDeclined:
    """A worker did not take an assignment. It counts nothing."""

    lease_id: str
    attempt: int
    worker_id: str
    reason: str
    passed_over_until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """The command of a job was started."""

    lease_id: str
    attempt: int
    worker_id: str
    deadline_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHeartbeat:
    """A worker was heard of; `count` is cumulative for the attempt."""

    lease_id: str
    attempt: int
    count: int
    last_beat_us: int
    stage: Stage = Stage.UNSPECIFIED
    progress: float | None = None
    progress_message: str = ""
    transfer: Transfer = Transfer()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExtended:
    """A job got more time. A delta, so that concurrent extensions add up."""

    requested_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """An attempt failed."""

    lease_id: str
    attempt: int
    worker_id: str
    stage: Stage
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReleased:
    """An attempt was given back by its worker: an interruption, not a failure."""

    lease_id: str
    attempt: int
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseExpired:
    """A lease ran out: an interruption, not a failure."""

    lease_id: str
    attempt: int
    worker_id: str
    silence_us: int
    suspicious: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequeued:
    """A job waits again. It keeps its place in the queue."""

    cause: RequeueCause
    attempt: int
    worker_id: str
    reason: str
    not_before_us: int | None = None
    banned_until_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """A running job is being cancelled and may save its work until then."""

    reason: str
    until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTerminated:
    """A job ended. `attempt` is the one whose outcome it is; 0: none was live."""

    outcome: Outcome
    reason: str
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product that a queue serves."""

    id: str
    category: str
    provider: str
    basis: Basis = Basis.NONE
    time_extension: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfigured:
    """A queue was created or changed."""

    features: Features = Features()
    max_time_allocation_us: int | None = None
    default_time_allocation_us: int | None = None
    basis: Basis = Basis.STARTED
    products: tuple[Product, ...] = ()
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePaused:
    """A queue gives out no jobs from here on."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueResumed:
    """A queue gives out jobs again."""


JobEvent = (
    JobCreated
    | JobAssigned
    | AssignmentDeclined
    | JobStarted
    | JobHeartbeat
    | JobExtended
    | AttemptFailed
    | AttemptReleased
    | LeaseExpired
    | JobRequeued
    | CancelRequested
    | JobTerminated
)
QueueEvent = QueueConfigured | QueuePaused | QueueResumed
Payload = JobEvent | QueueEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that has been decided and has no position yet. `time_us` is wall time in microseconds."""

    event_id: str
    time_us: int
    actor: str
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event of the log. `stream` is `job/<id>` or `queue/<name>`; positions and versions count from 1."""

    position: int
    stream: str
    version: int
    event_id: str
    time_us: int
    actor: str
    request_id: str
    request_digest: bytes
    payload: Payload


def job_stream(job_id: str) -> str:
    """The stream of a job."""
    return "job/" + job_id


def queue_stream(name: str) -> str:
    """The stream of a queue."""
    return "queue/" + name
