"""Output on its way from workers: who is asked for it, and what `ShipLogs` brings.

A worker is asked on its own stream, once for all who follow an attempt, and brings the output by a call of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tenure.controlplane.call import BadMessage, Messages, StreamCall
from tenure.controlplane.feeds import Bell, Feed, Follower, Shipment
from tenure.controlplane.leases import Leases, Live
from tenure.controlplane.status import InvalidFields
from tenure.domain.errors import Reason, Refused
from tenure.runtime.groups import TaskGroup
from tenure.v1 import worker_service_pb2 as pb

# A worker that brings nothing though it was asked is asked again after this.
ASK_AGAIN_S = 10.0


class Shipments:
    """The attempts that are followed, by lease."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._feeds: dict[str, Feed] = {}

    def join(self, lease_id: str, attempt: int, position: int, news: Bell) -> tuple[Feed, Follower]:
        """Follow an attempt from an offset on; `leave` it."""
        feed = self._feeds.get(lease_id)
        if feed is None:
            feed = self._feeds[lease_id] = Feed(lease_id, attempt, news)
        follower, ask = feed.join(position)
        if ask:
            self._ask(feed)
        return feed, follower

    def leave(self, feed: Feed, follower: Follower) -> None:
        """Follow no more; without followers nothing is shipped."""
        feed.leave(follower)
        if not feed.followers and self._feeds.get(feed.lease_id) is feed:
            del self._feeds[feed.lease_id]

    def taken(self, lease_id: str) -> bool:
        """Whether a worker has taken the attempt, so that it cannot be declined any more."""
        live = self._leases.get(lease_id)
        return live is not None and live.accepted

    def nudge(self, feed: Feed) -> None:
        """Ask the worker again if it was asked in vain for a while."""
        waiting = feed.shipment is None and not feed.ended
        if waiting and (feed.asked_s is None or _now_s() - feed.asked_s >= ASK_AGAIN_S):
            self._ask(feed)

    def held(self, live: Live) -> None:
        """A worker has taken the attempt, or connected again and holds it: begin, or go on where it was broken off."""
        feed = self._feeds.get(live.lease_id)
        if feed is not None and not feed.ended:
            # A call from before may seem open for a while, and be dead.
            feed.lose()
            self._ask(feed)

    async def ship(self, messages: Messages[pb.ShipLogsRequest], call: StreamCall) -> None:
        """One call of a worker, until nobody follows, nothing more comes, or a newer call takes its place.

        Raises:
            Refused: LEASE_LOST, INVALID_FIELD, REQUEST_MISSING, SLOW_CONSUMER.
        """
        iterator = aiter(messages)
        lease_id = await _lease_of(iterator)
        feed = self._feeds.get(lease_id)
        if feed is not None:
            if feed.subject != call.identity.subject:
                raise Refused(Reason.LEASE_LOST, "the lease is not one of this worker's", field="lease_id")
            shipment = feed.begin()
            try:
                await call.send(pb.ShipLogsResponse(lease_id=lease_id, from_offset=feed.cursor))
                if await self._carry(feed, shipment, iterator):
                    return
            finally:
                if feed.shipment is shipment:
                    feed.lose()
                    feed.news.ring()
        await call.send(pb.ShipLogsResponse(lease_id=lease_id, stop=True))

    async def _carry(
        self, feed: Feed, shipment: Shipment, messages: AsyncIterator[pb.ShipLogsRequest | BadMessage]
    ) -> bool:
        """Take what comes; False: more may come, but it is not wanted."""
        async with TaskGroup() as group:
            reader = group.create_task(_take(feed, shipment, messages))
            watcher = group.create_task(_while_wanted(feed, shipment))
            await asyncio.wait((reader, watcher), return_when=asyncio.FIRST_COMPLETED)
            done = reader.done()
            reader.cancel()
            watcher.cancel()
        return done

    def _ask(self, feed: Feed) -> None:
        live = self._leases.get(feed.lease_id)
        worker = live.worker if live is not None and live.accepted else None
        if worker is None or worker.session is None:
            return  # it is asked when it has taken the attempt, or comes back
        feed.subject = worker.subject
        feed.asked_s = _now_s()
        worker.session.outbox.follow(feed.lease_id)
        worker.session.flush()


async def _lease_of(messages: AsyncIterator[pb.ShipLogsRequest | BadMessage]) -> str:
    first = await anext(messages, None)
    if first is None:
        raise Refused(Reason.REQUEST_MISSING, "the call ended without a message")
    if isinstance(first, BadMessage):
        raise InvalidFields(first.violations)
    return first.lease_id


async def _take(feed: Feed, shipment: Shipment, messages: AsyncIterator[pb.ShipLogsRequest | BadMessage]) -> None:
    async for message in messages:
        if isinstance(message, BadMessage):
            raise InvalidFields(message.violations)
        if message.lease_id != feed.lease_id:
            raise Refused(Reason.INVALID_FIELD, "a call is for one lease", field="lease_id")
        if feed.shipment is not shipment:
            return
        feed.put(message)
        feed.moved_s = _now_s()
        if feed.ended:
            return
        while True:
            rung = feed.room.listen()
            if feed.roomy or feed.shipment is not shipment:
                break
            await rung.wait()


async def _while_wanted(feed: Feed, shipment: Shipment) -> None:
    while True:
        rung = feed.over.listen()
        if not feed.followers or feed.shipment is not shipment:
            return
        await rung.wait()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
