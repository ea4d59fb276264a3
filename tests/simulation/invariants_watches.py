"""What must hold of watches: over all reconnections, what was delivered is a slice of the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.simulation.history import Watch
from tests.simulation.invariants_case import Case


def watches_are_slices(case: Case) -> Iterator[str]:
    """A watcher gets every event it asked for once, in the order of the log, as it is in the log, however often its
    connection broke; what goes on to the end has reached the end (2.4, the promise of WatchJobs and ReadEvents)."""
    for watch in case.history.watches:
        yield from _read(case, watch) if watch.kind == "events" else _watched(case, watch)


def _read(case: Case, watch: Watch) -> Iterator[str]:
    """The whole log, by EventService."""
    log = case.history.log
    reached: int | None = None
    for delivery in watch.delivered():
        message: Any = delivery.message
        for event in message.events:
            if reached is not None and event.position != reached + 1:
                yield f"{watch.client} read position {event.position} after {reached}"
            reached = event.position
            if not 0 < reached <= len(log) or log[reached - 1].event_id != event.event_id:
                yield f"{watch.client} read another event at position {reached} than is in the log"
        if reached is not None and message.position > reached:
            yield f"{watch.client} was told it had read up to {message.position}, it had read up to {reached}"
    if watch.complete and reached is not None and reached < len(log):
        yield f"{watch.client} has read up to {reached}, the log goes on to {len(log)}"


def _watched(case: Case, watch: Watch) -> Iterator[str]:
    """Jobs, by WatchJobs."""
    seen: dict[str, int] = {}
    known: dict[str, int] = {}
    last = 0
    for connection in watch.connections:
        snapshot = not connection.resume_token
        if snapshot:
            # From the beginning again: what has ended meanwhile is not part of a snapshot of live jobs.
            known |= seen
            seen.clear()
        for delivery in connection.deliveries:
            message: Any = delivery.message
            match message.WhichOneof("message"):
                case "snapshot":
                    if not snapshot:
                        yield f"{watch.client} was sent a snapshot though it went on from a token"
                    shown = message.snapshot
                    if shown.version < known.get(shown.id, 0):
                        yield f"{watch.client} saw version {shown.version} of job {shown.id} after {known[shown.id]}"
                    seen[shown.id] = shown.version
                case "event":
                    yield from _event(case, watch, message.event, seen, last)
                    last = message.event.event.position
                case "progress_mark":
                    yield from _missed(case, watch, seen, message.progress_mark.position)
                case _:
                    pass
    if watch.complete:
        yield from _missed(case, watch, seen, len(case.history.log))


def _event(case: Case, watch: Watch, told: Any, seen: dict[str, int], last: int) -> Iterator[str]:
    event, job_id = told.event, told.job_id
    expected = seen.get(job_id, 0) + 1
    if event.stream_version != expected:
        yield f"{watch.client} was told of version {event.stream_version} of job {job_id} where {expected} comes next"
    if event.position <= last:
        yield f"{watch.client} was told of position {event.position} after {last}"
    seen[job_id] = event.stream_version
    log = case.history.log
    if not 0 < event.position <= len(log) or log[event.position - 1].event_id != event.event_id:
        yield f"{watch.client} was told of another event at position {event.position} than is in the log"


def _missed(case: Case, watch: Watch, seen: dict[str, int], position: int) -> Iterator[str]:
    """Everything up to a position was to have been delivered."""
    for job_id in [watch.job_id] if watch.job_id else list(seen):
        job = case.story.jobs.get(job_id)
        version = seen.get(job_id)
        if job is None or version is None or version >= len(job.events):
            continue
        missed = job.events[version]
        if missed.position <= position:
            yield f"{watch.client} has reached {position} without position {missed.position} of job {job_id}"
