"""The one port to durable state: an append-only log of events and, in the same transaction, what they make of jobs and
queues.

An engine keeps these promises; the contract suite (`tests/store/contract.py`) checks each of them:

* `commit` returns only after everything is on disk. Units gather while one commit is in flight and then share one
  transaction; each unit succeeds or fails alone and as a whole. A cancelled caller does not stop a
  commit.
* Positions are 1, 2, 3 … without gaps, in the order of commits; whoever has read position N never later finds N-1.
* A stream's versions are 1, 2, 3 …; an append states the version it follows.
* Rows of jobs, updates, attempts and queues are a fold of the log: `rebuild` gives the same bytes.
* Readers see only what is durable.

Times are wall time in integer microseconds. All methods are called on one event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tenure.domain.events import JobAssigned, NewEvent, RecordedEvent
from tenure.domain.job import Job
from tenure.domain.queue import Queue
from tenure.domain.states import State
from tenure.projections.rows import AttemptRow as AttemptRow
from tenure.projections.rows import UpdateRow as UpdateRow
from tenure.store.errors import AnsweredRequest as AnsweredRequest
from tenure.store.errors import BackupFailed as BackupFailed
from tenure.store.errors import CommitOutcomeUnknown as CommitOutcomeUnknown
from tenure.store.errors import Conflict as Conflict
from tenure.store.errors import DuplicateSpecification as DuplicateSpecification
from tenure.store.errors import RequestAnswered as RequestAnswered
from tenure.store.errors import StorageFull as StorageFull
from tenure.store.errors import StorageReadOnly as StorageReadOnly
from tenure.store.errors import StoreDamaged as StoreDamaged
from tenure.store.errors import StoreError as StoreError
from tenure.store.outbox import Outbox
from tenure.store.outputs import Outputs
from tenure.store.reports import Backup as Backup
from tenure.store.reports import VerifyReport as VerifyReport
from tenure.store.scrub import Scrubbed as Scrubbed


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events for one stream.

    `expected_version` is the stream's version before them (0: a new stream). `job` or `queue` is the fold after them:
    the caller has it anyway, and `verify` compares it with the log.
    """

    stream: str
    expected_version: int
    events: tuple[NewEvent, ...]
    job: Job | None = None
    queue: Queue | None = None

    def check(self) -> None:
        """Refuse what no engine can store.

        Raises:
            ValueError: no events, no fold, a fold of another version, or a JobAssigned whose id is not its lease id.
        """
        fold = self.job if self.job is not None else self.queue
        if fold is None or not self.events:
            raise ValueError(f"{self.stream}: an append needs events, and the job or queue after them")
        if fold.version != self.expected_version + len(self.events):
            raise ValueError(f"{self.stream}: the events do not lead to version {fold.version}, which the fold has")
        for event in self.events:
            if isinstance(event.payload, JobAssigned) and event.payload.lease_id != event.event_id:
                raise ValueError(f"{self.stream}: the id of a JobAssigned is its lease id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A changing call that may be repeated: who, which RPC, its id, the digest of its message, and its answer.

    `answer` is what to give to a repeat (the response without its resume token); `at_us` is when it was first given.
    """

    principal: str
    rpc: str
    request_id: str
    digest: bytes
    answer: bytes
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one call changes: all of it or nothing."""

    appends: tuple[Append, ...]
    request: Request | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Where a unit's events are: `first` to `last`, in the order of its appends."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the log. `hash` is the chain over all commits up to `position`."""

    log_id: str
    epoch: int
    position: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job with its specification (the bytes of a `tenure.v1.JobSpecification`) and the position of its JobCreated."""

    job: Job
    specification: bytes
    created_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job with its history: the first 10 and last 990 updates, the first 10 and last 90 attempts."""

    stored: StoredJob
    updates: tuple[UpdateRow, ...] = ()
    attempts: tuple[AttemptRow, ...] = ()
    updates_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; empty means any. `visible_to` (subject, project) limits to the jobs of an owner or their project;
    None: all. Times are of creation: `after_us` included, `before_us` not. `labels` must all match."""

    visible_to: tuple[str, str] | None = None
    ids: frozenset[str] | None = None
    states: frozenset[State] = frozenset()
    created_by: str = ""
    created_after_us: int | None = None
    created_before_us: int | None = None
    queue: str = ""
    application: str = ""
    product_id: str = ""
    product_category: str = ""
    product_provider: str = ""
    hide_product_id: str = ""
    hide_product_category: str = ""
    hide_product_provider: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """By creation (`expires` False) or by the end of the time allocation, jobs without one last; ties by creation."""

    expires: bool = False
    descending: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """A page of jobs; `next_key` continues after it (opaque integers), None: it was the last."""

    views: tuple[JobView, ...]
    next_key: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A queued job that may be given out: its fold and its place, `(-priority, created_position)`, smallest first."""

    job: Job
    place: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How full a queue is: jobs that wait, jobs with a worker, creation time of the oldest that waits."""

    waiting: int = 0
    active: int = 0
    oldest_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A bearer token without its secret. `digest` is the SHA-256 of the secret; role is user, worker or admin."""

    id: str
    digest: bytes
    role: str
    subject: str
    project: str = ""
    queues: tuple[str, ...] = ()
    created_us: int = 0
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events; empty means any. Types are class names (`JobCreated`)."""

    streams: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()


class Store(Protocol):
    """The port. See the module's text for what every engine promises."""

    engine: str
    """Name of the engine: memory, sqlite, postgresql."""
    read_only_reason: str
    """Why the last change was refused, where every other one is too at present; empty: changes are taken."""

    @property
    def outbox(self) -> Outbox:
        """What is announced of the log, and what became of it."""

    @property
    def outputs(self) -> Outputs:
        """What attempts printed last."""

    async def commit(self, unit: Unit) -> Committed:
        """Append the unit's events and change the rows they change.

        Raises:
            ValueError: see `Append.check`.
            Conflict, DuplicateSpecification, RequestAnswered: decided inside the transaction; nothing was written.
            StorageFull, StorageReadOnly: nothing was written.
            CommitOutcomeUnknown: see there.
        """

    def head(self) -> Head:
        """The durable end of the log, without waiting."""

    def listen(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Call back on the loop with the new end after each commit, before its callers resume; returns a function that
        ends it. Only a hint: an engine with other writers also calls it for theirs, perhaps late."""

    async def chain_at(self, position: int) -> tuple[int, bytes] | None:
        """The last commit that ends at or before the position: its end and the chain hash there; (0, b"") before the
        first; None when the position is behind the end of the log."""

    async def read(
        self, after: int, limit: int, event_filter: EventFilter | None = None
    ) -> tuple[list[RecordedEvent], int]:
        """At most `limit` matching events with positions above `after`, in order, and the position up to which the log
        was looked at (so that a rare match makes progress)."""

    async def read_stream(self, stream: str, after_version: int, limit: int) -> list[RecordedEvent]:
        """At most `limit` events of a stream with versions above `after_version`, in order."""

    async def load_jobs(self, ids: Sequence[str]) -> dict[str, StoredJob]:
        """The jobs with these ids; unknown ids are left out."""

    async def view_jobs(self, ids: Sequence[str]) -> dict[str, JobView]:
        """The jobs with these ids and their histories; unknown ids are left out."""

    async def browse(
        self, job_filter: JobFilter, order: JobOrder, after: tuple[int, int] | None, limit: int, *, histories: bool
    ) -> JobPage:
        """A page of jobs in order, after the key of the page before; with their updates and attempts on request.

        Fewer than `limit` where the jobs are large."""

    async def candidates(self, queue: str, after: tuple[int, int] | None, limit: int, now_us: int) -> list[Candidate]:
        """Queued jobs of a queue whose `not_before` is not ahead, by place, after that place."""

    async def count_ahead(self, queue: str, place: tuple[int, int], limit: int) -> int:
        """Queued jobs of a queue with a smaller place, whenever they may be given out; counted up to `limit`."""

    async def leased(self, after_id: str, limit: int) -> list[Job]:
        """Jobs with a live lease, in the order of their creation, after the job with that id ("": from the start)."""

    async def due(self, until_us: int, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
        """(instant, job id) of live jobs that time alone concerns up to then, by instant and id, after that entry.

        One entry a job, the earliest that its fold knows, passed or not: while it waits, the end of its wait for a
        retry or its deadline; while it has a worker, the stop signal before its deadline; then the end of its grace.
        What comes after that instant is for the caller to read off the job (`Job.due_us`)."""

    async def find_request(self, principal: str, rpc: str, request_id: str) -> AnsweredRequest | None:
        """The answer given to this request id before."""

    async def purge_requests(self, before_us: int) -> int:
        """Forget requests answered before then; returns how many."""

    async def load_queues(self) -> dict[str, Queue]:
        """All queues by name."""

    async def queue_depths(self) -> dict[str, QueueDepth]:
        """How full each queue is; a queue without live jobs may be left out."""

    async def add_token(self, token: TokenRow) -> None:
        """Keep a token."""

    async def find_token(self, digest: bytes) -> TokenRow | None:
        """The token with this digest, revoked ones included."""

    async def list_tokens(self) -> list[TokenRow]:
        """All tokens, the oldest first."""

    async def revoke_token(self, token_id: str, at_us: int) -> bool:
        """Revoke a token; False: there is none with this id, or it was revoked before."""

    def verify(self) -> AsyncIterator[VerifyReport]:
        """Check everything: dense positions, versions, chain, projections equal to the fold. Yields the growing report
        now and then, the last one being whole."""

    async def scrub(self, after: Scrubbed, limit: int) -> Scrubbed:
        """Read the log again behind a place, at low cost and beside everything else: whole commits of at most `limit`
        events or one larger commit, and the rows of a few of their jobs. The same place: there is no more.

        Raises:
            StoreError: it is closed, or cannot be read just now; that says nothing of the log.
        """

    def refuse_changes(self, reason: str) -> None:
        """From now on until it is closed commits, and whatever else goes to disk, are refused with StorageReadOnly, and
        `read_only_reason` is this. What was handed over before is still carried out."""

    async def backup(self, path: Path) -> Backup:
        """Copy everything that is durable now into a new file, check the copy, and only then give it that name.
        Commits and reads go on meanwhile; a cancelled caller leaves no file.

        Raises:
            BackupFailed: there is no such file now; the text says why.
        """

    def rebuild(self) -> AsyncIterator[int]:
        """Make all rows anew from the log; yields the position reached now and then. Nobody else may use the store."""

    async def close(self) -> None:
        """Finish what is in flight and let go of everything."""
