"""One agent process: the real Worker over a simulated stream, runner, folder and sync."""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from google.rpc import error_details_pb2, status_pb2

from tenure.agent.assignment import Assignment
from tenure.agent.connection import ConnectionRefused
from tenure.agent.transport import StreamEnded
from tenure.agent.workdir import AttemptFolder
from tenure.agent.worker import Worker, WorkerIdentity
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation.calls import CONNECT
from tests.simulation.history import AgentLife, Execution, Said, Span
from tests.simulation.machine import Machine
from tests.simulation.network import Connection, Link
from tests.simulation.objects import Sync, copying_of
from tests.simulation.server import describe
from tests.simulation.wire import End, Item, Piece
from tests.simulation.work import Folder, Folders, Runner

if TYPE_CHECKING:
    from tests.simulation.world import World

_ENVIRONMENT = {"PATH": "/bin"}


class Agent:
    """One process of one worker, from its start to its end."""

    def __init__(
        self,
        world: World,
        machine: Machine,
        link: Link,
        *,
        worker_id: str,
        secret: str,
        queues: tuple[str, ...],
        slots: int,
        count: int,
        random: Random,
    ) -> None:
        self.world = world
        self.machine = machine
        self.link = link
        self.worker_id = worker_id
        self.incarnation = f"{worker_id}.{count}"
        self.random = random
        self.lazy = Random(f"{world.plan.seed}/lazy/{worker_id}.{count}")
        self.process = machine.process(self.incarnation)
        self.clock = machine.aware_clock(self.process)
        self.metadata = (("authorization", f"Bearer {secret}"),)
        self.life = AgentLife(
            worker_id=worker_id,
            incarnation=self.incarnation,
            slots=slots,
            started_ns=world.schedule.now_ns,
            rate=machine.rate,
            disconnected=[Span(begin_ns=world.schedule.now_ns)],
        )
        world.history.agents.append(self.life)
        self.executions: dict[str, Execution] = {}
        self.worker: Worker | None = None
        self._identity = WorkerIdentity(
            worker_id=worker_id, incarnation=self.incarnation, queues=queues, slots=slots, hostname=machine.name
        )
        self._folders = Folders()
        self._syncs: dict[str, tuple[Assignment, Sync]] = {}
        self._accepted: set[str] = set()
        self.process.call_soon(self._begin)

    def _begin(self) -> None:
        self.process.create_task(self._live(), name=self.incarnation)

    async def _live(self) -> None:
        self.worker = Worker(
            identity=self._identity,
            transport=self,
            clock=self.clock,
            random=self.random,
            runner=Runner(self),
            folders=self._folders,
            copying=copying_of(self),
            agent_environment=_ENVIRONMENT,
            passed={},
        )
        how = "drained"
        try:
            await self.worker.run()
        except ConnectionRefused as error:
            how = f"refused: {error}"
        except BaseException as error:
            if self.process.dead:
                return
            how = "broke"
            self.world.history.errors.append(f"{self.incarnation} ended: {describe(error)}")
        self.world.agent_ended(self, how)

    def drain(self, reason: str, *, release: bool) -> None:
        """Have it end in good order; called from outside."""

        def begin() -> None:
            if self.worker is not None:
                self.worker.drain(reason, release=release)

        self.process.at_virtual(0, begin)

    def ended(self, how: str) -> None:
        """It is no more; what it ran has ended with it."""
        now_ns = self.world.schedule.now_ns
        self.life.ended_ns, self.life.ended = now_ns, how
        for span in (*self.life.pauses, *self.life.disconnected):
            if span.end_ns is None:
                span.end_ns = now_ns
        for execution in self.executions.values():
            if execution.ended_ns is None:
                execution.ended_ns, execution.ended = now_ns, "crash"

    # What its parts tell.

    async def open(self) -> SimulatedStream:
        """See `tenure.agent.transport.Transport`."""
        return SimulatedStream(self)

    def folder_of(self, folder: AttemptFolder) -> Folder:
        """The folder as it is."""
        assert isinstance(folder, Folder)
        return folder

    def prepared(self, assignment: Assignment, sync: Sync) -> None:
        """An attempt is about to begin."""
        self._syncs[assignment.name] = assignment, sync

    def started(self, name: str) -> tuple[Execution, Folder]:
        """The command of an attempt starts."""
        assignment, sync = self._syncs[name]
        execution = Execution(
            worker_id=self.worker_id,
            incarnation=self.incarnation,
            job_id=assignment.job_id,
            attempt=assignment.attempt,
            lease_id=assignment.lease_id,
            started_ns=self.world.schedule.now_ns,
            acknowledged=assignment.lease_id in self._accepted,
            inputs_complete=sync.inputs_complete,
            writes=sync.writes,
            max_disconnected_ns=assignment.max_disconnected_ns,
        )
        self.executions[assignment.lease_id] = execution
        self.world.history.executions.append(execution)
        self.world.trace(self.incarnation, f"starts {name}")
        return execution, self._folders.by_name[name]

    def promised(self, execution: Execution, folder: Folder) -> dict[str, str]:
        """What has to be in the store once the attempt counts as a success."""
        assignment, _ = self._syncs[f"{execution.job_id}-{execution.attempt}"]
        promised = {}
        for rule in (*assignment.sync.during, *assignment.sync.after):
            for name, content in folder.files.items():
                if name.startswith(rule.local_path + "/"):
                    promised[rule.prefix + name.removeprefix(rule.local_path + "/")] = content
        return promised

    def sent(self, stream: int, message: pb.ConnectRequest, boot: int) -> None:
        """A message leaves."""
        self._say("worker-sent", stream, message, boot)

    def got(self, stream: int, message: Any, boot: int) -> None:
        """A message has come."""
        self._say("worker-got", stream, message, boot)
        kind = message.WhichOneof("message")
        if kind == "welcome":
            self.connected()
            for verdict in message.welcome.leases:
                if not verdict.keep:
                    self._told(verdict.lease_id)
        elif kind == "accept_ack":
            for item in message.accept_ack.items:
                if item.state == pb.LEASE_STATE_HELD:
                    self._accepted.add(item.lease_id)
        elif kind == "heartbeat_ack" or kind == "report_ack":
            for item in getattr(message, kind).items:
                if item.state == pb.LEASE_STATE_LOST:
                    self._told(item.lease_id)
        elif kind == "stop":
            for item in message.stop.items:
                if item.reason == pb.STOP_REASON_LEASE_REVOKED:
                    self._told(item.lease_id)

    def connected(self) -> None:
        """The server has answered."""
        span = self.life.disconnected[-1]
        if span.end_ns is None:
            span.end_ns = self.world.schedule.now_ns

    def disconnected(self) -> None:
        """There is no stream any more."""
        if self.life.disconnected[-1].end_ns is not None and self.life.ended_ns is None:
            self.life.disconnected.append(Span(begin_ns=self.world.schedule.now_ns))

    def _told(self, lease_id: str) -> None:
        execution = self.executions.get(lease_id)
        if execution is not None and execution.told_ns is None:
            execution.told_ns = self.world.schedule.now_ns

    def _say(self, end: str, stream: int, message: Any, boot: int) -> None:
        self.world.history.said.append(
            Said(
                end=end,
                at_ns=self.world.schedule.now_ns,
                durable=self.world.medium.head.position,
                boot=boot,
                stream=stream,
                worker_id=self.worker_id,
                incarnation=self.incarnation,
                message=message,
                clock_ns=self.clock.monotonic_ns(),
            )
        )


class SimulatedStream:
    """The agent's end of a stream; see `tenure.agent.transport.Stream`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._connection = Connection(agent.link, agent.process, CONNECT, agent.metadata, room=agent.world.plan.room)
        self._connection.client_end = self._connection.down.receiver = self
        self._items: deque[Item] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._ended: StreamEnded | None = None

    async def send(self, request: pb.ConnectRequest) -> None:
        """Hand a message to the connection."""
        if self._ended is not None:
            raise self._ended
        self._agent.sent(self._connection.number, request, self._boot())
        await self._connection.up.send(Piece(request.SerializeToString(), request))

    async def receive(self) -> pb.ConnectResponse:
        """The next message of the server."""
        while not self._items:
            if self._ended is not None:
                raise self._ended
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        world = self._agent.world
        if world.plan.lazy_s and not world.healed:
            await asyncio.sleep(self._agent.lazy.uniform(0, world.plan.lazy_s))
        item = self._items.popleft()
        if isinstance(item, End):
            self._ended = ended(item)
            self._connection.hang_up(client=True)
            raise self._ended
        self._connection.down.taken()
        message: Any = item.message
        self._agent.got(self._connection.number, message, self._boot())
        return message  # type: ignore[no-any-return]

    async def finish(self) -> None:
        """Nothing more will be sent."""
        self._connection.up.put(End())

    async def close(self) -> None:
        """Drop the stream."""
        self._agent.disconnected()
        if self._ended is None:
            self._ended = StreamEnded(code="CANCELLED", reason="", message="closed")
        self._connection.hang_up(client=True)

    def arrived(self, item: Item) -> None:
        """See `network.Receiver`."""
        self._items.append(item)
        self._wake()

    def broken(self) -> None:
        """See `network.Receiver`."""
        if self._ended is None:
            self._ended = StreamEnded(code="UNAVAILABLE", reason="", message="the connection is lost")
            self._agent.disconnected()
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _boot(self) -> int:
        server = self._connection.server
        return server.number if server is not None else -1


def ended(end: End) -> StreamEnded:
    """The end of a stream as the agent's transport tells it."""
    reason, message = reason_of(end)
    return StreamEnded(code=end.code, reason=reason, message=message)


def reason_of(end: End) -> tuple[str, str]:
    """Reason and text of a status."""
    if end.details:
        status = status_pb2.Status.FromString(end.details)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info.reason.removeprefix("ERROR_REASON_"), status.message or end.text
    return "", end.text
