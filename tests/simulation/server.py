"""One server process: the real services over the simulated store, without a listener of their own."""

# Time is virtual here: looking again after a while costs nothing and cannot be too slow.
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
from functools import cache
from random import Random
from typing import TYPE_CHECKING

from tenure.controlplane.composition import Services
from tenure.controlplane.config import Configuration
from tenure.controlplane.validation import Validator
from tenure.domain import events as e
from tenure.store.store import StoreError
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation.calls import Context
from tests.simulation.disk import SimulatedDisk, SimulatedStore
from tests.simulation.history import Beat, Boot, Sent
from tests.simulation.machine import Machine
from tests.simulation.network import Connection
from tests.simulation.wire import End

if TYPE_CHECKING:
    from tests.simulation.world import World

KEY = b"k" * 32
QUEUES = ("default", "batch")
MAX_TIME_US = 3_600_000_000


@cache
def validator() -> Validator:
    """The rules of requests: compiled at the first message of a kind, and then shared by all seeds."""
    return Validator()


@cache
def configuration() -> Configuration:
    """Two queues: in one of them time counts from the start, in the other from the creation."""

    def queue(basis: e.Basis) -> e.QueueConfigured:
        return e.QueueConfigured(features=e.Features(), max_time_allocation_us=MAX_TIME_US, basis=basis)

    return Configuration(
        example=False, queues={"default": queue(e.Basis.STARTED), "batch": queue(e.Basis.CREATED)}, applications=()
    )


class Numbers:
    """Ids that are never repeated, of one process."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0

    def new(self) -> str:
        """The next one."""
        self._count += 1
        return f"{self._prefix}-{self._count:x}"


class Server:
    """One process of the server, from its start to its end.

    Attributes:
        store: None before it is open.
        serving: it takes calls.
    """

    def __init__(self, world: World, number: int, machine: Machine, random: Random) -> None:
        self.world = world
        self.number = number
        self.machine = machine
        self.process = machine.process(f"server-{number}")
        self.store: SimulatedStore | None = None
        self.services: Services
        self.serving = False
        self.calls: dict[Context, None] = {}
        self._random = random
        self._stop = asyncio.Event()
        self.boot = Boot(
            number=number,
            started_ns=world.schedule.now_ns,
            epoch=world.medium.head.epoch,
            position=world.medium.head.position,
            rate=machine.rate,
            server_ns=self.process.monotonic_ns(),
        )
        world.history.boots.append(self.boot)
        self.process.call_soon(self._begin)

    def _begin(self) -> None:
        self.process.create_task(self._live(), name="server")

    def stop(self) -> None:
        """Have it stop in good order; called in any process."""
        self.process.at_virtual(0, self._stop.set)

    async def _live(self) -> None:
        try:
            await self._serve()
        except BaseException as error:
            if self.process.dead:
                return
            if not injected(error):
                self.world.history.errors.append(f"{self.process.name} ended: {describe(error)}")
            self.world.server_ended(self, "fatal")
        else:
            self.world.server_ended(self, "stop")

    async def _serve(self) -> None:
        clock = self.machine.clock(self.process)
        await asyncio.sleep(self._random.uniform(0.02, 0.5))
        disk = SimulatedDisk(self.world.medium, self.process, self.number, clock.wall_us)
        self.store = store = SimulatedStore(disk, self._fatal)
        self.boot.position = store.head().position
        self.services = services = Services(
            configuration=configuration(),
            store=store,
            clock=clock,
            ids=Numbers(f"b{self.number}"),
            key=KEY,
            max_workers=100,
            random=self._random.randbytes,
            validator=validator(),
        )
        await services.load()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(services.run())
            await services.workers.loaded.wait()
            services.health.serve(services.host.service_names)
            self._open()
            await self._stop.wait()
            await services.let_go(self._hang_up)
            running.cancel()
        await store.close()
        # Whoever has waited for the store hears of it; then nothing may be left.
        await asyncio.sleep(0.001)

    def _open(self) -> None:
        self.serving = True
        self.boot.serving_ns = self.world.schedule.now_ns
        self.world.network.listener = self
        self.world.trace(self.process.name, "serves")

    async def _hang_up(self, within_s: float) -> None:
        self.serving = False
        if self.world.network.listener is self:
            self.world.network.listener = None
        until = self.process.time() + within_s
        while self.calls and self.process.time() < until:
            await asyncio.sleep(0.05)
        for call in list(self.calls):
            call.broken()
        while self.calls:
            await asyncio.sleep(0)

    def _fatal(self, _error: BaseException) -> None:
        """The store can no longer be trusted: the process ends at once, before anybody is told anything."""
        self.world.trace(self.process.name, "the store is lost")
        self.world.server_ended(self, "fatal")

    # What the network tells, and what is written down of it.

    def accept(self, connection: Connection) -> None:
        """See `network.Listener`."""
        self.world.arrived(connection, self)
        context = Context(self, connection)
        connection.server_end = context
        context.start()
        connection.up.attach(context)

    def answered(self, connection: Connection, answer: bytes | End) -> None:
        """A unary call was answered; whether anybody hears it is another matter."""
        self.world.answered(connection, answer, self)

    def decode(self, raw: bytes) -> pb.ConnectResponse:
        """A message to a worker."""
        return pb.ConnectResponse.FromString(raw)

    def heard(self, worker_id: str, message: pb.ConnectRequest) -> None:
        """A message of a worker is about to be carried out."""
        kind = message.WhichOneof("message")
        if kind == "heartbeat":
            for beat in message.heartbeat.beats:
                self._beat(worker_id, beat.lease_id, beat.count, "heartbeat")
        elif kind == "report":
            for item in message.report.items:
                self._beat(worker_id, item.lease_id, item.last_beat.count, "report")

    def _beat(self, worker_id: str, lease_id: str, count: int, kind: str) -> None:
        self.world.history.beats.append(
            Beat(
                at_ns=self.world.schedule.now_ns,
                boot=self.number,
                server_ns=self.process.monotonic_ns(),
                worker_id=worker_id,
                lease_id=lease_id,
                count=count,
                kind=kind,
            )
        )

    def wrote(self, worker_id: str, incarnation: str, message: pb.ConnectResponse) -> None:
        """A message goes to a worker."""
        for item in message.assignments.items:
            self.world.trace(self.process.name, f"assigns {item.job_id}/{item.attempt} to {worker_id}")
            self.world.history.sent.append(
                Sent(
                    at_ns=self.world.schedule.now_ns,
                    boot=self.number,
                    worker_id=worker_id,
                    incarnation=incarnation,
                    job_id=item.job_id,
                    attempt=item.attempt,
                    lease_id=item.lease_id,
                    durable=self.world.medium.head.position,
                )
            )


def injected(error: BaseException) -> bool:
    """The error is one of the disk, or a group of such."""
    if isinstance(error, BaseExceptionGroup):
        return all(injected(one) for one in error.exceptions)
    return isinstance(error, StoreError)


def describe(error: BaseException) -> str:
    """An error, and those that it is a group of."""
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}[{', '.join(describe(one) for one in error.exceptions)}]"
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" at {frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame is not None else ""
    return f"{error!r}{where}"
