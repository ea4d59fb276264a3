"""Everything of one server but its listener: the services over an open store, and what runs beside them.

`app.ControlPlane` adds the address that they are reached at. Whoever calls them in the same process, or stands in for
the wire, uses `Services.host` directly.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from tenure.controlplane import health, reflection
from tenure.controlplane.admin_service import AdminService
from tenure.controlplane.catalogue import Catalogue
from tenure.controlplane.config import Configuration
from tenure.controlplane.event_service import EventService
from tenure.controlplane.explain import Explanations
from tenure.controlplane.handler import Handler
from tenure.controlplane.hosting import Host
from tenure.controlplane.job_service import JobService
from tenure.controlplane.pages import Pages
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.provision import wanted_queues
from tenure.controlplane.queue_service import QueueService
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.scrubbing import Scrubbing
from tenure.controlplane.tokens import Tokens
from tenure.controlplane.validation import Validator
from tenure.controlplane.watch import Tail, Watches
from tenure.controlplane.webhook_service import WebhookService
from tenure.controlplane.webhooks.announcing import Webhooks
from tenure.controlplane.worker_service import WorkerService
from tenure.runtime.clock import Clock, SystemClock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.store import Store
from tenure.v1 import (
    admin_service_pb2,
    event_service_pb2,
    job_service_pb2,
    queue_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)

_DRAIN_SECONDS = 5.0
_STOP_SECONDS = 2.0
# How often it is looked whether the machine was suspended, and after how many looks the clock is corrected.
_LOOK_SECONDS = 1.0
_LOOKS = 60
# Less than that is no suspended machine, but two clocks that were read one after the other.
_TREMBLE_NS = 1_000_000

_log = get_logger("server")


class Services:
    """All services of one server over an open store.

    Args:
        configuration: queues, products, limits.
        store: open; stays open.
        clock: the time.
        ids: the ids.
        key: secret of the servers of this log, for the tokens of pages and for resuming.
        max_workers: how many workers may be connected.
        random: gives that many random bytes, fit for secrets.
        validator: one that has compiled the rules of messages already; None: they are compiled by `load`.
    """

    def __init__(
        self,
        *,
        configuration: Configuration,
        store: Store,
        clock: Clock,
        ids: Ids,
        key: bytes,
        max_workers: int = 10_000,
        random: Callable[[int], bytes] = os.urandom,
        validator: Validator | None = None,
    ) -> None:
        self._configuration = configuration
        self._clock = clock
        self._prepared = validator is not None
        self.store = store
        self.tokens = Tokens(store, clock, ids, random=random)
        self.handler = Handler(store, clock, ids)
        self.health = health.HealthService()
        self._resume = ResumeTokens(store, key)
        self._pages = Pages(key)
        self.workers = WorkerService(handler=self.handler, store=store, clock=clock, ids=ids, pages=self._pages)
        self._watches = Watches(store, self._resume)
        self._tail = Tail(store)
        self.catalogue = Catalogue(
            lambda: self.handler.queues,
            applications=configuration.applications,
            create_queues=configuration.create_queues,
            defaults=configuration.defaults,
        )
        self.scrubbing = Scrubbing(store, clock, configuration.scrub)
        self.webhooks = Webhooks(store=store, clock=clock, ids=ids, settings=configuration.webhooks, random=random)
        usual = Limits(calls=max(1000, max_workers), streams=2 * max_workers + 1000)
        self.host = Host(self.tokens, ids, configuration.limits(usual), validator)

    async def load(self, *, reflected: bool = False) -> None:
        """Read what the store has, bring its queues up to the configuration, and make the services ready to be called.

        Args:
            reflected: whether the server tells what it serves.

        Raises:
            StoreError: the store cannot be read or written.
        """
        await self.handler.load()
        await self.webhooks.load()
        configuration = self._configuration
        wanted = wanted_queues(configuration.queues, self.handler.queues, example=configuration.example)
        for name, configured in wanted.items():
            await self.handler.configure_queue(name, configured, actor="server")
        self._add_services()
        if reflected:
            self._add_reflection()
        if not self._prepared:
            self.host.prepare()

    async def run(self) -> None:
        """What goes on beside the calls, until cancelled; what was begun then still has the store for a moment."""
        try:
            async with TaskGroup() as group:
                group.create_task(self.workers.run())
                group.create_task(self.webhooks.run())
                group.create_task(self.scrubbing.run())
                group.create_task(self._keep_time())
        except asyncio.CancelledError:
            # Whoever goes on after that would find the store closed.
            await self.handler.finish(_STOP_SECONDS)
            raise

    async def let_go(self, hang_up: Callable[[float], Awaitable[None]]) -> None:
        """Let go of everybody, in order; the store stays open.

        Args:
            hang_up: takes no more calls, and returns when none is left or so many seconds are over.
        """
        _log.info("draining")
        self.health.stop()
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self.workers.drain()
                self.host.drain()
                await self.handler.finish()
        except TimeoutError:
            _log.warning("drain_cut_short", seconds=_DRAIN_SECONDS)
        self.host.drain()
        self.host.end_streams()
        await hang_up(_STOP_SECONDS)
        await self.workers.logs.written(_STOP_SECONDS)
        await self.webhooks.drain(_STOP_SECONDS)
        self._watches.close()
        self._tail.close()
        _log.info("stopped", position=self.store.head().position)

    def _add_services(self) -> None:
        jobs = JobService(
            handler=self.handler,
            store=self.store,
            catalogue=self.catalogue,
            resume=self._resume,
            pages=self._pages,
            watches=self._watches,
            explanations=Explanations(
                store=self.store, clock=self._clock, queues=lambda: self.handler.queues, fit=self.workers.fit
            ),
            logs=self.workers.logs,
            endpoints=self.webhooks.endpoints,
        )
        queues = QueueService(
            handler=self.handler,
            store=self.store,
            clock=self._clock,
            resume=self._resume,
            pages=self._pages,
            workers=self.workers.queue_workers,
            given_out=self.workers.given_out,
        )
        webhooks = WebhookService(webhooks=self.webhooks, store=self.store, pages=self._pages)
        events = EventService(self.store, self._resume, self._tail)
        admin = AdminService(
            handler=self.handler, store=self.store, tokens=self.tokens, resume=self._resume, pages=self._pages
        )
        host = self.host
        host.add(job_service_pb2.DESCRIPTOR.services_by_name["JobService"], jobs)
        host.add(worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"], self.workers)
        host.add(queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"], queues)
        host.add(webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"], webhooks)
        host.add(event_service_pb2.DESCRIPTOR.services_by_name["EventService"], events)
        host.add(
            admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"], admin, patient=("VerifyLog", "BackupStore")
        )
        host.add(health.DESCRIPTOR, self.health)

    def _add_reflection(self) -> None:
        versions = (reflection.V1ALPHA, reflection.v1())
        service = reflection.ReflectionService([*self.host.service_names, *(version.full_name for version in versions)])
        for version in versions:
            self.host.add(version, service)

    async def _keep_time(self) -> None:
        """Follow the machine's clock: what it was suspended for is taken over soon, what it is ahead by slowly."""
        clock = self._clock
        if not isinstance(clock, SystemClock):
            return
        while True:
            for _ in range(_LOOKS):
                await clock.sleep(_LOOK_SECONDS)
                if clock.catch_up() > _TREMBLE_NS:
                    await self.workers.clock_corrected()
            ahead_s = clock.correct() // 1_000_000_000
            await self.workers.clock_corrected()
            if ahead_s > 0:
                _log.warning("clock_set_ahead", by_s=ahead_s, remedy="if it is right now, start the server again")
