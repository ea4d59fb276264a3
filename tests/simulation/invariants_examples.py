"""A history in the making, by hand: what the log, the calls, the streams and the commands of a small world say."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from tenure.domain import events as e
from tenure.events.v1 import event_pb2
from tenure.store import chain, codec
from tenure.store.store import Head
from tenure.v1 import event_service_pb2, job_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation.history import (
    AgentLife,
    Beat,
    Boot,
    Call,
    Checkpoint,
    Committing,
    Connection,
    Delivery,
    Execution,
    History,
    Refusal,
    Said,
    Sent,
    StoreWrite,
    Watch,
)
from tests.simulation.invariants_values import HELD, JOB, LEASE, WORKER, ns, token, us


class Example:
    """A history in the making; `finish` gives it its head."""

    def __init__(self) -> None:
        self.history = History(seed=0, ended_ns=ns(1000), healed_ns=ns(900))
        self.boot = self.begin(0)
        self._versions: dict[str, int] = {}

    def begin(self, at_s: float) -> Boot:
        """A server process starts; what is written from now on is its."""
        made = Boot(
            number=len(self.history.boots),
            started_ns=ns(at_s),
            epoch=1,
            position=len(self.history.log),
            rate=1.0,
            server_ns=ns(at_s),
            serving_ns=ns(at_s),
        )
        self.history.boots.append(made)
        self.boot = made
        return made

    @property
    def position(self) -> int:
        """The end of the log."""
        return len(self.history.log)

    def write(
        self,
        at_s: float,
        *payloads: e.Payload,
        stream: str = f"job/{JOB}",
        actor: str = "server",
        request_id: str = "",
        time_s: float | None = None,
    ) -> int:
        """One commit of events of one stream; returns its last position."""
        first = self.position + 1
        for payload in payloads:
            version = self._versions[stream] = self._versions.get(stream, 0) + 1
            position = self.position + 1
            self.history.log.append(
                e.RecordedEvent(
                    position=position,
                    stream=stream,
                    version=version,
                    event_id=payload.lease_id if isinstance(payload, e.JobAssigned) else f"event-{position}",
                    time_us=us(at_s if time_s is None else time_s),
                    actor=actor,
                    request_id=request_id,
                    request_digest=b"d" if request_id else b"",
                    payload=payload,
                )
            )
        self.history.committed.append(
            Committing(
                first=first,
                last=self.position,
                boot=self.boot.number,
                durable_ns=ns(at_s),
                server_ns=ns(at_s),
                wall_us=us(at_s),
                told_ns=ns(at_s),
            )
        )
        return self.position

    def call(self, at_s: float, rpc: str, request: Message, answer: Message | Refusal | None, **changes: Any) -> Call:
        """One call of client-0, answered at once with what is durable now."""
        fields: dict[str, Any] = {
            "operation": len(self.history.calls),
            "client": "client-0",
            "subject": "client-0",
            "admin": False,
            "rpc": rpc,
            "request_id": getattr(request, "request_id", ""),
            "request": request,
            "sent_ns": ns(at_s - 0.02),
            "boot": self.boot.number,
            "applied_ns": ns(at_s - 0.01),
            "ended_ns": ns(at_s),
            "answered_ns": ns(at_s + 0.01),
            "answer": answer,
            "durable_at_answer": self.position,
        }
        made = Call(**(fields | changes))
        self.history.calls.append(made)
        return made

    def up(self, at_s: float, message: pb.ConnectRequest, stream: int = 0, **names: str) -> None:
        """A message of a worker: sent, and carried out at the server right then."""
        self._say("worker-sent", at_s, message, stream, **names)
        self._say("server-got", at_s, message, stream, **names)
        for one in message.heartbeat.beats:
            self.heard(at_s, one.lease_id, one.count, "heartbeat")
        for item in message.report.items:
            self.heard(at_s, item.lease_id, item.last_beat.count, "report")

    def down(self, at_s: float, message: pb.ConnectResponse, stream: int = 0, **names: str) -> None:
        """A message of the server: sent, and there right then."""
        self._say("server-sent", at_s, message, stream, **names)
        self._say("worker-got", at_s, message, stream, **names)

    def heard(self, at_s: float, lease_id: str = LEASE, count: int = 0, kind: str = "heartbeat") -> None:
        """The server processes a sign of life."""
        self.history.beats.append(
            Beat(
                at_ns=ns(at_s),
                boot=self.boot.number,
                server_ns=ns(at_s),
                worker_id=WORKER,
                lease_id=lease_id,
                count=count,
                kind=kind,
            )
        )

    def beats(self, at_s: float, count: int, lease_id: str = LEASE, stream: int = 0) -> None:
        """A beat, and its answer."""
        self.up(
            at_s, pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[pb.Beat(lease_id=lease_id, count=count)])), stream
        )
        item = pb.HeartbeatAck.Item(lease_id=lease_id, state=HELD)
        self.down(at_s + 0.01, pb.ConnectResponse(heartbeat_ack=pb.HeartbeatAck(items=[item])), stream)

    def hello(
        self, at_s: float, *leases: str, stream: int = 0, keep: bool = True, incarnation: str = "a"
    ) -> pb.Welcome:
        """A worker introduces itself and is welcomed; what it names is kept, or not."""
        names = {"incarnation": incarnation}
        held = [pb.HeldLease(lease_id=one, job_id=JOB, attempt=1) for one in leases]
        hello = pb.Hello(worker_id=WORKER, incarnation=incarnation, slots=1, leases=held)
        self.up(at_s, pb.ConnectRequest(hello=hello), stream, **names)
        verdicts = [pb.LeaseVerdict(lease_id=one, keep=keep) for one in leases]
        message = pb.ConnectResponse(welcome=pb.Welcome(session_id=str(stream), leases=verdicts))
        self.down(at_s, message, stream, **names)
        return message.welcome

    def offer(self, at_s: float, lease_id: str = LEASE, attempt: int = 1, stream: int = 0) -> None:
        """An assignment is sent to the worker."""
        item = pb.Assignment(lease_id=lease_id, job_id=JOB, attempt=attempt)
        self.down(at_s, pb.ConnectResponse(assignments=pb.Assignments(items=[item])), stream)
        self.history.sent.append(
            Sent(
                at_ns=ns(at_s),
                boot=self.boot.number,
                worker_id=WORKER,
                incarnation="a",
                job_id=JOB,
                attempt=attempt,
                lease_id=lease_id,
                durable=self.position,
            )
        )

    def accept(self, at_s: float, state: pb.LeaseState.ValueType = HELD, lease_id: str = LEASE) -> None:
        """The worker accepts and is answered."""
        self.up(at_s, pb.ConnectRequest(accept=pb.Accept(lease_ids=[lease_id])))
        item = pb.AcceptAck.Item(lease_id=lease_id, state=state)
        self.down(at_s + 0.01, pb.ConnectResponse(accept_ack=pb.AcceptAck(items=[item])))

    def report(self, at_s: float, kind: str, lease_id: str = LEASE, count: int = 0, stream: int = 0) -> pb.Report.Item:
        """The worker reports something."""
        item = pb.Report.Item(lease_id=lease_id, last_beat=pb.FinalBeat(count=count))
        getattr(item, kind).SetInParent()
        self.up(at_s, pb.ConnectRequest(report=pb.Report(items=[item])), stream)
        return item

    def reported(
        self,
        at_s: float,
        kind: pb.ReportKind.ValueType,
        state: pb.LeaseState.ValueType = HELD,
        lease_id: str = LEASE,
        stream: int = 0,
    ) -> None:
        """A report is answered."""
        item = pb.ReportAck.Item(lease_id=lease_id, kind=kind, state=state)
        self.down(at_s, pb.ConnectResponse(report_ack=pb.ReportAck(items=[item])), stream)

    def agent(self, incarnation: str = "a") -> AgentLife:
        """An agent process."""
        made = AgentLife(worker_id=WORKER, incarnation=incarnation, slots=1, started_ns=0, rate=1.0)
        self.history.agents.append(made)
        return made

    def run(self, begin_s: float, end_s: float | None, lease_id: str = LEASE, attempt: int = 1) -> Execution:
        """A command runs."""
        made = Execution(
            worker_id=WORKER,
            incarnation="a",
            job_id=JOB,
            attempt=attempt,
            lease_id=lease_id,
            started_ns=ns(begin_s),
            acknowledged=True,
            inputs_complete=True,
            ended_ns=None if end_s is None else ns(end_s),
            ended="exit",
            exit_code=0,
            max_disconnected_ns=ns(30),
        )
        self.history.executions.append(made)
        return made

    def stores(self, run: Execution, begin_s: float, end_s: float, key: str = "out/a") -> StoreWrite:
        """A command's output is stored."""
        made = StoreWrite(begun_ns=ns(begin_s), ended_ns=ns(end_s), key=key, content="x", lease_ns_left=ns(1))
        run.writes.append(made)
        self.history.object_times.setdefault(key, []).append((ns(end_s), "x"))
        return made

    def _say(self, end: str, at_s: float, message: Message, stream: int, incarnation: str = "a") -> None:
        self.history.said.append(
            Said(
                end=end,
                at_ns=ns(at_s),
                durable=self.position,
                boot=self.boot.number,
                stream=stream,
                worker_id=WORKER,
                incarnation=incarnation,
                message=message,
                clock_ns=ns(at_s),
            )
        )

    def watch(self, upto: int, *, job: bool = True) -> Watch:
        """A watcher from the beginning that has got everything up to a position, over two connections."""
        made = Watch(client="client-0", kind="job" if job else "events", job_id=JOB if job else "")
        halves = [event for event in self.history.log[:upto] if not job or event.stream == f"job/{JOB}"]
        middle = len(halves) // 2
        seen = 0
        for part in (halves[:middle], halves[middle:]):
            connection = Connection(opened_ns=0, resume_token=token(seen) if seen else "", boot=0)
            for event in part:
                seen = event.position
                at_ns = next(c.durable_ns for c in self.history.committed if c.last >= seen)
                shown = event_pb2.Event(position=seen, event_id=event.event_id, stream_version=event.version)
                message: Message
                if job:
                    message = job_service_pb2.WatchJobsResponse(
                        event=job_service_pb2.JobEvent(event=shown, job_id=JOB), resume_token=token(seen)
                    )
                else:
                    message = event_service_pb2.ReadEventsResponse(
                        events=[shown], position=seen, resume_token=token(seen)
                    )
                connection.deliveries.append(
                    Delivery(at_ns=at_ns, message=message, resume_token=token(seen), durable=self.position, boot=0)
                )
            made.connections.append(connection)
        self.history.watches.append(made)
        return made

    def finish(self) -> History:
        """The history, with the hash of its log and a checkpoint at each commit."""
        first: dict[str, int] = {}
        value = chain.START
        for commit in self.history.committed:
            links = []
            for event in self.history.log[commit.first - 1 : commit.last]:
                name = event.stream if event.version == 1 else ""
                ask: Any = event
                data = codec.encode(ask, stream=name, request_id=event.request_id, request_digest=event.request_digest)
                number = first.setdefault(event.stream, event.position)
                links.append((event.position, number, event.version, event.time_us, data))
            value = chain.advance(value, links)
            self.history.checkpoints.append(
                Checkpoint(at_ns=commit.durable_ns, position=commit.last, digest=value.hex())
            )
        self.history.head = Head(log_id="x", epoch=1, position=self.position, hash=value)
        return self.history
