"""WatchJobs: a snapshot, then every event of the watched jobs, in the order of the log, from the log.

What a watcher is sent is a slice of the log: nothing is kept for it but the position it has reached, so that a
reconnect with a token goes on without gap or repeat, on any server of the same log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from tenure.controlplane.convert import fill_status, job_message, update_message
from tenure.controlplane.folds import Folds
from tenure.controlplane.handler import not_found
from tenure.controlplane.queries import filter_of
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.tokens import Identity
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.states import TRANSITIONS, Phase, State, shown
from tenure.projections.updates import spoken_of, update_of
from tenure.store.codec import to_message
from tenure.store.matching import matches
from tenure.store.store import EventFilter, JobFilter, JobOrder, JobView, Store
from tenure.v1 import job_service_pb2

PAGE = 200
MARK_SECONDS = 10.0

LIVE = frozenset({State.IN_QUEUE, State.RUNNING, State.CANCELING})

Response = job_service_pb2.WatchJobsResponse


class Tail:
    """Wakes those who wait for the log to grow."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._grown = asyncio.Event()
        self._stop = store.listen(self._on_commit)

    def _on_commit(self, _position: int) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def wait(self, position: int, seconds: float) -> bool:
        """Wait until the log is longer than `position`, at most so long; whether it is."""
        grown = self._grown
        if self._store.head().position > position:
            return True
        try:
            async with asyncio.timeout(seconds):
                await grown.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Stop listening to the store."""
        self._stop()


class Watches:
    """Serves watches over one store."""

    def __init__(self, store: Store, resume: ResumeTokens, mark_seconds: float = MARK_SECONDS) -> None:
        self._store = store
        self._resume = resume
        self._mark_seconds = mark_seconds
        self._tail = Tail(store)
        self._folds = Folds(store)

    def close(self) -> None:
        """Stop listening to the store."""
        self._tail.close()

    async def watch(self, request: job_service_pb2.WatchJobsRequest, identity: Identity) -> AsyncIterator[Response]:
        """The messages of one watch, for as long as they are taken.

        Raises:
            Refused: INVALID_FIELD for ids together with flags, JOB_NOT_FOUND for an id that may not be seen, and what
                is wrong with the token.
        """
        if request.ids and request.HasField("flags"):
            raise Refused(Reason.INVALID_FIELD, "name ids or give flags, not both", field="flags")
        wanted = filter_of(request.flags, identity)
        if request.ids:
            wanted = JobFilter(visible_to=wanted.visible_to, ids=frozenset(request.ids))
        if request.resume_token:
            position = await self._resume.check(request.resume_token)
            seen: dict[str, int] = {}
        else:
            position = self._store.head().position
            seen = {}
            async for view in self._snapshot(request, wanted):
                seen[view.stored.job.id] = view.stored.job.version
                shown = job_message(view, request.flags, histories=bool(request.ids) or request.flags.include_updates)
                # No token: whoever went on from it would never see the rest of the snapshot.
                yield Response(snapshot=shown)
            # A token of before the snapshot was read would bring again what the snapshot has shown.
            begun, position = position, self._store.head().position
            async for response in self._meanwhile(begun, position, wanted, seen):
                yield response
            yield self._mark(position, await self._resume.make(position))
        async for response in self._follow(position, wanted, seen):
            yield response

    async def _snapshot(self, request: job_service_pb2.WatchJobsRequest, wanted: JobFilter) -> AsyncIterator[JobView]:
        if request.ids:
            views = await self._store.view_jobs(list(dict.fromkeys(request.ids)))
            for job_id in dict.fromkeys(request.ids):
                view = views.get(job_id)
                if view is None or not matches(view.stored.job, wanted):
                    raise not_found()
                yield view
            return
        live = wanted if wanted.states else _with_states(wanted, LIVE)
        after: tuple[int, int] | None = None
        while True:
            page = await self._store.browse(
                live, JobOrder(descending=False), after, PAGE, histories=request.flags.include_updates
            )
            for view in page.views:
                yield view
            if page.next_key is None:
                return
            after = page.next_key

    async def _meanwhile(
        self, position: int, end: int, wanted: JobFilter, seen: dict[str, int]
    ) -> AsyncIterator[Response]:
        """What happened while the snapshot was read, and is not part of it: without a token, as the snapshot."""
        only = events_of(wanted)
        known = set() if wanted.states else set(seen)
        while position < end:
            events, position = await self._store.read(position, PAGE, only)
            for event in events:
                if event.position > end:
                    return
                _, _, job_id = event.stream.partition("/")
                if event.version == 1:
                    known.add(job_id)
                if job_id not in known and not wanted.states:
                    continue  # it had ended before the snapshot was read, and is no part of the watch
                response = await self._response(event, wanted, seen)
                if response is not None:
                    yield response

    async def _follow(self, position: int, wanted: JobFilter, seen: dict[str, int]) -> AsyncIterator[Response]:
        only = events_of(wanted)
        now = asyncio.get_running_loop().time
        begun = marked = now()
        shown_up_to: int | None = None
        while True:
            quiet = not await self._tail.wait(position, self._mark_seconds)
            if not quiet:
                events, reached = await self._store.read(position, PAGE, only)
                for event in events:
                    response = await self._response(event, wanted, seen)
                    if response is not None:
                        response.resume_token = await self._resume.make(event.position)
                        yield response
                        marked = now()
                position = reached
            if seen and (quiet or now() - begun >= self._mark_seconds):
                # A snapshot may show what was on disk a moment before the head said so. That moment is long over: all
                # that was shown is in the log up to here, and once past it nothing can be told twice.
                shown_up_to = self._store.head().position if shown_up_to is None else shown_up_to
                if position >= shown_up_to:
                    seen.clear()
            if quiet or now() - marked >= self._mark_seconds:
                yield self._mark(position, await self._resume.make(position))
                marked = now()

    async def _response(self, event: e.RecordedEvent, wanted: JobFilter, seen: dict[str, int]) -> Response | None:
        kind, _, job_id = event.stream.partition("/")
        if kind != "job" or (wanted.ids is not None and job_id not in wanted.ids):
            return None
        if event.version <= seen.get(job_id, 0):
            return None  # part of the snapshot
        seen.pop(job_id, None)
        some = await self._folds.some(job_id, event)
        if some is not None and not matches(some, _with_states(wanted, frozenset())):
            return None  # for good: whoever it belongs to, nothing of it has to be worked out for this watcher
        after = await self._folds.after(job_id, event)
        if matches(after, wanted):
            response = Response()
            response.event.job_id = job_id
            response.event.event.CopyFrom(to_message(event))
            fill_status(response.event.status, after)
            update = update_of(event, *spoken_of(event.payload, after.attempt, after.worker_id))
            if update is not None:
                response.event.update.CopyFrom(update_message(update))
            return response
        if wanted.states & _STATES_BEFORE[type(event.payload), after.phase]:
            before = await self._folds.before(job_id, event)
            if before is not None and matches(before, wanted):
                return Response(left=job_service_pb2.JobLeft(job_id=job_id))
        return None

    def _mark(self, position: int, token: str) -> Response:
        return Response(progress_mark=job_service_pb2.ProgressMark(position=position), resume_token=token)


def events_of(wanted: JobFilter) -> EventFilter | None:
    """The part of a filter that the log itself can apply."""
    if wanted.ids is None or len(wanted.ids) > 100:
        return None
    return EventFilter(streams=frozenset(e.job_stream(job_id) for job_id in wanted.ids))


def _states_before() -> dict[tuple[type[e.Payload], Phase], frozenset[State]]:
    """What may have been shown before an event of that type that led to that phase."""
    found: dict[tuple[type[e.Payload], Phase], frozenset[State]] = {}
    for (before, kind), after in TRANSITIONS.items():
        states = frozenset() if before is None else frozenset({shown(before, None)})
        found[kind, after] = found.get((kind, after), frozenset()) | states
    return found


_STATES_BEFORE = _states_before()


def _with_states(wanted: JobFilter, states: frozenset[State]) -> JobFilter:
    return replace(wanted, states=states)
