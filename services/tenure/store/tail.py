"""The last events of the log as values, for the subscribers that follow it: they read nothing from disk and decode
nothing, however many they are. Used by the loop alone."""

from __future__ import annotations

from collections import deque

from tenure.domain.events import NewEvent, RecordedEvent
from tenure.store.store import EventFilter, Unit

# Events kept, and the bytes they have as stored.
MOST_EVENTS = 8_192
MOST_BYTES = 16 * 1024 * 1024


class _Slot:
    """An event at its place. The recorded event is made when first asked for: mostly several ask, or none."""

    __slots__ = ("event", "made", "position", "size", "stream", "unit", "version")

    def __init__(self, position: int, stream: str, version: int, event: NewEvent, unit: Unit, size: int) -> None:
        self.position, self.stream, self.version = position, stream, version
        self.event, self.unit, self.size = event, unit, size
        self.made: RecordedEvent | None = None

    def recorded(self) -> RecordedEvent:
        if self.made is None:
            event, request = self.event, self.unit.request
            self.made = RecordedEvent(
                position=self.position,
                stream=self.stream,
                version=self.version,
                event_id=event.event_id,
                time_us=event.time_us,
                actor=event.actor,
                request_id=request.request_id if request else "",
                request_digest=request.digest if request else b"",
                payload=event.payload,
            )
        return self.made


class Tail:
    """The events after `start`, up to the durable end."""

    def __init__(self, start: int) -> None:
        self._slots: deque[_Slot] = deque()
        self._end = start
        self._bytes = 0

    @property
    def start(self) -> int:
        """The position before the first event that is kept."""
        return self._end - len(self._slots)

    def add(self, unit: Unit, sizes: list[int]) -> None:
        """Add the events of a unit that has just become durable; `sizes` are their stored bytes."""
        size = iter(sizes)
        for append in unit.appends:
            version = append.expected_version
            for event in append.events:
                version += 1
                self._end += 1
                slot = _Slot(self._end, append.stream, version, event, unit, next(size))
                self._slots.append(slot)
                self._bytes += slot.size
        while self._bytes > MOST_BYTES or len(self._slots) > MOST_EVENTS:
            self._bytes -= self._slots.popleft().size

    def read(self, after: int, limit: int, only: EventFilter | None) -> tuple[list[RecordedEvent], int] | None:
        """As `Store.read`; None: the events right after that position are not kept."""
        start = self.start
        if after < start:
            return None
        found: list[RecordedEvent] = []
        reached = after
        for index in range(after - start, len(self._slots)):
            if len(found) == limit:
                break
            slot = self._slots[index]
            reached = slot.position
            if only is None or _wanted(slot, only):
                found.append(slot.recorded())
        return found, reached


def _wanted(slot: _Slot, only: EventFilter) -> bool:
    if only.streams and slot.stream not in only.streams:
        return False
    return not only.types or type(slot.event.payload).__name__ in only.types
