"""Where a stream is, so that it can be connected again without gap or repeat.

A cursor makes the request that goes on from here and takes each response in. It does no IO: `Client` and `SyncClient`
drive the same cursors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from tenure.events.v1 import event_pb2
from tenure.v1 import event_service_pb2, job_service_pb2

RequestT = TypeVar("RequestT", covariant=True)
ResponseT = TypeVar("ResponseT", contravariant=True)
ItemT = TypeVar("ItemT", covariant=True)


class Cursor(Protocol[RequestT, ResponseT, ItemT]):
    """The place in one stream."""

    @property
    def has_marks(self) -> bool:
        """Whether the server says something at least every 10 s, so that silence means that it is gone."""

    def request(self) -> RequestT:
        """What to ask for to go on from here; called once a connection."""

    def take(self, response: ResponseT) -> Iterator[ItemT]:
        """What the reader is to get of a response. To be exhausted before the next call of anything."""

    def complete(self) -> bool:
        """Whether the reader has all it asked for; the call can be given up."""

    def ends(self) -> bool:
        """Whether a stream that ends without an error has ended for good; otherwise it broke off."""


class WatchCursor:
    """The place in a WatchJobs stream.

    A resume token brings no snapshot, so the first one comes once the snapshot is complete and what happened meanwhile
    was told. A connection that breaks off before that starts over: jobs that were shown and have not changed are not
    shown again, and one that is no longer there has left.
    """

    has_marks = True

    def __init__(
        self, *, ids: Sequence[str] = (), flags: job_service_pb2.JobFlags | None = None, resume_token: str = ""
    ) -> None:
        self._ids = tuple(ids)
        self._flags = flags
        self._token = resume_token
        self._complete = bool(resume_token)
        self._shown: dict[str, int] = {}
        self._present: set[str] = set()

    def request(self) -> job_service_pb2.WatchJobsRequest:
        """Go on after the last token; before there is a useful one, start over."""
        self._present.clear()
        return job_service_pb2.WatchJobsRequest(
            ids=self._ids, flags=self._flags, resume_token=self._token if self._complete else ""
        )

    def take(self, response: job_service_pb2.WatchJobsResponse) -> Iterator[job_service_pb2.WatchJobsResponse]:
        """The response itself, unless it repeats."""
        if response.WhichOneof("message") == "snapshot" and not self._complete:
            job = response.snapshot
            self._present.add(job.id)
            if self._shown.get(job.id) != job.version:
                self._shown[job.id] = job.version
                yield response
            return
        if not self._complete and not response.resume_token:
            yield from self._meanwhile(response)
            return
        gone = [] if self._complete else [job_id for job_id in self._shown if job_id not in self._present]
        self._complete = True
        self._shown.clear()
        self._token = response.resume_token or self._token
        for job_id in gone:
            yield _left(job_id, response.resume_token)
        yield response

    def _meanwhile(self, response: job_service_pb2.WatchJobsResponse) -> Iterator[job_service_pb2.WatchJobsResponse]:
        """What happened while the snapshot was read: the reader knows it, whatever becomes of this connection."""
        match response.WhichOneof("message"):
            case "event":
                job_id = response.event.job_id
                if job_id in self._shown and job_id not in self._present:
                    yield _left(job_id, "")  # it was gone for a while
                self._present.add(job_id)
                self._shown[job_id] = response.event.event.stream_version
            case "left":
                self._shown.pop(response.left.job_id, None)
            case _:
                pass
        yield response

    def complete(self) -> bool:
        """Never: a watch lives as long as its reader."""
        return False

    def ends(self) -> bool:
        """Never."""
        return False


def _left(job_id: str, token: str) -> job_service_pb2.WatchJobsResponse:
    return job_service_pb2.WatchJobsResponse(left=job_service_pb2.JobLeft(job_id=job_id), resume_token=token)


class EventsCursor:
    """The place in a ReadEvents stream."""

    has_marks = False

    def __init__(
        self,
        *,
        after_position: int = 0,
        resume_token: str = "",
        filter: event_service_pb2.EventFilter | None = None,  # noqa: A002 - the field's name
        follow: bool = False,
        limit: int = 0,
    ) -> None:
        self._after_position = after_position
        self._token = resume_token
        self._filter = filter
        self._follow = follow
        self._limit = limit
        self._taken = 0

    def request(self) -> event_service_pb2.ReadEventsRequest:
        """Go on after the last token, for as many events as are still missing."""
        return event_service_pb2.ReadEventsRequest(
            after_position=0 if self._token else self._after_position,
            resume_token=self._token,
            filter=self._filter,
            follow=self._follow,
            limit=self._limit - self._taken if self._limit and not self._follow else 0,
        )

    def take(self, response: event_service_pb2.ReadEventsResponse) -> Iterator[event_pb2.Event]:
        """The events of the response; a progress mark has none."""
        if response.resume_token:
            self._token = response.resume_token
        else:
            self._after_position = max(self._after_position, response.position)
        events = response.events[: self._limit - self._taken] if self._limit else response.events
        self._taken += len(events)
        yield from events

    def complete(self) -> bool:
        """When so many events as were asked for have come."""
        return 0 < self._limit <= self._taken

    def ends(self) -> bool:
        """At the end of the log, unless it is followed."""
        return not self._follow


class LogsCursor:
    """The place in the output of one attempt.

    A server that has nothing to tell sends an empty piece now and then, which says where the stream is. The reader does
    not get it: without it, a connection that breaks off before the first byte could go on in a later attempt, at an
    offset that was meant for this one.
    """

    # A snapshot has none, and neither has a server from before there were empty pieces.
    has_marks = False

    def __init__(
        self, *, job_id: str, attempt: int | None = None, from_offset: int = 0, snapshot: bool = False
    ) -> None:
        self._request = job_service_pb2.FollowLogsRequest(
            job_id=job_id, attempt=attempt, from_offset=from_offset, snapshot=snapshot
        )
        self._end = False

    def request(self) -> job_service_pb2.FollowLogsRequest:
        """Go on at the next byte, in the attempt that was begun with."""
        return self._request

    def take(self, response: job_service_pb2.FollowLogsResponse) -> Iterator[job_service_pb2.FollowLogsResponse]:
        """The response itself, unless it only says that the server is still there."""
        if response.attempt:
            self._request.attempt = response.attempt
        self._request.from_offset = response.offset + len(response.data)
        self._end = response.end
        if response.data or response.end or self._request.snapshot:
            yield response

    def complete(self) -> bool:
        """When the server said that nothing more comes."""
        return self._end

    def ends(self) -> bool:
        """Like a file: it may have ended before anybody said so."""
        return True
