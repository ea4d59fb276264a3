"""The last events of the log as values, for the subscribers that follow it: they read nothing from disk and decode
nothing, however many they are. Used by the loop alone."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from tenure.domain.events import RecordedEvent
from tenure.store.store import Committed, EventFilter, Unit

# Events kept, and the bytes they have as stored.
MOST_EVENTS = 8_192
MOST_BYTES = 16 * 1024 * 1024
# How many units are dropped before the list is made anew.
SLACK = 1_024


@dataclass(slots=True)
class _Kept:
    """The events of one unit. They are made when first asked for: mostly several ask, or none."""

    unit: Unit
    committed: Committed
    size: int
    made: list[RecordedEvent] | None = None

    def events(self) -> list[RecordedEvent]:
        if self.made is None:
            self.made = _record(self.unit, self.committed.first)
        return self.made


# In the place of what was dropped, whose bytes must not stay as long as its place in the list does.
_GONE = _Kept(Unit(appends=()), Committed(first=0, last=0), 0)


class Tail:
    """The events after `start`, up to the durable end."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._firsts: list[int] = []
        self._kept: list[_Kept] = []
        self._dropped = 0
        self._end = start
        self._bytes = 0

    def add(self, unit: Unit, committed: Committed, size: int) -> None:
        """Add the events of a unit that has just become durable; `size` is their stored bytes."""
        if committed.last < committed.first:
            return
        self._firsts.append(committed.first)
        self._kept.append(_Kept(unit, committed, size))
        self._end = committed.last
        self._bytes += size
        while self._bytes > MOST_BYTES or self._end - self.start > MOST_EVENTS:
            oldest, self._kept[self._dropped] = self._kept[self._dropped], _GONE
            self._dropped += 1
            self._bytes -= oldest.size
            self.start = oldest.committed.last
        if self._dropped > SLACK:
            del self._firsts[: self._dropped], self._kept[: self._dropped]
            self._dropped = 0

    def read(self, after: int, limit: int, only: EventFilter | None) -> tuple[list[RecordedEvent], int] | None:
        """As `Store.read`; None: the events right after that position are not kept."""
        if after < self.start:
            return None
        found: list[RecordedEvent] = []
        reached = after
        for index in range(max(self._dropped, bisect_right(self._firsts, after + 1) - 1), len(self._kept)):
            for event in self._kept[index].events():
                if event.position <= after:
                    continue
                if len(found) == limit:
                    return found, reached
                reached = event.position
                if only is None or wanted(event, only):
                    found.append(event)
        return found, reached


def _record(unit: Unit, position: int) -> list[RecordedEvent]:
    request = unit.request
    request_id, digest = (request.request_id, request.digest) if request is not None else ("", b"")
    made: list[RecordedEvent] = []
    for append in unit.appends:
        for version, event in enumerate(append.events, start=append.expected_version + 1):
            made.append(
                RecordedEvent(
                    position=position,
                    stream=append.stream,
                    version=version,
                    event_id=event.event_id,
                    time_us=event.time_us,
                    actor=event.actor,
                    request_id=request_id,
                    request_digest=digest,
                    payload=event.payload,
                )
            )
            position += 1
    return made


def wanted(event: RecordedEvent, only: EventFilter) -> bool:
    """Whether an event matches."""
    if only.streams and event.stream not in only.streams:
        return False
    return not only.types or type(event.payload).__name__ in only.types
