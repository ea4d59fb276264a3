"""EventService: the log itself, in order, from any place on.

A reader holds nothing here but its position: pages are read from the log as it takes them, at most 500 events and
about 1 MiB a message. Every message says how far everything that matches has been delivered, with a token to go on
from; where nothing matches for a while, an empty one says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

from tenure.controlplane.call import Call
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.watch import Tail
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.events.v1 import event_pb2
from tenure.store.codec import to_message
from tenure.store.store import EventFilter, Store
from tenure.v1 import event_service_pb2

PAGE_EVENTS = 500
PAGE_BYTES = 1024 * 1024
MARK_SECONDS = 10.0

# `job_created` is of the message type `JobCreated`, which is the name of the class and what people write.
EVENT_TYPES = frozenset(
    field.message_type.name
    for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields
    if field.message_type is not None
)

Response = event_service_pb2.ReadEventsResponse


class EventService:
    """The servicer.

    Args:
        store: the log.
        resume: makes and checks resume tokens.
        tail: wakes when the log has grown.
        mark_seconds: the longest that a follower hears nothing.
    """

    def __init__(self, store: Store, resume: ResumeTokens, tail: Tail, *, mark_seconds: float = MARK_SECONDS) -> None:
        self._store = store
        self._resume = resume
        self._tail = tail
        self._mark_seconds = mark_seconds

    async def read_events(
        self, request: event_service_pb2.ReadEventsRequest, call: Call
    ) -> AsyncIterator[event_service_pb2.ReadEventsResponse]:
        """Events after a position or token: to the end of the log as it is now, or with `follow` for ever."""
        position = await self._begin(request)
        wanted = _filter(request.filter) if request.HasField("filter") else None
        end = None if request.follow else self._store.head().position
        left = request.limit if request.limit and not request.follow else None
        loop = asyncio.get_running_loop()
        marked = loop.time()
        told = -1  # the position of the last message
        while left != 0 and (end is None or position < end):
            if end is None and not await self._tail.wait(position, self._mark_seconds):
                yield await self._message([], position)
                told, marked = position, loop.time()
                continue
            asked = PAGE_EVENTS if left is None else min(PAGE_EVENTS, left)
            events, reached = await self._store.read(position, asked, wanted)
            if end is not None:
                events = [event for event in events if event.position <= end]
                reached = min(reached, end)
            if left is not None:
                left -= len(events)
            position = reached
            for part, last in _parts(events):
                told = reached if last else part[-1].position
                yield await self._message(part, told)
                marked = loop.time()
            if loop.time() - marked >= self._mark_seconds:
                yield await self._message([], position)
                told, marked = position, loop.time()
        if told != position:
            yield await self._message([], position)

    async def _begin(self, request: event_service_pb2.ReadEventsRequest) -> int:
        if request.resume_token:
            if request.after_position:
                text = "give a position or a resume token, not both"
                raise Refused(Reason.INVALID_FIELD, text, field="after_position")
            return await self._resume.check(request.resume_token)
        end = self._store.head().position
        if request.after_position > end:
            text = f"the log ends at {end}"
            raise Refused(Reason.INVALID_FIELD, text, field="after_position")
        return request.after_position

    async def _message(self, events: Sequence[e.RecordedEvent], position: int) -> Response:
        return Response(
            events=[to_message(event) for event in events],
            position=position,
            resume_token=await self._resume.make(position),
        )


def _filter(message: event_service_pb2.EventFilter) -> EventFilter:
    for index, name in enumerate(message.types):
        if name not in EVENT_TYPES:
            known = ", ".join(sorted(EVENT_TYPES))
            raise Refused(
                Reason.INVALID_FIELD, f"is no type of event; there are {known}", field=f"filter.types[{index}]"
            )
    streams = [e.job_stream(job_id) for job_id in message.job_ids] + [e.queue_stream(name) for name in message.queues]
    return EventFilter(streams=frozenset(streams), types=frozenset(message.types))


def _parts(events: list[e.RecordedEvent]) -> Iterator[tuple[list[e.RecordedEvent], bool]]:
    """The events in parts that fit into a message, each with whether it is the last."""
    part: list[e.RecordedEvent] = []
    size = 0
    for event in events:
        # Specifications are what makes events large; everything else is small change.
        weight = 512 + (len(event.payload.specification) * 2 if isinstance(event.payload, e.JobCreated) else 0)
        if part and size + weight > PAGE_BYTES:
            yield part, False
            part, size = [], 0
        part.append(event)
        size += weight
    if part:
        yield part, True
