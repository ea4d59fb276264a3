"""A server with a clock that only the test moves, and everybody who talks to it.

The server is real and listens on a port of the loopback address; only its clock and its ids are the test's. `until`
and `let_pass` move the clock, and the workers beat on the way, each at exactly the instant at which it is due. What
follows from a moved clock crosses sockets and perhaps threads, so tests wait for it with conditions; only what must
*not* have happened is looked at after `settle`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.acceptance.callers import Caller
from tests.acceptance.scripted_worker import ScriptedWorker
from tests.controlplane.harness import RunningServer, running_server
from tests.fakes import FakeClock, SequenceIds

T0_MS = 1_633_329_776_235

SETTLE_TIMES = 5
SETTLE_S = 0.01


class World:
    """The server, its clock and ids, and the users and workers that were made with it."""

    def __init__(self, store_url: str, wall_ms: int) -> None:
        self.store_url = store_url
        self.clock = FakeClock(wall_ms * 1000, pause_s=0.0)
        self.ids = SequenceIds()
        self._server: RunningServer | None = None
        self.workers: list[ScriptedWorker] = []
        self._callers: list[Caller] = []
        self._serving: AsyncExitStack | None = None

    # --- the server ---------------------------------------------------------------------------------------------------

    @property
    def durable(self) -> bool:
        """The store outlives the server."""
        return self.store_url != "memory:"

    async def start(self) -> None:
        """Start the server."""
        self._serving = AsyncExitStack()
        self._server = await self._serving.enter_async_context(
            running_server(store_url=self.store_url, clock=self.clock, ids=self.ids)
        )

    @property
    def server(self) -> RunningServer:
        """The server."""
        assert self._server is not None
        return self._server

    async def stop(self) -> None:
        """Stop the server; workers and callers lose their connections."""
        for worker in self.workers:
            await worker.vanish()
        for caller in self._callers:
            await caller.close()
        self._callers.clear()
        if self._serving is not None:
            serving, self._serving = self._serving, None
            await self._closed(serving)

    async def _closed(self, serving: AsyncExitStack) -> None:
        # A server that drains waits on its clock, which only we move.
        closing = asyncio.ensure_future(serving.aclose())
        while not closing.done():
            await asyncio.wait((closing,), timeout=0.05)
            if not closing.done():
                await self.clock.advance(0.05)
        await closing

    # --- people and machines ------------------------------------------------------------------------------------------

    async def user(self, name: str = "user", *, project: str = "") -> Caller:
        """A user with a token and a connection of their own."""
        return await self._caller(role="user", subject=name, project=project)

    async def admin(self) -> Caller:
        """An administrator."""
        return await self._caller(role="admin", subject="admin")

    async def worker_credentials(self, name: str = "machine") -> Caller:
        """Somebody who tries a worker's token on the RPCs of users."""
        return await self._caller(role="worker", subject=name)

    async def new_worker(
        self, worker_id: str, *, queues: Sequence[str] = ("default",), slots: int = 1, allowed_roots: Sequence[str] = ()
    ) -> ScriptedWorker:
        """A worker that is not connected yet."""
        worker = ScriptedWorker(
            self.server.address,
            await self._token(role="worker", subject=f"machine-{worker_id}"),
            worker_id,
            self.clock.wall_us,
            queues=queues,
            slots=slots,
            allowed_roots=allowed_roots,
        )
        self.workers.append(worker)
        return worker

    async def worker(
        self, worker_id: str, *, queues: Sequence[str] = ("default",), slots: int = 1, allowed_roots: Sequence[str] = ()
    ) -> ScriptedWorker:
        """A connected worker."""
        worker = await self.new_worker(worker_id, queues=queues, slots=slots, allowed_roots=allowed_roots)
        await worker.connect()
        return worker

    async def same_worker(self, old: ScriptedWorker, *, new_process: bool = False) -> ScriptedWorker:
        """A worker as it was, not connected, for a server that was started again."""
        worker = await self.new_worker(old.id, queues=old._queues, slots=old._slots, allowed_roots=old._allowed_roots)
        worker.incarnation = f"{old.id}-2" if new_process else old.incarnation
        worker.held = {} if new_process else dict(old.held)
        self.workers.remove(old)
        await old.close()
        return worker

    async def _caller(self, *, role: str, subject: str, project: str = "") -> Caller:
        caller = Caller(self.server.address, await self._token(role=role, subject=subject, project=project))
        self._callers.append(caller)
        return caller

    async def _token(self, *, role: str, subject: str, project: str = "") -> str:
        return await self.server.token(role=role, subject=subject, project=project)

    # --- time ---------------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """What the server's wall clock shows."""
        return self.clock.wall_us() // 1000

    async def until(self, wall_ms: int) -> None:
        """Let time pass until the wall clock shows that instant; workers beat when they are due."""
        target_us = wall_ms * 1000
        while True:
            due_us = min(
                (
                    held.next_beat_us
                    for worker in self.workers
                    if worker.beats_by_itself and worker.connected
                    for held in worker.held.values()
                ),
                default=target_us + 1,
            )
            if due_us > target_us:
                break
            await self.clock.advance_to(max(due_us, self.clock.wall_us()))
            for worker in self.workers:
                for held in list(worker.held.values()):
                    if worker.beats_by_itself and worker.connected and held.next_beat_us <= self.clock.wall_us():
                        await worker.beat(held.assignment)
        await self.clock.advance_to(target_us)
        await self.settle()

    async def let_pass(self, seconds: float) -> None:
        """Let so much time pass; workers beat when they are due."""
        await self.until(self.now_ms() + round(seconds * 1000))

    async def let_pass_without_beats(self, seconds: float) -> None:
        """Let so much time pass in which no worker is heard."""
        await self.clock.advance(seconds)
        await self.settle()

    async def wake(self) -> None:
        """Wake those whose time came while the clock was frozen; they are late."""
        await self.clock.advance(0)
        await self.settle()

    async def settle(self) -> None:
        """Give everything that can happen now the real time to happen; the clock stands still."""
        for _ in range(SETTLE_TIMES):
            await self.clock.settle()
            await asyncio.sleep(SETTLE_S)


@asynccontextmanager
async def open_world(store_url: str, *, wall_ms: int = T0_MS) -> AsyncIterator[World]:
    """A world with its server started; at the end everything is closed."""
    world = World(store_url, wall_ms)
    try:
        await world.start()
        yield world
    finally:
        await world.stop()
        for worker in world.workers:
            await worker.close()
