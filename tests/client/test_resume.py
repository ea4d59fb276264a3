"""Wherever a watch breaks off, its reader gets every change once: against a model of the server, without a network."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from tenure.client.resume import EventsCursor, WatchCursor
from tenure.events.v1 import event_pb2
from tenure.v1 import event_service_pb2, job_pb2, job_service_pb2

JOBS = ("a", "b", "c", "d")


class ModelServer:
    """Jobs that change and end; each change is an event, and the log is all there is."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.live: dict[str, int] = {}
        # What a snapshot shows, and where in the log that was: it may take a while until it has been sent.
        self.seen: dict[str, int] = {}
        self.seen_at = 0

    def look(self) -> None:
        self.seen, self.seen_at = dict(self.live), len(self.log)

    def change(self, job_id: str, ends: bool) -> None:
        version = self.live.get(job_id, sum(1 for each, _ in self.log if each == job_id)) + 1
        self.log.append((job_id, version))
        if ends:
            self.live.pop(job_id, None)
        else:
            self.live[job_id] = version

    def watch(self, request: job_service_pb2.WatchJobsRequest) -> Iterator[job_service_pb2.WatchJobsResponse]:
        position = len(self.log)
        if request.resume_token:
            position = int(request.resume_token)
        else:
            for job_id, version in self.seen.items():
                snapshot = job_pb2.Job(id=job_id, version=version)
                yield job_service_pb2.WatchJobsResponse(snapshot=snapshot)
            for response in self._since(self.seen_at):
                response.resume_token = ""
                yield response
            mark = job_service_pb2.ProgressMark(position=position)
            yield job_service_pb2.WatchJobsResponse(progress_mark=mark, resume_token=str(position))
        yield from self._since(position)

    def _since(self, position: int) -> Iterator[job_service_pb2.WatchJobsResponse]:
        for number, (job_id, version) in enumerate(self.log[position:], start=position + 1):
            event = event_pb2.Event(position=number, stream_version=version)
            yield job_service_pb2.WatchJobsResponse(
                event=job_service_pb2.JobEvent(job_id=job_id, event=event), resume_token=str(number)
            )


class Reader:
    """Knows each job's version, and refuses what does not follow on it."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.shown: set[tuple[str, int]] = set()
        self.left: set[str] = set()

    def read(self, message: job_service_pb2.WatchJobsResponse) -> None:
        match message.WhichOneof("message"):
            case "snapshot":
                job = message.snapshot
                assert (job.id, job.version) not in self.shown, "shown twice"
                self.shown.add((job.id, job.version))
                self.versions[job.id] = job.version
                self.left.discard(job.id)
            case "event":
                job_id, version = message.event.job_id, message.event.event.stream_version
                assert version == self.versions.get(job_id, version - 1) + 1, "a gap or a repeat"
                self.versions[job_id] = version
                self.left.discard(job_id)
            case "left":
                self.left.add(message.left.job_id)
                self.versions.pop(message.left.job_id)


changes = st.lists(st.tuples(st.sampled_from(JOBS), st.booleans()), max_size=6)


@given(st.lists(st.tuples(changes, changes, st.integers(0, 7)), max_size=8))
@example([([("a", False)], [("a", False)], 2)])
@example([([("a", False)], [("b", False)], 2), ([], [("b", True)], 1)])
def test_no_gap_and_no_repeat_wherever_it_breaks(
    rounds: list[tuple[list[tuple[str, bool]], list[tuple[str, bool]], int]],
) -> None:
    server, cursor, reader = ModelServer(), WatchCursor(), Reader()
    for happened, happened_meanwhile, messages_until_it_breaks in [*rounds, ([], [], 1000)]:
        for job_id, ends in happened:
            server.change(job_id, ends)
        server.look()
        for job_id, ends in happened_meanwhile:
            server.change(job_id, ends)
        for _, message in zip(range(messages_until_it_breaks), server.watch(cursor.request()), strict=False):
            for told in cursor.take(message):
                reader.read(told)
    assert {job_id: reader.versions.get(job_id) for job_id in server.live} == server.live
    assert not reader.left & server.live.keys()


@given(
    total=st.integers(0, 20),
    batch=st.integers(1, 5),
    breaks=st.lists(st.integers(0, 3), max_size=6),
    limit=st.integers(0, 25),
)
def test_events_are_read_once_each(total: int, batch: int, breaks: list[int], limit: int) -> None:
    cursor, read = EventsCursor(limit=limit), list[int]()
    for responses_until_it_breaks in [*breaks, 1000]:
        if cursor.complete():
            break
        request = cursor.request()
        start = int(request.resume_token or 0)
        end = min(total, start + request.limit) if request.limit else total
        for count, first in enumerate(range(start, end, batch)):
            if count == responses_until_it_breaks:
                break
            positions = range(first + 1, min(first + batch, end) + 1)
            response = event_service_pb2.ReadEventsResponse(
                events=[event_pb2.Event(position=each) for each in positions],
                position=positions[-1],
                resume_token=str(positions[-1]),
            )
            read += [event.position for event in cursor.take(response)]
    assert read == list(range(1, min(total, limit or total) + 1))
