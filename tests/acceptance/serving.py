"""The whole server, from its composition root, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from tenure.controlplane.app import ControlPlane, ServerSettings, serve
from tenure.controlplane.permissions import Role
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids

START_S = 30.0


class RunningServer:
    """A server that takes calls at `address`. Its end is begun by `stop.set()`, and `ended` is its task."""

    def __init__(self, plane: ControlPlane, stop: asyncio.Event, ended: asyncio.Task[None]) -> None:
        self.address = plane.address
        self.stop = stop
        self.ended = ended
        self._plane = plane

    async def token(self, *, role: str, subject: str, project: str = "", queues: Iterable[str] = ()) -> str:
        """A new token's secret."""
        _, secret = await self._plane.tokens.create(role=Role(role), subject=subject, project=project, queues=queues)
        return secret


@asynccontextmanager
async def running_server(*, store_url: str, clock: Clock, ids: Ids) -> AsyncIterator[RunningServer]:
    """A server on a free port of the loopback address, drained and stopped at the end."""
    ready: asyncio.Future[ControlPlane] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    def fatal(error: BaseException) -> None:
        raise AssertionError("the store can no longer be trusted") from error

    settings = ServerSettings(store=store_url, listen="127.0.0.1:0")
    task = asyncio.get_running_loop().create_task(
        serve(settings, clock=clock, ids=ids, stop=stop, ready=ready.set_result, on_fatal=fatal)
    )
    try:
        await asyncio.wait((task, ready), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield RunningServer(ready.result(), stop, task)
    finally:
        stop.set()
        await task
