"""The composition root of the control plane: everything is made here, and ends in the order it has to.

`serve` is the whole life of a server. It begins to take calls when everything behind it stands, and at its end it
first says so (health), then lets go of the workers, then of everybody else, then of the store.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tenure.controlplane import health, listening, reflection, secret_files
from tenure.controlplane.admin_service import AdminService
from tenure.controlplane.catalogue import Catalogue
from tenure.controlplane.config import Configuration
from tenure.controlplane.event_service import EventService
from tenure.controlplane.explain import Explanations
from tenure.controlplane.handler import Handler
from tenure.controlplane.hosting import Host
from tenure.controlplane.job_service import JobService
from tenure.controlplane.pages import Pages
from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.provision import wanted_queues
from tenure.controlplane.queue_service import QueueService
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.tokens import Tokens, digest_of
from tenure.controlplane.watch import Tail, Watches
from tenure.controlplane.webhook_service import WebhookService
from tenure.controlplane.webhooks.announcing import Webhooks
from tenure.controlplane.worker_service import WorkerService
from tenure.runtime.clock import Clock, SystemClock
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.open import directory_of, open_store
from tenure.store.store import Store
from tenure.v1 import (
    admin_service_pb2,
    event_service_pb2,
    job_service_pb2,
    queue_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)

LOCAL_ADMIN = "local"

Beside = Callable[["ControlPlane"], AbstractAsyncContextManager[object]]

_DRAIN_SECONDS = 5.0
_STOP_SECONDS = 2.0
_CORRECTION_SECONDS = 60.0

_log = get_logger("server")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What a server is to be.

    `data_dir` keeps the administrator's token and the servers' key; None: the folder of the store, and for a store
    without one they are made anew and kept nowhere. `reflection` None: on where only this machine reaches the server.
    """

    store: str = "memory:"
    listen: str = "127.0.0.1:0"
    data_dir: Path | None = None
    configuration: Configuration = field(default_factory=Configuration)
    max_workers: int = 10_000
    reflection: bool | None = None
    encryption: listening.Encryption | None = None
    insecure: bool = False

    @property
    def secrets_dir(self) -> Path | None:
        """Where the secret files are.

        Raises:
            BadAddress: the store's address names no folder.
        """
        if self.data_dir is None and self.store.startswith("sqlite:"):
            return directory_of(self.store)
        return self.data_dir


class ControlPlane:
    """Everything of one server over an open store.

    `address` is where it listens and `admin_secret` the local administrator's token, both known after `prepare`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        store: Store,
        clock: Clock,
        ids: Ids,
        *,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        listening.split(settings.listen)
        self._settings = settings
        self._clock = clock
        configuration = settings.configuration
        key = _server_key(settings.secrets_dir, random)
        self.address = ""
        self.admin_secret = ""
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
        self.webhooks = Webhooks(store=store, clock=clock, ids=ids, settings=configuration.webhooks, random=random)
        usual = Limits(calls=max(1000, settings.max_workers), streams=2 * settings.max_workers + 1000)
        self.host = Host(self.tokens, ids, configuration.limits(usual))
        self._server = grpc.aio.server(options=listening.options(settings.max_workers))

    async def prepare(self) -> None:
        """Bring the store's queues up to the configuration, and take the address.

        Raises:
            CannotListen: the address cannot be had, or would be open without encryption.
            SecretFileError: a file of the data directory cannot be used.
            StoreError: the store cannot be written.
        """
        host, _ = listening.split(self._settings.listen)
        if self._settings.encryption is None and not self._settings.insecure and not listening.is_loopback(host):
            message = f"{host} can be reached from other machines: give --tls-cert and --tls-key, or --insecure"
            raise listening.CannotListen(message)
        await self.handler.load()
        await self.webhooks.load()
        await self._provision()
        self.admin_secret = await self._local_admin()
        self._add_services(listening.is_loopback(host))
        self.address = listening.bind(self._server, self._settings.listen, self._settings.encryption)

    async def open(self) -> None:
        """Take calls, once the leases of the log are known; `run` goes on already."""
        await self.workers.loaded.wait()
        await self._server.start()
        self.health.serve(self.host.service_names)
        _log.info("serving", address=self.address, engine=self.store.engine, position=self.store.head().position)

    async def run(self) -> None:
        """What goes on beside the calls, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.workers.run())
            group.create_task(self.webhooks.run())
            group.create_task(self._keep_time())

    async def stop(self) -> None:
        """Let go of everybody, in order; the store stays open."""
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
        await self._server.stop(_STOP_SECONDS)
        await self.workers.logs.written(_STOP_SECONDS)
        await self.webhooks.drain(_STOP_SECONDS)
        self._watches.close()
        self._tail.close()
        _log.info("stopped", position=self.store.head().position)

    async def _provision(self) -> None:
        configuration = self._settings.configuration
        wanted = wanted_queues(configuration.queues, self.handler.queues, example=configuration.example)
        for name, configured in wanted.items():
            await self.handler.configure_queue(name, configured, actor="server")

    async def _local_admin(self) -> str:
        data_dir = self._settings.secrets_dir
        if data_dir is None:
            return (await self.tokens.create(role=Role.ADMIN, subject=LOCAL_ADMIN))[1]
        path = data_dir / secret_files.ADMIN_TOKEN
        secret = secret_files.keep(path, self.tokens.new_secret)
        row = await self.store.find_token(digest_of(secret))
        if row is not None and row.revoked_us is not None:
            # Whoever can write into the data directory can do everything anyway; a revoked file would only lock out.
            secret = self.tokens.new_secret()
            secret_files.replace(path, secret)
            row = None
        if row is None:
            await self.tokens.adopt(secret, role=Role.ADMIN, subject=LOCAL_ADMIN)
        return secret

    def _add_services(self, loopback: bool) -> None:
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
        if self._settings.reflection if self._settings.reflection is not None else loopback:
            versions = (reflection.V1ALPHA, reflection.v1())
            service = reflection.ReflectionService([*host.service_names, *(each.full_name for each in versions)])
            for version in versions:
                host.add(version, service)
        host.prepare()
        self._server.add_generic_rpc_handlers((host,))

    async def _keep_time(self) -> None:
        while True:
            await self._clock.sleep(_CORRECTION_SECONDS)
            if isinstance(self._clock, SystemClock):
                self._clock.correct()


async def serve(
    settings: ServerSettings,
    *,
    clock: Clock,
    ids: Ids,
    stop: asyncio.Event,
    ready: Callable[[ControlPlane], None],
    on_fatal: Callable[[BaseException], None],
    random: Callable[[int], bytes] = os.urandom,
    beside: Beside | None = None,
) -> None:
    """Serve until `stop` is set.

    Args:
        settings: what the server is to be.
        clock: its time.
        ids: its ids.
        stop: set it, and the server drains and this returns.
        ready: called when it takes calls.
        on_fatal: called, perhaps from another thread, when the store can no longer be trusted: end the process.
        random: gives that many random bytes, fit for secrets.
        beside: entered when it takes calls, and left when it has stopped; what else is to be served from here.

    Raises:
        CannotListen, SecretFileError, StoreError: it could not start; the texts are for the operator.
    """
    store = await open_store(settings.store, clock=clock, on_fatal=on_fatal)
    try:
        plane = ControlPlane(settings, store, clock, ids, random=random)
        await plane.prepare()
        try:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(plane.run())
                await plane.open()
                async with beside(plane) if beside is not None else nullcontext():
                    ready(plane)
                    await stop.wait()
                    await plane.stop()
                running.cancel()
        except BaseExceptionGroup as error:
            _log.error("failed", exc_info=error)
            raise
    finally:
        await store.close()


def _server_key(data_dir: Path | None, random: Callable[[int], bytes]) -> bytes:
    if data_dir is None:
        return random(32)
    path = data_dir / secret_files.SERVER_KEY
    try:
        return bytes.fromhex(secret_files.keep(path, lambda: random(32).hex()))
    except ValueError:
        message = f"{path} is no key: remove it, and the server makes a new one (resume and page tokens end)"
        raise secret_files.SecretFileError(message) from None
