"""One call of FollowLogs: what to send next, looked at anew whenever something has changed.

While the attempt lives, its output comes from the worker; once it is over, what is still on its way is waited for, and
the rest is what was kept of it. While there is nothing to tell, an empty piece now and then says so.
"""

from __future__ import annotations

import asyncio
import math

from tenure.controlplane.feeds import Feed, Follower
from tenure.controlplane.shipments import Shipments
from tenure.controlplane.tails import Tails
from tenure.controlplane.topics import Topic, Topics
from tenure.domain.errors import Reason, Refused
from tenure.runtime.clock import Clock
from tenure.v1.job_service_pb2 import FollowLogsRequest, FollowLogsResponse

# How long the last of an output may be on its way after the attempt has ended, or since something of it came; and how
# long a worker may take to bring what it has now.
PATIENCE_S = 5.0
# While somebody waits for one of these, it is looked at as often as this; else as often as that.
SOON_S = 0.5
LATER_S = 10.0
# Who has heard nothing for so long is told where it is, so that silence means that the server is gone.
QUIET_S = 10.0


class Following:
    """One call, over a topic that stays open as long."""

    def __init__(
        self,
        request: FollowLogsRequest,
        topic: Topic,
        *,
        clock: Clock,
        topics: Topics,
        shipments: Shipments,
        tails: Tails,
    ) -> None:
        self._request = request
        self._topic = topic
        self._clock = clock
        self._topics = topics
        self._shipments = shipments
        self._tails = tails
        self._attempt = request.attempt if request.HasField("attempt") else 0
        self._position = request.from_offset
        self._joined: tuple[Feed, Follower] | None = None
        self._until: int | None = None
        self._began_s = _now_s()
        self._spoke_ns = clock.monotonic_ns()
        self._soon = False
        self._done = False

    async def next(self) -> FollowLogsResponse | None:
        """The next message, when there is one; None: that was all.

        Raises:
            Refused: WORKER_UNREACHABLE.
            StoreError: the store cannot be read.
        """
        while not self._done:
            rung = self._topic.bell.listen()
            self._soon = False
            response = await self._look()
            if response is None and not self._done and self._quiet_for_s() <= 0:
                response = self._nothing_new()
            if response is not None:
                self._spoke_ns = self._clock.monotonic_ns()
                return response
            if not self._done:
                await self._wait(rung)
        return None

    def close(self) -> None:
        """Follow no more."""
        if self._joined is not None:
            self._shipments.leave(*self._joined)
            self._joined = None

    async def _wait(self, rung: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(SOON_S if self._soon else min(LATER_S, self._quiet_for_s())):
                await rung.wait()
        except TimeoutError:
            await self._topics.refresh(self._topic)

    def _quiet_for_s(self) -> float:
        """Seconds in which nothing need be said."""
        if self._request.snapshot:
            return math.inf
        return QUIET_S - (self._clock.monotonic_ns() - self._spoke_ns) / 1e9

    def _nothing_new(self) -> FollowLogsResponse:
        """An empty piece. No attempt that may still be declined is said: who goes on from here would stay with it."""
        number = self._attempt if self._attempt <= self._topic.attempts else 0
        lease_id = self._topic.live(number)
        taken = lease_id is None or self._shipments.taken(lease_id)
        return FollowLogsResponse(offset=self._position, attempt=number if taken else 0)

    async def _look(self) -> FollowLogsResponse | None:
        if not self._attempt:
            self._attempt = self._topic.latest()
        number = self._attempt
        if not number or number > self._topic.attempts:
            return self._not_begun()
        lease_id = self._topic.live(number)
        if lease_id is not None and self._joined is None:
            self._joined = self._shipments.join(lease_id, number, self._position, self._topic.bell)
        if self._joined is not None and (response := self._take(*self._joined)) is not None:
            return response
        if lease_id is None:
            return await self._over(number)
        assert self._joined is not None
        self._shipments.nudge(self._joined[0])
        if self._request.snapshot:
            self._look_at_now(*self._joined)
        return None

    def _not_begun(self) -> FollowLogsResponse | None:
        """The attempt was not given out yet, or never will be."""
        if self._topic.final:
            self._attempt = 0
            return self._end()
        self._done = self._request.snapshot
        return None

    def _take(self, feed: Feed, follower: Follower) -> FollowLogsResponse | None:
        offset, data = feed.take(follower)
        if data:
            feed.moved_s = _now_s()
            self._position = follower.position
            return FollowLogsResponse(offset=offset, data=data, attempt=self._attempt)
        return self._end() if feed.drained(follower) else None

    def _look_at_now(self, feed: Feed, follower: Follower) -> None:
        """Done, once all is sent that there was when the worker was first heard.

        Raises:
            Refused: WORKER_UNREACHABLE.
        """
        if self._until is None:
            self._until = feed.printed
        if self._until is not None and follower.position >= self._until:
            self._done = True
        elif _now_s() - max(self._began_s, feed.moved_s or 0.0) >= PATIENCE_S:
            raise Refused(Reason.WORKER_UNREACHABLE, "the worker that runs the attempt does not answer; try again")
        self._soon = True

    async def _over(self, number: int) -> FollowLogsResponse | None:
        """The attempt is over: what is still on its way, else what was kept."""
        ended = self._topic.ended.get(number)
        if ended is not None and ended.declined and not self._request.HasField("attempt"):
            # Nothing has come of it, and nothing will; the next one is the one that was meant.
            self.close()
            self._attempt = 0
            return await self._look()
        self._soon = True
        ended_s = ended.at_s if ended is not None else 0.0
        feed = self._joined[0] if self._joined is not None else None
        if feed is not None and feed.shipment is not None and _recent(max(ended_s, feed.moved_s or 0.0)):
            return None
        kept = await self._tails.find(self._topic.job_id, number)
        if kept is not None:
            offset = max(self._position, kept.offset)
            return self._end(offset, kept.data[offset - kept.offset :])
        waits = ended is not None and not ended.declined and _recent(ended_s)
        if waits and not self._tails.final(self._topic.job_id, number):
            return None
        return self._end()

    def _end(self, offset: int | None = None, data: bytes = b"") -> FollowLogsResponse:
        self._done = True
        begins = self._position if offset is None else offset
        return FollowLogsResponse(offset=begins, data=data, attempt=self._attempt, end=True)


def _recent(at_s: float) -> bool:
    return _now_s() - at_s < PATIENCE_S


def _now_s() -> float:
    return asyncio.get_running_loop().time()
