"""The log of the memory engine read again, a piece at a time; see `Store.scrub`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from tenure.domain import events as e
from tenure.domain.errors import IllegalTransition
from tenure.store import chain, codec
from tenure.store.memory_rows import MemoryRows
from tenure.store.scrub import LONGEST_STREAM, Scrubbed, read_on, sample_of


def scrub(
    events: Sequence[e.RecordedEvent],
    streams: dict[str, list[int]],
    commits: Sequence[tuple[int, bytes]],
    rows: MemoryRows,
    after: Scrubbed,
    limit: int,
) -> Scrubbed:
    """Read on behind a place: whole commits, up to so many events or one larger commit."""
    first = bisect_right(commits, after.position, key=lambda commit: commit[0])
    ends = [end for end in commits[first : first + limit] if end[0] <= after.position + limit]
    ends = ends or list(commits[first : first + 1])
    if not ends:
        return after
    piece = events[after.position : ends[-1][0]]
    reached = read_on(after, ends, [_link(event, streams[event.stream][0]) for event in piece])
    if reached.problem:
        return reached
    begun = [event.stream for event in piece if event.version == 1 and event.stream.startswith("job/")]
    sample = sample_of(begun, after.turn)
    for name in sample:
        if problem := _row_problem(name, [events[position - 1] for position in streams[name]], rows):
            return after.wrong(problem)
    return replace(reached, jobs=after.jobs + len(sample))


def _link(event: e.RecordedEvent, number: int) -> chain.Link:
    """What the chain says of an event: the bytes that a commit has made of it."""
    new = e.NewEvent(event_id=event.event_id, time_us=event.time_us, actor=event.actor, payload=event.payload)
    data = codec.encode(
        new,
        stream=event.stream if event.version == 1 else "",
        request_id=event.request_id,
        request_digest=event.request_digest,
    )
    return event.position, number, event.version, event.time_us, data


def _row_problem(name: str, events: Sequence[e.RecordedEvent], rows: MemoryRows) -> str:
    """What is wrong with the row of a job; empty: it is what its events make of it."""
    if len(events) > LONGEST_STREAM:
        return ""
    made = MemoryRows()
    try:
        for event in events:
            made.apply(event)
    except IllegalTransition as error:
        return f"{name}: {error}"
    job_id = name.partition("/")[2]
    if made.jobs.get(job_id) != rows.jobs.get(job_id):
        return f"{name}: its row is not what its {len(events)} events make of it"
    return ""
