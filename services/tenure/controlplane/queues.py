"""The queues of this server: their folds in memory, and the one way to change them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Queue, evolve_queue
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.store.store import Append, Conflict, Store, Unit

TRIES = 5


class Queues:
    """All queues by name, in `all`; observers are told of each change after its commit."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._lock = asyncio.Lock()
        self._observers: list[Callable[[Queue], None]] = []
        self.all: dict[str, Queue] = {}

    async def load(self) -> None:
        """Read the queues from the store."""
        self.all = await self._store.load_queues()

    def observe(self, observer: Callable[[Queue], None]) -> None:
        """Have every change of a queue told to `observer`."""
        self._observers.append(observer)

    async def configure(self, name: str, event: e.QueueEvent, actor: str) -> Queue:
        """Append an event to a queue's stream, unless it says what is so already.

        Raises:
            Refused: VERSION_CONFLICT after five lost races.
            StoreError: as `Store.commit`.
        """
        async with self._lock:
            for _ in range(TRIES):
                before = self.all.get(name)
                if before is not None and _says_nothing_new(before, event):
                    return before
                now_us = max(self._clock.wall_us(), before.last_us if before else 0)
                after = evolve_queue(before, name, event, now_us)
                new = e.NewEvent(event_id=self._ids.new(), time_us=now_us, actor=actor, payload=event)
                append = Append(
                    stream=e.queue_stream(name),
                    expected_version=before.version if before else 0,
                    events=(new,),
                    queue=after,
                )
                try:
                    await self._store.commit(Unit(appends=(append,)))
                except Conflict:
                    self.all = await self._store.load_queues()
                    continue
                self.all[name] = after
                for observer in self._observers:
                    observer(after)
                return after
        raise Refused(Reason.VERSION_CONFLICT, "other changes of the queue kept coming first; retry")


def _says_nothing_new(queue: Queue, event: e.QueueEvent) -> bool:
    match event:
        case e.QueueConfigured():
            return queue.configured == event
        case e.QueuePaused():
            return queue.paused
        case e.QueueResumed():
            return not queue.paused
