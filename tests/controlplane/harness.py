"""A whole control plane in this process, on a real port, with the clock and the ids of a test.

`async with running_server(clock=…, ids=…) as server:` and then `server.address`, `await server.token(…)`. It is the
same composition root as `tenure serve`; only signals and the process are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from tenure.controlplane.app import Beside, ControlPlane, ServerSettings, serve
from tenure.controlplane.config import Configuration
from tenure.controlplane.listening import Encryption
from tenure.controlplane.permissions import Role
from tenure.controlplane.tokens import Tokens
from tenure.runtime.clock import Clock, SystemClock
from tenure.runtime.ids import Ids, Uuid7Ids

START_SECONDS = 20.0
STOP_SECONDS = 20.0


class RunningServer:
    """A control plane that takes calls.

    Attributes:
        plane: everything that it is made of, for tests that look inside.
        address: HOST:PORT.
        admin_secret: the local administrator's token.
        fatal: what the store has said before it would have ended the process.
    """

    def __init__(self, plane: ControlPlane, clock: Clock, fatal: list[BaseException], stop: asyncio.Event) -> None:
        self.plane = plane
        self.address = plane.address
        self.admin_secret = plane.admin_secret
        self.fatal = fatal
        self._stop = stop
        # Ids of its own: those that a test has named are for jobs.
        self._tokens = Tokens(plane.store, clock, Uuid7Ids())

    async def token(
        self, role: str = "user", subject: str = "user", project: str = "", queues: Iterable[str] = ()
    ) -> str:
        """The secret of a new token."""
        _, secret = await self._tokens.create(role=Role(role), subject=subject, project=project, queues=queues)
        return secret

    def stop(self) -> None:
        """Begin what SIGTERM begins; leaving the context waits for its end."""
        self._stop.set()


@asynccontextmanager
async def running_server(
    store_url: str = "memory:",
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    listen: str = "127.0.0.1:0",
    configuration: Configuration | None = None,
    data_dir: Path | None = None,
    max_workers: int = 10_000,
    reflection: bool | None = None,
    encryption: Encryption | None = None,
    insecure: bool = False,
    beside: Beside | None = None,
) -> AsyncIterator[RunningServer]:
    """A control plane from here to the end of the context; what it raises comes out of the context."""
    clock = clock or SystemClock()
    settings = ServerSettings(
        store=store_url,
        listen=listen,
        configuration=configuration or Configuration(),
        data_dir=data_dir,
        max_workers=max_workers,
        reflection=reflection,
        encryption=encryption,
        insecure=insecure,
    )
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    fatal: list[BaseException] = []
    running = asyncio.get_running_loop().create_task(
        serve(
            settings,
            clock=clock,
            ids=ids or Uuid7Ids(),
            stop=stop,
            ready=ready.set_result,
            on_fatal=fatal.append,
            beside=beside,
        )
    )
    try:
        await asyncio.wait([running, ready], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            if running.done():
                await running
            raise AssertionError(f"the server did not start within {START_SECONDS} s")
        yield RunningServer(ready.result(), clock, fatal, stop)
        stop.set()
        async with asyncio.timeout(STOP_SECONDS):
            await running
    finally:
        stop.set()
        if not running.done():
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
