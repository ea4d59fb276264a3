"""What happened in one simulated world, as an onlooker with a perfect clock saw it: all that the checkers judge.

Every `*_ns` is *virtual time*: nanoseconds of the one clock of the simulation, 0 at its begin. What a process's own
clock showed is said by name (`server_ns`, `clock_ns`, `wall_us`). Lists are in the order in which things happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.message import Message

from tenure.domain.events import RecordedEvent
from tenure.store.store import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The server's no: `code` as in FAILED_PRECONDITION, `reason` as in JOB_FINAL, `subject` the id it is about."""

    code: str
    reason: str
    message: str
    subject: str = ""


@dataclass(slots=True, kw_only=True)
class Call:
    """One try of one unary call by a client; a retry is a call of its own with the same `request_id` and `operation`.

    Attributes:
        operation: the same number for all tries of one wish; grows.
        client: who, as in `client-0`; `subject` is what its token says, `admin` whether it is an administrator's.
        rpc: `CreateJobs`, `ExtendJobs`, `TerminateJobs`, `RetrieveJob`, `BrowseJobs`, `PauseQueues`, ….
        request_id: of the request; empty: none.
        request: the message as sent.
        boot: number (`Boot.number`) of the server process that took the call; None: it never arrived.
        applied_ns: when that process was given the call; None: it never arrived.
        ended_ns: when the server finished handling it, heard or not; None: it never did.
        answered_ns: when the client had the answer, or gave up.
        answer: the message, for an OK; a refusal; None: the outcome is unknown to the client (`unknown_code` says why).
        unsent_answer: what the server answered although the client never got it; for the checker, not the client.
        twice: the network delivered the request a second time (a client library's retry with the same id).
        durable_at_answer: position that was durable at the instant the server gave the answer; -1: it gave none.
    """

    operation: int
    client: str
    subject: str
    admin: bool
    rpc: str
    request_id: str
    request: Message
    sent_ns: int
    boot: int | None = None
    applied_ns: int | None = None
    ended_ns: int | None = None
    answered_ns: int | None = None
    answer: Message | Refusal | None = None
    unknown_code: str = ""
    unsent_answer: Message | Refusal | None = None
    twice: bool = False
    durable_at_answer: int = -1

    @property
    def ok(self) -> bool:
        """The client knows that it was done."""
        return self.answer is not None and not isinstance(self.answer, Refusal)


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One message that a watcher got.

    `resume_token` is what it carried; `durable` the position that was durable at that instant.
    """

    at_ns: int
    message: Message
    resume_token: str
    durable: int
    boot: int


@dataclass(slots=True, kw_only=True)
class Connection:
    """One connection of a watch: the token it went on from (empty: from the beginning), and how it ended: `left` (the
    watcher went), `lost`, or a reason of the server."""

    opened_ns: int
    resume_token: str
    boot: int
    deliveries: list[Delivery] = field(default_factory=list)
    ended_ns: int | None = None
    ended: str = ""


@dataclass(slots=True, kw_only=True)
class Watch:
    """One watcher over all its reconnections.

    Attributes:
        kind: `job` (WatchJob of `job_id`) or `events` (the log, by EventService).
        complete: it went on reconnecting until the end; what it got must then reach the end of the log (or the job's
            last update).
    """

    client: str
    kind: str
    job_id: str
    connections: list[Connection] = field(default_factory=list)
    complete: bool = False

    def delivered(self) -> list[Delivery]:
        """What it got over all its connections."""
        return [delivery for connection in self.connections for delivery in connection.deliveries]


@dataclass(slots=True, kw_only=True)
class StoreWrite:
    """An object that an attempt wrote: `begun_ns` request sent, `ended_ns` it was in the store (None: it never was).

    `lease_ns_left` is what its worker's gate believed was left of the lease when the request began (worker's
    monotonic clock; negative: it was over). `acknowledged` whether the attempt was told so.
    """

    begun_ns: int
    key: str
    content: str
    lease_ns_left: int
    ended_ns: int | None = None
    acknowledged: bool = False


@dataclass(slots=True, kw_only=True)
class Execution:
    """One command that ran.

    Attributes:
        worker_id: and `incarnation` and `machine`: which process of which machine ran it.
        acknowledged: the worker had received the AcceptAck of this lease before the start.
        inputs_complete: every `before` rule was complete at the start.
        ended_ns: None: it never ended (then the world ended).
        ended: `exit`, `signal`, `crash` (the agent died; its commands die with it: a machine that lost power).
        exit_code: for `exit`; of the command, not of the attempt.
        writes: to the object store, by this attempt.
        promised: keys that `after`/`during` rules promise once the attempt is a success, with the last content.
        told_ns: when the worker was told by the server to stop it (LEASE_LOST, cancelled), None: never.
    """

    worker_id: str
    incarnation: str
    job_id: str
    attempt: int
    lease_id: str
    started_ns: int
    acknowledged: bool
    inputs_complete: bool
    ended_ns: int | None = None
    ended: str = ""
    exit_code: int | None = None
    signal: int | None = None
    writes: list[StoreWrite] = field(default_factory=list)
    promised: dict[str, str] = field(default_factory=dict)
    told_ns: int | None = None
    max_disconnected_ns: int = 600 * 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Span:
    """Something that lasted; None: until the end."""

    begin_ns: int
    end_ns: int | None = None

    def overlaps(self, begin_ns: int, end_ns: int | None) -> bool:
        """Whether it shares an instant with another span."""
        before = end_ns is not None and self.begin_ns >= end_ns
        after = self.end_ns is not None and self.end_ns <= begin_ns
        return not before and not after


@dataclass(slots=True, kw_only=True)
class AgentLife:
    """One agent process: `pauses` are times at which it was frozen (signal or suspended machine)."""

    worker_id: str
    incarnation: str
    slots: int
    started_ns: int
    rate: float
    ended_ns: int | None = None
    ended: str = ""
    pauses: list[Span] = field(default_factory=list)
    disconnected: list[Span] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Boot:
    """One server process, by number from 0.

    Attributes:
        position: durable position when its store was opened.
        serving_ns: when it took calls; None: it died while starting.
        ended: `crash`, `fatal` (its store could not be trusted), `end` (the world ended), `stop` (in good order).
        rate: its monotonic clock ran so much faster than virtual time.
        server_ns: what it showed at `started_ns`.
        pauses: when it was frozen.
    """

    number: int
    started_ns: int
    epoch: int
    position: int
    rate: float
    server_ns: int = 0
    serving_ns: int | None = None
    ended_ns: int | None = None
    ended: str = ""
    position_at_end: int = -1
    pauses: list[Span] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Beat:
    """A sign of life of a lease that the server processed: a Heartbeat or Report naming it, at the instant at which the
    server's stream handler took the message."""

    at_ns: int
    boot: int
    server_ns: int
    worker_id: str
    lease_id: str
    count: int
    kind: str  # "heartbeat" or "report"


@dataclass(slots=True, kw_only=True)
class Sent:
    """An assignment that the server wrote to a worker's stream; `durable` is the position durable at that instant."""

    at_ns: int
    boot: int
    worker_id: str
    incarnation: str
    job_id: str
    attempt: int
    lease_id: str
    durable: int


@dataclass(slots=True, kw_only=True)
class Committing:
    """One unit that reached the disk: the positions it covers, when it became durable and by which process.

    `server_ns` and `wall_us` are that process's clocks then. `told_ns`: when the store told the process so; None:
    never (crash, error).
    """

    first: int
    last: int
    boot: int
    durable_ns: int
    server_ns: int
    wall_us: int
    told_ns: int | None = None


@dataclass(slots=True, kw_only=True)
class Said:
    """One message on a worker's stream at one of its four ends.

    Attributes:
        end: `server-got` (about to be carried out), `server-sent` (given to the network), `worker-sent`, `worker-got`.
        at_ns: when.
        durable: position that was durable at that instant.
        boot: the server process; for the worker's ends the one it is connected to, -1: not known.
        stream: number of the connection in the whole run, the same at all four ends; from 0, in the order of opening.
        clock_ns: what the monotonic clock of the process at that end showed.
        message: ConnectRequest or ConnectResponse; a copy or one that nobody changes any more.
    """

    end: str
    at_ns: int
    durable: int
    boot: int
    stream: int
    worker_id: str
    incarnation: str
    message: Message
    clock_ns: int = 0


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault that was injected: `kind` as in `server.crash`, `net.partition`; `who` it hit."""

    kind: str
    who: str
    begin_ns: int
    end_ns: int | None = None
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """The durable log at one instant: how long it is, and the hash of its chain (hex)."""

    at_ns: int
    position: int
    digest: str


@dataclass(slots=True, kw_only=True)
class History:
    """Everything of one run.

    Attributes:
        log: the durable log at the end, position 1 first; `committed[i]` says when they became durable.
        head: of the durable log at the end.
        objects: content of the object store at the end, by key.
        object_times: when the content of each key was written, as (virtual ns, content).
        healed_ns: when the last fault ended; the liveness phase begins.
        leftovers: what still lived when the world was closed (tasks, timers, streams); empty is right.
        errors: exceptions that reached the loop or ended a process and were not injected.
        secrets: texts that must be in no event and in no answer.
    """

    seed: int
    calls: list[Call] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    agents: list[AgentLife] = field(default_factory=list)
    boots: list[Boot] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    committed: list[Committing] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    log: list[RecordedEvent] = field(default_factory=list)
    head: Head | None = None
    objects: dict[str, str] = field(default_factory=dict)
    object_times: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    healed_ns: int = 0
    ended_ns: int = 0
    leftovers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    secrets: tuple[str, ...] = ()
    step_violations: list[str] = field(default_factory=list)
