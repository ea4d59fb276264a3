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

from tenure.controlplane import listening, secret_files
from tenure.controlplane.composition import Services
from tenure.controlplane.config import Configuration
from tenure.controlplane.permissions import Role
from tenure.controlplane.tokens import digest_of
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.open import directory_of, open_store
from tenure.store.store import Store, StoreDamaged

LOCAL_ADMIN = "local"

Beside = Callable[["ControlPlane"], AbstractAsyncContextManager[object]]

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


class ControlPlane(Services):
    """The services of one server, and the listener they are reached at.

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
        super().__init__(
            configuration=settings.configuration,
            store=store,
            clock=clock,
            ids=ids,
            key=_server_key(settings.secrets_dir, random),
            max_workers=settings.max_workers,
            random=random,
        )
        self._settings = settings
        self.address = ""
        self.admin_secret = ""
        self._server = grpc.aio.server(options=listening.options(settings.max_workers))

    async def prepare(self) -> None:
        """Bring the store's queues up to the configuration, and take the address.

        Raises:
            CannotListen: the address cannot be had, or would be open without encryption.
            SecretFileError: a file of the data directory cannot be used.
            StoreError: the store cannot be written.
        """
        settings = self._settings
        host, _ = listening.split(settings.listen)
        listening.check_open(host, settings.encryption, insecure=settings.insecure)
        loopback = listening.is_loopback(host)
        await self.load(reflected=settings.reflection if settings.reflection is not None else loopback)
        self.admin_secret = await self._local_admin()
        self._server.add_generic_rpc_handlers((self.host,))
        self.address = listening.bind(self._server, settings.listen, settings.encryption)

    async def open(self) -> None:
        """Take calls, once the leases of the log are known; `run` goes on already."""
        await self.workers.loaded.wait()
        await self._server.start()
        self.health.serve(self.host.service_names)
        _log.info("serving", address=self.address, engine=self.store.engine, position=self.store.head().position)

    async def stop(self) -> None:
        """Let go of everybody, in order; the store stays open."""
        await self.let_go(self._server.stop)

    async def hang_up(self) -> None:
        """Take no calls and answer none, whatever they wait for; nothing where it has stopped."""
        await self._server.stop(None)

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
            async with TaskGroup() as group:
                running = group.create_task(plane.run())
                await plane.open()
                async with beside(plane) if beside is not None else nullcontext():
                    ready(plane)
                    await stop.wait()
                    await plane.stop()
                running.cancel()
        except BaseExceptionGroup as error:
            if (damaged := _damage_in(error)) is not None:
                # What there is to say is said by whoever started it.
                raise damaged from error
            _log.error("failed", exc_info=error)
            raise
        finally:
            await plane.hang_up()
    finally:
        await store.close()


def _damage_in(error: BaseExceptionGroup[BaseException]) -> StoreDamaged | None:
    """The damage that all of it comes from; None: something else has failed too."""
    damaged, others = error.split(StoreDamaged)
    found: BaseException | None = damaged if others is None else None
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, StoreDamaged) else None


def _server_key(data_dir: Path | None, random: Callable[[int], bytes]) -> bytes:
    if data_dir is None:
        return random(32)
    path = data_dir / secret_files.SERVER_KEY
    try:
        return bytes.fromhex(secret_files.keep(path, lambda: random(32).hex()))
    except ValueError:
        message = f"{path} is no key: remove it, and the server makes a new one (resume and page tokens end)"
        raise secret_files.SecretFileError(message) from None
