"""The queues of this server: their folds in memory, and the one way to change them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from tenure.controlplane.changes import Executed, RequestKey, replay, stored_request
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Queue, evolve_queue
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.store.store import Append, Conflict, RequestAnswered, Store, Unit

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

    async def configure(
        self, changes: Mapping[str, e.QueueEvent], *, actor: str, request: RequestKey | None = None
    ) -> Executed:
        """Append an event to the stream of each named queue that does not say so already: all or none.

        Raises:
            Refused: VERSION_CONFLICT after five lost races, REQUEST_ID_REUSED.
            StoreError: as `Store.commit`.
        """
        async with self._lock:
            for _ in range(TRIES):
                appends = self._appends(changes, actor)
                if not appends:
                    return Executed(position=self._store.head().position)
                unit = Unit(appends=appends, request=stored_request(request, b"", self._clock.wall_us()))
                try:
                    committed = await self._store.commit(unit)
                except RequestAnswered as known:
                    assert request is not None
                    return replay(request, known.answered)
                except Conflict:
                    await self.load()
                    continue
                self._committed(appends)
                return Executed(position=committed.last)
        raise Refused(Reason.VERSION_CONFLICT, "other changes of the queue kept coming first; retry")

    def making(self, wanted: Mapping[str, e.QueueConfigured], actor: str) -> Making:
        """Appends that make those of the named queues that are not there, to be committed with something else. Whoever
        leaves without an error has committed them.
        """
        return Making(self, wanted, actor)

    async def begin(self, wanted: Mapping[str, e.QueueConfigured], actor: str) -> tuple[Append, ...]:
        """See `making`: until `end` nobody else changes a queue."""
        await self._lock.acquire()
        try:
            return self._appends({name: event for name, event in wanted.items() if name not in self.all}, actor)
        except BaseException:
            self._lock.release()
            raise

    def end(self, appends: tuple[Append, ...]) -> None:
        """These were committed."""
        self._lock.release()
        self._committed(appends)

    def _committed(self, appends: tuple[Append, ...]) -> None:
        for append in appends:
            assert append.queue is not None
            self.all[append.queue.name] = append.queue
            for observer in self._observers:
                observer(append.queue)

    def _appends(self, changes: Mapping[str, e.QueueEvent], actor: str) -> tuple[Append, ...]:
        appends: list[Append] = []
        for name, event in changes.items():
            before = self.all.get(name)
            if before is not None and _says_nothing_new(before, event):
                continue
            now_us = max(self._clock.wall_us(), before.last_us if before else 0)
            new = e.NewEvent(event_id=self._ids.new(), time_us=now_us, actor=actor, payload=event)
            appends.append(
                Append(
                    stream=e.queue_stream(name),
                    expected_version=before.version if before else 0,
                    events=(new,),
                    queue=evolve_queue(before, name, event, now_us),
                )
            )
        return tuple(appends)


def _says_nothing_new(queue: Queue, event: e.QueueEvent) -> bool:
    match event:
        case e.QueueConfigured():
            return queue.configured == event
        case e.QueuePaused():
            return queue.paused
        case e.QueueResumed():
            return not queue.paused


class Making:
    """See `Queues.making`. No generator: one that is given up in the middle would complain."""

    def __init__(self, queues: Queues, wanted: Mapping[str, e.QueueConfigured], actor: str) -> None:
        self._queues = queues
        self._wanted = wanted
        self._actor = actor
        self._appends: tuple[Append, ...] = ()

    async def __aenter__(self) -> tuple[Append, ...]:
        if self._wanted:
            self._appends = await self._queues.begin(self._wanted, self._actor)
        return self._appends

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if self._wanted:
            self._queues.end(self._appends if kind is None else ())
