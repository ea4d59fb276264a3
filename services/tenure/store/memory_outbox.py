"""The outbox of the memory engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tenure.store.outbox import (
    Backlog,
    Batch,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Endpoint,
    NewDelivery,
    Subscription,
    Tried,
)


class MemoryOutbox:
    """An `Outbox` in this process's memory; see there for what the methods promise."""

    def __init__(self) -> None:
        self._position = 0
        self._endpoints: dict[str, Endpoint] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._deliveries: dict[int, Delivery] = {}
        # The same by event, and by job.
        self._known: dict[tuple[str, int], int] = {}
        self._jobs: dict[tuple[str, str], set[int]] = {}
        self._numbers = itertools.count(1)

    async def position(self) -> int:
        """See `Outbox.position`."""
        return self._position

    async def endpoints(self) -> list[Endpoint]:
        """See `Outbox.endpoints`."""
        return list(self._endpoints.values())

    async def subscriptions(self) -> dict[str, Subscription]:
        """See `Outbox.subscriptions`."""
        return dict(self._subscriptions)

    async def put_endpoints(self, endpoints: Iterable[Endpoint], position: int, at_us: int) -> None:
        """See `Outbox.put_endpoints`."""
        self._position = max(self._position, position)
        for endpoint in endpoints:
            self._endpoints[endpoint.id] = endpoint
            if endpoint.disabled:
                for one in list(self._deliveries.values()):
                    if one.endpoint_id == endpoint.id and one.state is DeliveryState.PENDING:
                        dead = replace(one, state=DeliveryState.DEAD, next_us=None, error=endpoint.disabled)
                        self._deliveries[one.number] = dead

    async def remove_endpoints(self, ids: Iterable[str]) -> None:
        """See `Outbox.remove_endpoints`."""
        for endpoint_id in ids:
            for one in list(self._deliveries.values()):
                if one.endpoint_id == endpoint_id:
                    self._forget(one)
            gone = [job_id for job_id, one in self._subscriptions.items() if one.endpoint_id == endpoint_id]
            for job_id in gone:
                del self._subscriptions[job_id]
            self._endpoints.pop(endpoint_id, None)

    async def sweep(self) -> None:
        """See `Outbox.sweep`: here nothing is left."""

    async def enqueue(self, batch: Batch) -> None:
        """See `Outbox.enqueue`."""
        self._position = max(self._position, batch.position)
        for job_id, subscription in batch.subscriptions.items():
            if subscription.endpoint_id in self._endpoints:
                self._subscriptions[job_id] = subscription
        for new in batch.deliveries:
            if new.endpoint_id in self._endpoints and (new.endpoint_id, new.position) not in self._known:
                self._add(new, batch.at_us)
        for job_id in batch.ended:
            self._subscriptions.pop(job_id, None)

    def _add(self, new: NewDelivery, at_us: int) -> None:
        number = next(self._numbers)
        self._deliveries[number] = Delivery(
            number=number,
            endpoint_id=new.endpoint_id,
            host=self._endpoints[new.endpoint_id].host,
            position=new.position,
            epoch=new.epoch,
            job_id=new.job_id,
            version=new.version,
            sequence=new.sequence,
            type=new.type,
            state=DeliveryState.DEAD if new.dead else DeliveryState.PENDING,
            attempts=0,
            made_us=at_us,
            error=new.dead,
        )
        self._known[new.endpoint_id, new.position] = number
        self._jobs.setdefault((new.endpoint_id, new.job_id), set()).add(number)
        self._order(new.endpoint_id, new.job_id, at_us)

    def _forget(self, one: Delivery) -> None:
        del self._deliveries[one.number]
        del self._known[one.endpoint_id, one.position]
        numbers = self._jobs[one.endpoint_id, one.job_id]
        numbers.discard(one.number)
        if not numbers:
            del self._jobs[one.endpoint_id, one.job_id]

    def _order(self, endpoint_id: str, job_id: str, now_us: int) -> None:
        """Have the first delivery that waits of a job be due, and no other."""
        of_job = [self._deliveries[number] for number in self._jobs[endpoint_id, job_id]]
        waiting = [one for one in of_job if one.state is DeliveryState.PENDING]
        waiting.sort(key=lambda one: one.sequence)
        for index, one in enumerate(waiting):
            next_us = None if index else (now_us if one.next_us is None else one.next_us)
            self._deliveries[one.number] = replace(one, next_us=next_us)

    async def hosts(self) -> list[str]:
        """See `Outbox.hosts`."""
        return sorted({one.host for one in self._deliveries.values() if one.next_us is not None})

    async def due(self, host: str, limit: int) -> list[Delivery]:
        """See `Outbox.due`."""
        due = [(one.next_us, one.number, one) for one in self._deliveries.values() if one.host == host]
        ready = sorted((at_us, number, one) for at_us, number, one in due if at_us is not None)
        return [one for _, _, one in ready[:limit]]

    async def settle(self, tried: Sequence[Tried]) -> None:
        """See `Outbox.settle`."""
        for done in tried:
            number = self._known.get((done.endpoint_id, done.position))
            if number is None or (one := self._deliveries[number]).state is DeliveryState.DELIVERED:
                continue
            if one.state is DeliveryState.DEAD and done.state is not DeliveryState.DELIVERED:
                continue
            self._deliveries[one.number] = replace(
                one,
                state=done.state,
                attempts=one.attempts + 1,
                next_us=done.next_us,
                tried_us=done.tried_us,
                status=done.status,
                error=done.error,
            )
            self._order(one.endpoint_id, one.job_id, done.tried_us)

    async def browse(
        self, wanted: DeliveryFilter, after: int | None, limit: int, *, descending: bool = True
    ) -> list[Delivery]:
        """See `Outbox.browse`."""
        found = [self._deliveries[number] for number in sorted(self._deliveries, reverse=descending)]
        if after is not None:
            found = [one for one in found if (one.number < after if descending else one.number > after)]
        return [one for one in found if _wanted(one, wanted)][:limit]

    async def backlogs(self) -> dict[str, Backlog]:
        """See `Outbox.backlogs`."""
        found: dict[str, Backlog] = {}
        for one in self._deliveries.values():
            if one.state is DeliveryState.DELIVERED:
                continue
            backlog = found.get(one.endpoint_id, Backlog())
            if one.state is DeliveryState.PENDING:
                found[one.endpoint_id] = replace(backlog, pending=backlog.pending + 1)
            else:
                found[one.endpoint_id] = replace(backlog, dead=backlog.dead + 1)
        return found

    async def replay(self, numbers: Sequence[int], now_us: int) -> int:
        """See `Outbox.replay`."""
        again = [
            one
            for number in sorted(set(numbers))
            if (one := self._deliveries.get(number)) is not None and one.state is not DeliveryState.PENDING
        ]
        for one in again:
            self._deliveries[one.number] = replace(
                one, state=DeliveryState.PENDING, attempts=0, next_us=None, made_us=now_us, error=""
            )
        for endpoint_id, job_id in {(one.endpoint_id, one.job_id) for one in again}:
            self._order(endpoint_id, job_id, now_us)
        return len(again)

    async def expire(self, before_us: int, now_us: int, why: str) -> int:
        """See `Outbox.expire`."""
        old = [
            one for one in self._deliveries.values() if one.state is DeliveryState.PENDING and one.made_us < before_us
        ]
        for one in old:
            dead = replace(one, state=DeliveryState.DEAD, next_us=None, error=one.error or why)
            self._deliveries[one.number] = dead
        for endpoint_id, job_id in {(one.endpoint_id, one.job_id) for one in old}:
            self._order(endpoint_id, job_id, now_us)
        return len(old)

    async def purge(self, before_us: int, limit: int) -> int:
        """See `Outbox.purge`."""
        old = [
            one
            for one in self._deliveries.values()
            if one.state is not DeliveryState.PENDING and one.made_us < before_us
        ]
        old.sort(key=lambda one: one.made_us)
        for one in old[:limit]:
            self._forget(one)
        return len(old[:limit])


def _wanted(one: Delivery, wanted: DeliveryFilter) -> bool:
    return (
        (wanted.endpoint_ids is None or one.endpoint_id in wanted.endpoint_ids)
        and (wanted.keys is None or (one.endpoint_id, one.position) in wanted.keys)
        and (not wanted.job_id or one.job_id == wanted.job_id)
        and (wanted.state is None or one.state is wanted.state)
        and one.position >= wanted.from_position
    )
