"""The worker: admits assignments, runs their attempts side by side, and drains.

Knows no socket, process or file of its own; everything it touches was passed in, so that it runs unchanged on a
machine, in a test and in a simulation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tenure.agent import paths
from tenure.agent.assignment import AssignmentUnusable, decode
from tenure.agent.attempt import Attempt, Surroundings
from tenure.agent.connection import Connection
from tenure.agent.copying import CopyingFactory
from tenure.agent.holding import Holding, Standing
from tenure.agent.ledger import NS, Ledger, reason_name
from tenure.agent.outcome import StopCause, StopOrder, Stopped, clip
from tenure.agent.paths import PathsInUse
from tenure.agent.runner import Runner
from tenure.agent.shipping import Shipping, ShippingTransport
from tenure.agent.transport import Transport
from tenure.agent.waiting import Changes, settle, within
from tenure.agent.workdir import AttemptFolders
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.logs import get_logger
from tenure.v1 import worker_service_pb2
from tenure.v1.worker_service_pb2 import ConnectResponse

log = get_logger("worker")

PROTOCOL_VERSION = 1
# What a drain waits for the server to acknowledge after everything has stopped.
LAST_REPORT_S = 30.0
ABANDON_S = 5.0
# What saying Goodbye may take, to a server that is there or to one that does not answer.
CLOSE_S = 5.0
# A server that keeps to the rules never has more outstanding than free slots; this bounds one that does not.
MOST_OFFERS_A_SLOT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """What a worker says of itself.

    Attributes:
        incarnation: new at every start of the process.
        allowed_roots: absolute folders below which jobs may use absolute paths.
    """

    worker_id: str
    incarnation: str
    queues: tuple[str, ...]
    slots: int
    allowed_roots: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    agent_version: str = ""


class Worker:
    """One worker, from its first Hello to its Goodbye."""

    def __init__(
        self,
        *,
        identity: WorkerIdentity,
        transport: Transport,
        clock: Clock,
        random: Random,
        runner: Runner,
        folders: AttemptFolders,
        copying: CopyingFactory,
        agent_environment: Mapping[str, str],
        passed: Mapping[str, str],
        shipping: ShippingTransport | None = None,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._changes = Changes(clock)
        self._ledger = Ledger(self._changes.pulse)
        self._connection = Connection(
            transport=transport,
            ledger=self._ledger,
            changes=self._changes,
            clock=clock,
            random=random,
            hello=self._hello,
            on_welcome=self._welcomed,
            on_message=self._received,
        )
        self._around = Surroundings(
            clock=clock,
            ledger=self._ledger,
            runner=runner,
            folders=folders,
            copying=copying,
            agent_environment=agent_environment,
            passed=passed,
        )
        self._shipping = Shipping(shipping, clock) if shipping is not None else None
        self._paths = PathsInUse()
        self._slots: set[int] = set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._group: TaskGroup | None = None
        self._draining: str | None = None
        self._abandoned = False
        self._acknowledged = True
        self.connected = asyncio.Event()

    async def run(self) -> bool:
        """Work until drained.

        Returns:
            Whether the server has acknowledged everything that was owed.

        Raises:
            ConnectionRefused: the server does not take this worker.
        """
        connection = asyncio.ensure_future(self._connection.run())
        try:
            async with TaskGroup() as group:
                self._group = group
                done = group.create_task(self._until_drained())
                await asyncio.wait((connection, done), return_when=asyncio.FIRST_COMPLETED)
                if connection.done():
                    # Without a server that takes us nothing can be reported: end what runs.
                    self.abandon("the server does not take this worker any more")
                    done.cancel()
                    self._cancel_attempts()
                if self._shipping is not None:
                    self._shipping.stop()
                # From here on the group may end at any moment, and then takes nothing more.
                self._group = None
            if not connection.done():
                self._connection.close(self._draining or "done")
                with contextlib.suppress(TimeoutError):
                    await within(self._clock, CLOSE_S, _over(connection))
            if connection.done():
                connection.result()
            return self._acknowledged
        finally:
            await settle(connection)

    def drain(self, reason: str, *, release: bool = True, tell: bool = True) -> None:
        """Take no more jobs and end when nothing runs.

        Args:
            reason: for people; the reason of the releases.
            release: stop what runs and give it back; otherwise it is finished first.
            tell: the server does not know yet.
        """
        if self._draining is None:
            self._draining = reason
            log.info("draining", why=reason, jobs=len(self._ledger.holdings()))
            if tell and self._ledger.holdings():
                # Only Hello can say it; without it what is given back would be offered here again.
                self._connection.renew()
        if release:
            self._order_all(StopCause.RELEASE, reason)
        self._changes.pulse()

    def abandon(self, reason: str = "the worker was stopped at once") -> None:
        """Kill what runs, give it back as far as that goes quickly, and end."""
        self._draining = self._draining or reason
        self._abandoned = True
        self._order_all(StopCause.ABANDON, reason)
        self._changes.pulse()

    async def _until_drained(self) -> None:
        """Return when a drain is over; what the server does not acknowledge in time is left to the lease."""
        await self._changes.until(lambda: self._draining is not None)
        await self._changes.until(lambda: self._abandoned or not self._working())
        if not self._abandoned:
            await self._changes.until(lambda: self._abandoned or not self._attempts, LAST_REPORT_S)
        if self._abandoned:
            await self._changes.until(lambda: not self._attempts, ABANDON_S)
        if self._attempts:
            self._acknowledged = False
            log.warning("not_acknowledged", jobs=[holding.assignment.job_id for holding in self._ledger.holdings()])
            self._cancel_attempts()

    def _working(self) -> bool:
        """Some attempt has begun and not come to its outcome yet."""
        begun = (Standing.HELD, Standing.OVER)
        return any(holding.standing in begun and holding.outcome is None for holding in self._ledger.holdings())

    def _cancel_attempts(self) -> None:
        for task in self._attempts:
            task.cancel()

    def _order_all(self, cause: StopCause, reason: str) -> None:
        now_ns = self._clock.monotonic_ns()
        for holding in self._ledger.holdings():
            holding.order(StopOrder(cause=cause, at_ns=now_ns, reason=reason, deadline_us=holding.deadline_us))

    # Messages.

    def _hello(self) -> worker_service_pb2.Hello:
        identity = self._identity
        return worker_service_pb2.Hello(
            worker_id=identity.worker_id,
            incarnation=identity.incarnation,
            protocol_version=PROTOCOL_VERSION,
            queues=identity.queues,
            slots=identity.slots,
            labels=identity.labels,
            allowed_roots=identity.allowed_roots,
            paths_in_use=self._paths.all(),
            leases=self._ledger.held_leases(),
            hostname=identity.hostname,
            agent_version=identity.agent_version,
            draining=self._draining is not None,
        )

    def _welcomed(self, message: worker_service_pb2.Welcome) -> None:
        kept = sum(verdict.keep for verdict in message.leases)
        log.info("connected", session=message.session_id, kept=kept, lost=len(message.leases) - kept)
        self.connected.set()
        refused = sorted(set(self._identity.queues) - set(message.queues))
        if refused:
            log.warning("queues_not_served", queues=refused, why="the token does not allow them")

    def _received(self, message: ConnectResponse) -> None:
        now_ns = self._clock.monotonic_ns()
        match message.WhichOneof("message"):
            case "assignments":
                for item in message.assignments.items:
                    self._offered(item, now_ns)
            case "accept_ack":
                self._ledger.accept_acknowledged(message.accept_ack, now_ns)
            case "heartbeat_ack":
                self._ledger.heartbeat_acknowledged(message.heartbeat_ack, now_ns)
            case "report_ack":
                self._ledger.report_acknowledged(message.report_ack, now_ns)
            case "stop":
                self._ledger.stop(message.stop, now_ns)
            case "deadline_changed":
                self._ledger.deadlines_changed(message.deadline_changed)
            case "follow_output":
                self._follow(message.follow_output)
            case "drain":
                self.drain(message.drain.reason or "the server asked it to", release=message.drain.release, tell=False)
            case "refusal":
                refusal = message.refusal
                log.error(
                    "refused", reason=reason_name(refusal.reason), why=refusal.message, field=refusal.field or None
                )
            case _:
                # A message of a later version: it was not needed before, so it is not now.
                log.warning("message_not_known")

    def _follow(self, message: worker_service_pb2.FollowOutput) -> None:
        """Ship what attempts print; what is not in hand any more, the server knows of already."""
        for lease_id in message.lease_ids:
            holding = self._ledger.get(lease_id)
            if holding is not None and self._group is not None and self._shipping is not None:
                self._shipping.follow(holding, self._group)

    # Assignments.

    def _offered(self, message: worker_service_pb2.Assignment, now_ns: int) -> None:
        try:
            assignment = decode(message)
        except AssignmentUnusable as error:
            self._ledger.decline(message.lease_id, str(error))
            return
        if self._group is None:
            # It came while the last work ended, or Goodbye was on its way.
            self._ledger.decline(assignment.lease_id, "the worker is leaving")
            return
        if len(self._attempts) >= MOST_OFFERS_A_SLOT * self._identity.slots:
            self._ledger.decline(assignment.lease_id, "the worker was offered far more than it has slots")
            return
        holding = self._ledger.add(assignment, now_ns)
        if holding is None:
            return
        log.info("assigned", job_id=assignment.job_id, attempt=assignment.attempt, queue=assignment.queue)
        task = self._group.create_task(self._attend(holding), name=f"attempt {assignment.name}")
        self._attempts.add(task)
        task.add_done_callback(self._attempt_done)

    def _attempt_done(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        self._changes.pulse()

    async def _attend(self, holding: Holding) -> None:
        """Admit one assignment and see it through."""
        assignment = holding.assignment
        holding.listener = self._changes.pulse
        slot = await self._admit(holding)
        if slot is None:
            return
        try:
            self._ledger.accept(holding)
            await self._changes.until(lambda: holding.standing in (Standing.HELD, Standing.OVER))
            if holding.standing is Standing.HELD:
                await Attempt(holding, slot, self._around).run()
            else:
                log.info("taken_back", job_id=assignment.job_id, attempt=assignment.attempt)
                if not holding.settled:
                    # The server may have heard that it was accepted, and keeps the slot until it hears this.
                    self._ledger.finish(holding, Stopped())
                    await self._changes.until(lambda: holding.settled)
        finally:
            self._ledger.remove(holding)
            self._slots.discard(slot)
            self._paths.give_back(assignment.lease_id)
            self._changes.pulse()

    async def _admit(self, holding: Holding) -> int | None:
        """Find a slot and take the folders; None: it was declined, or taken back meanwhile.

        A slot or folder whose attempt is just being cleaned away becomes free within moments, so it is waited for; the
        last part of the time to accept is kept for the answer's way.
        """
        assignment = holding.assignment
        problem = paths.refused(assignment.absolute_paths, self._identity.allowed_roots)
        if problem is None and self._draining is None:
            await self._changes.until(
                lambda: self._fits(holding) or holding.over or self._draining is not None,
                assignment.accept_within_ns * 0.7 / NS,
            )
        if holding.over:
            return None
        if self._draining is not None:
            problem = f"the worker is draining: {self._draining}"
        elif problem is None and not self._fits(holding):
            busy = len(self._slots) >= self._identity.slots
            problem = "the worker has no free slot" if busy else "its folders are in use by another attempt"
        if problem is not None:
            log.info("declined", job_id=assignment.job_id, attempt=assignment.attempt, why=problem)
            self._ledger.decline(assignment.lease_id, clip(problem))
            return None
        slot = min(set(range(self._identity.slots)) - self._slots)
        self._slots.add(slot)
        self._paths.take(assignment.lease_id, assignment.absolute_paths)
        return slot

    def _fits(self, holding: Holding) -> bool:
        return len(self._slots) < self._identity.slots and self._paths.free(holding.assignment.absolute_paths)


async def _over(task: asyncio.Future[None]) -> None:
    await asyncio.wait((task,))
