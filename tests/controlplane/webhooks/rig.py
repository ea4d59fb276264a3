"""Everything that announces, over a store of a test: jobs change by commands, time by hand, names lead where the test
says, and sockets are real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

from tenure.controlplane.handler import Handler, Step
from tenure.controlplane.webhooks.announcing import Webhooks, WebhookSettings
from tenure.controlplane.webhooks.calling import Connector
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.controlplane.webhooks.signing import shown
from tenure.controlplane.webhooks.targets import TargetRules
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.runtime.ids import Ids, Uuid7Ids
from tenure.store.memory import MemoryStore
from tenure.store.outbox import Delivery, DeliveryFilter
from tenure.store.store import Store
from tenure.v1 import job_pb2
from tests.fakes import FakeClock

CANARY = "canary-7b1e"
LOOSE = TargetRules(allow_http=True, networks=(ip_network("127.0.0.0/8"),), ports=None)
HOOK = "hooks.example"


class Names:
    """A `Resolver` that knows what a test says; everything else is on this machine."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        found = self.known.get(host, ["127.0.0.1"])
        if not found:
            raise OSError("no such name")
        return found


class Rig:
    """See the module."""

    def __init__(self, store: Store, clock: FakeClock, ids: Ids, webhooks: Webhooks, names: Names) -> None:
        self.store = store
        self.clock = clock
        self.webhooks = webhooks
        self.names = names
        self.handler = Handler(store, clock, ids)
        self._ids = ids

    async def create(self, url: str, *, created_by: str = "user", count: int = 1) -> list[str]:
        """Jobs that are announced at a URL."""
        await self.webhooks.endpoints.ensure({url} - {""}, created_by, "")
        spec = job_pb2.JobSpecification(command="x", webhook=url, environment={"TOKEN": CANARY})
        event = e.JobCreated(
            specification=spec.SerializeToString(),
            specification_digest=b"d",
            allow_duplicate=True,
            created_by=created_by,
            project="",
            queue="default",
            priority=0,
            terms=e.Terms(),
            command="x",
            arguments=(),
        )
        executed = await self.handler.create([event] * count, actor="user:user")
        return [job.id for job in executed.jobs if isinstance(job, Job)]

    async def do(self, job_id: str, *commands: c.Command) -> Job:
        """Carry out commands, one after the other."""
        job: object = None
        for command in commands:
            (job,) = (await self.handler.execute([Step(job_id=job_id, command=command)], actor="server")).jobs
        assert isinstance(job, Job)
        return job

    async def start(self, job_id: str, worker_id: str = "w-1") -> str:
        """Give a job to a worker, which starts it; its lease."""
        lease_id = self._ids.new()
        await self.do(job_id, c.Assign(lease_id=lease_id, worker_id=worker_id), c.Start(lease_id=lease_id))
        return lease_id

    def secret(self, url: str, created_by: str = "user") -> str:
        """The newest secret of an endpoint."""
        endpoint = self.webhooks.endpoints.find(created_by, "", url)
        assert endpoint is not None
        return shown(endpoint.secrets[-1])

    async def deliveries(self) -> list[Delivery]:
        """All of them, the oldest first."""
        return await self.store.outbox.browse(DeliveryFilter(), None, 1000, descending=False)

    async def until(self, good: Callable[[list[Delivery]], bool], *, step_s: float = 0.0) -> list[Delivery]:
        """The deliveries, once they are as wanted; with `step_s`, time goes on meanwhile."""
        async with asyncio.timeout(15):
            while not good(found := await self.deliveries()):
                await self.clock.advance(step_s)
                await asyncio.sleep(0.002)
        return found


@asynccontextmanager
async def rigged(
    store: Store | None = None,
    *,
    names: Names | None = None,
    connector: Connector | None = None,
    rules: TargetRules = LOOSE,
    schedule: Schedule | None = None,
    limit_s: float = 5.0,
    clock: FakeClock | None = None,
) -> AsyncIterator[Rig]:
    """A rig that runs until the context ends, and then is stopped as if the process had been killed."""
    store = store or MemoryStore()
    # Receivers compare with the real time.
    clock = clock or FakeClock(time.time_ns() // 1000, rounds=20, pause_s=0.001)
    names = names or Names()
    ids = Uuid7Ids()
    webhooks = Webhooks(
        store=store,
        clock=clock,
        ids=ids,
        settings=WebhookSettings(targets=rules, schedule=schedule or Schedule()),
        resolver=names,
        connector=connector,
        limit_s=limit_s,
    )
    await webhooks.load()
    running = asyncio.get_running_loop().create_task(webhooks.run())
    try:
        yield Rig(store, clock, ids, webhooks, names)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
