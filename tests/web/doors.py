"""A world with a web door: the server of the acceptance tests, its clock and ids, and HTTP clients."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from tenure.cli.door import DoorSettings, open_door
from tenure.controlplane.app import ControlPlane
from tenure.runtime.ids import Uuid7Ids
from tenure.web.app import Door
from tenure.web.serving import address_of, bind
from tests.acceptance.world import T0_MS, World
from tests.controlplane.harness import running_server

PATIENCE_S = 20.0
# A machine that asks for work in vain waits so long in real time; jobs take a few milliseconds to be given out.
WORK_WAIT_S = 0.5


class WebWorld(World):
    """A world whose server has a web door at `url`."""

    def __init__(self, store_url: str, wall_ms: int) -> None:
        super().__init__(store_url, wall_ms)
        self.url = ""
        self._port = 0
        self._clients: list[httpx.AsyncClient] = []

    async def start(self) -> None:
        """Start the server and its door, at the same address as before."""
        self._serving = AsyncExitStack()
        self._server = await self._serving.enter_async_context(
            running_server(store_url=self.store_url, clock=self.clock, ids=self.ids, beside=self._door)
        )

    async def stop(self) -> None:
        """Stop the server; clients lose their connections."""
        for client in self._clients:
            await client.aclose()
        self._clients.clear()
        await super().stop()

    def client(self, token: str = "", **headers: str) -> httpx.AsyncClient:
        """Somebody with a token, or without."""
        if token:
            headers["authorization"] = f"Bearer {token}"
        client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False)
        self._clients.append(client)
        return client

    async def user_client(self, name: str = "user", *, project: str = "") -> httpx.AsyncClient:
        """A user."""
        return self.client(await self.server.token("user", name, project))

    async def admin_client(self) -> httpx.AsyncClient:
        """An administrator."""
        return self.client(await self.server.token("admin", "admin"))

    async def machine_client(self, *, queues: tuple[str, ...] = (), subject: str = "machines") -> httpx.AsyncClient:
        """Whoever holds a worker's token, by Kelpie's header."""
        token = await self.server.token("worker", subject, queues=queues)
        return self.client(**{"x-kelpie-key": token})

    @asynccontextmanager
    async def _door(self, plane: ControlPlane) -> AsyncIterator[Door]:
        opened = bind("127.0.0.1", self._port)
        self._port = opened.getsockname()[1]
        self.url = f"http://{address_of(opened)}"
        settings = DoorSettings(opened=opened, work_wait_s=WORK_WAIT_S)
        # Ids of its own: those that a test has named are for jobs.
        async with open_door(plane, settings, clock=self.clock, ids=Uuid7Ids(), random=os.urandom) as door:
            yield door


@asynccontextmanager
async def open_web_world(store_url: str = "memory:", *, wall_ms: int = T0_MS) -> AsyncIterator[WebWorld]:
    """A world with its server and door; at the end everything is closed."""
    world = WebWorld(store_url, wall_ms)
    try:
        await world.start()
        yield world
    finally:
        await world.stop()
        for worker in world.workers:
            await worker.close()
