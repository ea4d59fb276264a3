"""The output of jobs: followed while an attempt runs, and the last of it kept afterwards.

Nothing is asked of a worker unless somebody follows, and nothing of an output goes into the log: it decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

from tenure.controlplane.call import Messages, StreamCall
from tenure.controlplane.changes import Change, not_found
from tenure.controlplane.following import Following
from tenure.controlplane.leases import Leases, Live
from tenure.controlplane.shipments import Shipments
from tenure.controlplane.tails import Tails
from tenure.controlplane.topics import Topics
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job
from tenure.domain.queue import Queue
from tenure.runtime.clock import Clock
from tenure.store.store import Store
from tenure.v1 import job_service_pb2
from tenure.v1 import worker_service_pb2 as pb


class Logs:
    """All of it, for one server."""

    def __init__(
        self, *, store: Store, clock: Clock, leases: Leases, queues: Callable[[], Mapping[str, Queue]]
    ) -> None:
        self._queues = queues
        self._clock = clock
        self._topics = Topics(store, clock)
        self._shipments = Shipments(leases)
        self._tails = Tails(store)

    async def run(self) -> None:
        """Write down the last of what ended attempts printed, for ever.

        Raises:
            CommitOutcomeUnknown: the process is to end.
        """
        await self._tails.run()

    async def written(self, within_s: float) -> None:
        """Return when nothing waits to be written down, and after so long in any case."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._tails.written()

    async def follow(
        self, request: job_service_pb2.FollowLogsRequest, may_see: Callable[[Job], bool]
    ) -> AsyncIterator[job_service_pb2.FollowLogsResponse]:
        """The output of an attempt, to its end; while there is nothing to tell, an empty piece now and then.

        Raises:
            Refused: JOB_NOT_FOUND, FEATURE_UNSUPPORTED, WORKER_UNREACHABLE.
            StoreError: the store cannot be read.
        """
        topic = await self._topics.open(request.job_id)
        try:
            if topic.job is None or not may_see(topic.job):
                raise not_found()
            if not self._offered(topic.job):
                raise Refused(Reason.FEATURE_UNSUPPORTED, f"the queue {topic.job.origin.queue} has no logs of its jobs")
            following = Following(
                request,
                topic,
                clock=self._clock,
                topics=self._topics,
                shipments=self._shipments,
                tails=self._tails,
            )
            try:
                while (response := await following.next()) is not None:
                    yield response
            finally:
                following.close()
        finally:
            self._topics.close(topic)

    async def ship(self, messages: Messages[pb.ShipLogsRequest], call: StreamCall) -> None:
        """Output that a worker brings; see `Shipments.ship`."""
        await self._shipments.ship(messages, call)

    def changed(self, change: Change) -> None:
        """Follow a commit; after whoever keeps the leases."""
        before = change.before.lease if change.before is not None else None
        after = change.after.lease
        if before is not None and (after is None or after.lease_id != before.lease_id) and self._offered(change.after):
            self._tails.ended(change.after.id, before)
        self._topics.changed(change)

    def held(self, live: Live) -> None:
        """A worker has taken an attempt, or connected again and goes on with it."""
        self._shipments.held(live)

    def reported(self, worker_id: str, item: pb.Report.Item) -> None:
        """The last word of a worker on an attempt, with the last of what it printed; after the commit."""
        key = self._tails.report(worker_id, item.lease_id, item.output_offset, item.output_tail)
        if key is not None:
            self._topics.ring(key[0])

    def _offered(self, job: Job) -> bool:
        queue = self._queues().get(job.origin.queue)
        return queue is None or queue.configured.features.logs
