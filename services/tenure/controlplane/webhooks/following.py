"""From the log to the outbox: which events are announced, to whom, and under which number.

What a stretch of the log adds is written together with the position that was reached, so nothing is skipped and nothing
is added twice, wherever the process ends. As long as nobody has an endpoint the log is not even read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tenure.controlplane.watch import Tail
from tenure.controlplane.webhooks.endpoints import Endpoints
from tenure.controlplane.webhooks.transitions import EVENTS, USUAL, type_of
from tenure.domain import events as e
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.store.outbox import Batch, Endpoint, NewDelivery, Subscription
from tenure.store.store import CommitOutcomeUnknown, EventFilter, Store, StoreError
from tenure.v1 import job_pb2

PAGE = 500
LOOK_AGAIN_S = 60.0
STORE_RETRY_S = 5.0
# Events without anything to announce after which the position is written down all the same.
WRITE_EVERY = 50_000

# The tag of JobSpecification.webhook: bytes without it do not have the field, and most need not be parsed.
_TAG = job_pb2.JobSpecification(webhook="x").SerializeToString()[:-2]

log = get_logger("webhooks")


class Follower:
    """Follows the log of a store.

    `on_enqueued` is told the hosts of what was added, after it is durable.
    """

    def __init__(
        self, *, store: Store, endpoints: Endpoints, clock: Clock, on_enqueued: Callable[[Iterable[str]], None]
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._clock = clock
        self._on_enqueued = on_enqueued
        self._only = EventFilter(types=EVENTS)
        self._subscriptions: dict[str, Subscription] = {}
        self._position = 0
        self._written = 0

    @property
    def position(self) -> int:
        """How far the log was looked through."""
        return self._position

    async def load(self) -> None:
        """Go on where the store says; once, before `run`."""
        self._position = self._written = await self._store.outbox.position()
        self._subscriptions = await self._store.outbox.subscriptions()

    async def run(self) -> None:
        """Follow, for ever."""
        tail = Tail(self._store)
        try:
            while True:
                if not len(self._endpoints):
                    await self._endpoints.changed.wait()
                self._position = max(self._position, self._endpoints.since)
                if await tail.wait(self._position, LOOK_AGAIN_S):
                    await self._step()
        finally:
            tail.close()

    async def _step(self) -> None:
        events, reached = await self._store.read(self._position, PAGE, self._only)
        batch = self._batch(events, reached)
        nothing = not (batch.deliveries or batch.subscriptions or batch.ended)
        if not nothing or reached - self._written >= WRITE_EVERY:
            await self._write(batch)
        self._position = reached
        for job_id, subscription in batch.subscriptions.items():
            self._subscriptions[job_id] = subscription
        for job_id in batch.ended:
            self._subscriptions.pop(job_id, None)
        hosts = {endpoint.host for new in batch.deliveries if (endpoint := self._endpoints.get(new.endpoint_id))}
        if hosts:
            self._on_enqueued(hosts)

    async def _write(self, batch: Batch) -> None:
        """Write a batch, however long it takes: nothing behind it may be announced before."""
        while True:
            try:
                await self._store.outbox.enqueue(batch)
            except CommitOutcomeUnknown:
                raise
            except StoreError as error:
                log.warning("announcements_not_written", error=type(error).__name__, retry_s=STORE_RETRY_S)
                await self._clock.sleep(STORE_RETRY_S)
            else:
                self._written = batch.position
                return

    def _batch(self, events: Iterable[e.RecordedEvent], reached: int) -> Batch:
        epoch = self._store.head().epoch
        changed: dict[str, Subscription] = {}
        ended: dict[str, None] = {}
        deliveries: list[NewDelivery] = []
        for event in events:
            job_id = event.stream.partition("/")[2]
            subscription = changed.get(job_id) or self._subscriptions.get(job_id)
            if subscription is None and isinstance(event.payload, e.JobCreated):
                subscription = self._subscribed(event.payload)
            if subscription is None:
                continue
            endpoint = self._endpoints.get(subscription.endpoint_id)
            kind = type_of(event.payload)
            if endpoint is not None and _wants(endpoint, kind):
                subscription = replace(subscription, sequence=subscription.sequence + 1)
                deliveries.append(_delivery(event, job_id, kind, subscription, epoch, endpoint))
            changed[job_id] = subscription
            if endpoint is None or isinstance(event.payload, e.JobTerminated):
                ended[job_id] = None
        going_on = {job_id: one for job_id, one in changed.items() if job_id not in ended}
        return Batch(
            position=reached,
            at_us=self._clock.wall_us(),
            deliveries=tuple(deliveries),
            subscriptions=going_on,
            ended=tuple(ended),
        )

    def _subscribed(self, created: e.JobCreated) -> Subscription | None:
        if _TAG not in created.specification:
            return None
        url = job_pb2.JobSpecification.FromString(created.specification).webhook
        endpoint = self._endpoints.find(created.created_by, created.project, url) if url else None
        return Subscription(endpoint_id=endpoint.id) if endpoint is not None else None


def _wants(endpoint: Endpoint, kind: str) -> bool:
    return kind in (endpoint.event_types or USUAL)


def _delivery(
    event: e.RecordedEvent, job_id: str, kind: str, subscription: Subscription, epoch: int, endpoint: Endpoint
) -> NewDelivery:
    return NewDelivery(
        endpoint_id=endpoint.id,
        position=event.position,
        epoch=epoch,
        job_id=job_id,
        version=event.version,
        sequence=subscription.sequence,
        type=kind,
        dead=endpoint.disabled,
    )
