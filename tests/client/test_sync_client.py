"""The client for threads, on grpc's testing channel: each test plays the server call by call, without a network."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from tenure.client import RetryPolicy, SyncClient, TenureError
from tenure.v1 import (
    event_service_pb2,
    job_pb2,
    job_service_pb2,
    queue_service_pb2,
    worker_service_pb2,
)
from tests.client.scripted import CountingIds, FakeClock, Refusal, ScriptedServer
from tests.client.test_client import change, events, mark, snapshot
from tests.client.test_output import piece

T = TypeVar("T")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
JOBS = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
QUEUES = queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"]
WORKERS = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
EVENTS = event_service_pb2.DESCRIPTOR.services_by_name["EventService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]


class Played:
    """A client on a testing channel, and the server's side of its calls."""

    def __init__(self) -> None:
        self.channel = grpc_testing.channel((JOBS, QUEUES, WORKERS, EVENTS, HEALTH), grpc_testing.strict_real_time())
        self.clock = FakeClock()
        self.client = SyncClient(
            channel=self.channel,
            token="secret",
            clock=self.clock,
            sleep=self.clock.sleep_now,
            ids=CountingIds(),
            jitter=random.Random(1),
        )

    def unary(self, method: Any) -> tuple[Message, Callable[[Message | Refusal], None], dict[str, str]]:
        """The next call of a method: its request, how to answer it, its metadata."""
        metadata, request, call = self.channel.take_unary_unary(method)
        call.send_initial_metadata(())

        def answer(what: Message | Refusal) -> None:
            if isinstance(what, Refusal):
                call.terminate(None, what.trailing(), what.code, str(what))
            else:
                call.terminate(what, (), grpc.StatusCode.OK, "")

        return request, answer, {key: value for key, value, *_ in metadata}

    def stream(
        self,
        method: Any,
        *steps: Message,
        end: Refusal | None = None,
        once: Callable[[], bool] = lambda: True,
    ) -> Message:
        """The next call of a streaming method gets these steps and this end; its request.

        The end comes `once` the reader has the steps: the testing channel drops what is unread when a call fails.
        """
        _, request, call = self.channel.take_unary_stream(method)
        call.send_initial_metadata(())
        for step in steps:
            call.send_response(step)
        deadline = time.monotonic() + 10
        while not once():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        if end is None:
            call.terminate((), grpc.StatusCode.OK, "")
        else:
            call.terminate(end.trailing(), end.code, str(end))
        return request  # type: ignore[no-any-return]


class Caller:
    """Runs what blocks in a thread of its own, and gives its result or raises what it raised."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._outcome: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._outcome.put((work(), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def result(self) -> Any:
        value, error = self._outcome.get(timeout=10)
        self._thread.join(timeout=10)
        if error is not None:
            raise error
        return value


@pytest.fixture
def played() -> Played:
    return Played()


def test_create_carries_token_and_request_id(played: Played) -> None:
    caller = Caller(lambda: played.client.create_jobs([job_pb2.JobSpecification(command="x")], project="p"))
    request, answer, metadata = played.unary(JOBS.methods_by_name["CreateJobs"])
    answer(job_service_pb2.CreateJobsResponse(responses=[job_service_pb2.CreateJobsResponse.Item(id="a")]))
    assert caller.result().responses[0].id == "a"
    assert isinstance(request, job_service_pb2.CreateJobsRequest)
    assert (request.request_id, request.project, request.items[0].specification.command) == ("id-1", "p", "x")
    assert metadata["authorization"] == "Bearer secret"


def test_a_call_of_unknown_outcome_is_repeated_with_the_same_request_id(played: Played) -> None:
    item = job_service_pb2.ExtendJobsRequest.Item(job_id="a")
    caller = Caller(lambda: played.client.extend_jobs([item]))
    method = JOBS.methods_by_name["ExtendJobs"]
    first, answer, _ = played.unary(method)
    answer(Refusal(UNAVAILABLE, "COMMIT_OUTCOME_UNKNOWN"))
    second, answer, _ = played.unary(method)
    answer(job_service_pb2.ExtendJobsResponse(resume_token="t"))
    assert caller.result().resume_token == "t"
    assert first == second
    assert len(played.clock.slept) == 1


def test_a_refusal_is_told_once_with_everything(played: Played) -> None:
    caller = Caller(lambda: played.client.terminate_jobs([], request_id="mine"))
    _, answer, _ = played.unary(JOBS.methods_by_name["TerminateJobs"])
    answer(
        Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "bad", violations=[("items", "must not be empty")])
    )
    with pytest.raises(TenureError) as caught:
        caller.result()
    error = caught.value
    assert (error.reason, error.request_id, error.field_violations[0].field) == ("INVALID_FIELD", "mine", "items")
    assert played.clock.slept == []


def test_repeating_has_an_end(played: Played) -> None:
    caller = Caller(lambda: played.client.retrieve_job("a"))
    for _ in range(RetryPolicy().attempts):
        played.unary(JOBS.methods_by_name["RetrieveJob"])[1](Refusal(UNAVAILABLE))
    with pytest.raises(TenureError):
        caller.result()
    assert len(played.clock.slept) == RetryPolicy().attempts - 1


def test_pages(played: Played) -> None:
    caller = Caller(lambda: [job.id for job in played.client.browse_jobs(page_size=1)])
    method = JOBS.methods_by_name["BrowseJobs"]
    played.unary(method)[1](job_service_pb2.BrowseJobsResponse(jobs=[job_pb2.Job(id="a")], next_page_token="p"))
    request, answer, _ = played.unary(method)
    answer(job_service_pb2.BrowseJobsResponse(jobs=[job_pb2.Job(id="b")]))
    assert caller.result() == ["a", "b"]
    assert isinstance(request, job_service_pb2.BrowseJobsRequest)
    assert request.page_token == "p"


def test_queues_and_workers(played: Played) -> None:
    client = played.client
    caller = Caller(
        lambda: (
            [each.specification.name for each in client.browse_queues()],
            client.upsert_queues([queue_service_pb2.QueueSpecification(name="q")]).resume_token,
            [each.id for each in client.browse_workers()],
            client.drain_workers(["w"]),
        )
    )
    named = queue_service_pb2.Queue(specification=queue_service_pb2.QueueSpecification(name="q"))
    played.unary(QUEUES.methods_by_name["BrowseQueues"])[1](queue_service_pb2.BrowseQueuesResponse(queues=[named]))
    request, answer, _ = played.unary(QUEUES.methods_by_name["UpsertQueues"])
    answer(queue_service_pb2.UpsertQueuesResponse(resume_token="t"))
    worker = worker_service_pb2.Worker(id="w")
    played.unary(WORKERS.methods_by_name["BrowseWorkers"])[1](
        worker_service_pb2.BrowseWorkersResponse(workers=[worker])
    )
    played.unary(WORKERS.methods_by_name["DrainWorkers"])[1](worker_service_pb2.DrainWorkersResponse(worker_ids=["w"]))
    assert caller.result() == (["q"], "t", ["w"], ["w"])
    assert isinstance(request, queue_service_pb2.UpsertQueuesRequest)
    assert request.request_id == "id-1"


def test_explain_and_health(played: Played) -> None:
    caller = Caller(lambda: (played.client.check_health(), played.client.explain_job("a")))
    played.unary(HEALTH.methods_by_name["Check"])[1](
        health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
    )
    played.unary(JOBS.methods_by_name["ExplainJob"])[1](
        Refusal(grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED", "not built yet")
    )
    with pytest.raises(TenureError, match="not built yet"):
        caller.result()


def first(count: int, found: Iterator[T], read: list[T]) -> list[T]:
    """The first `count` of them, which `read` gets one by one."""
    while len(read) < count:
        read.append(next(found))
    return read


def test_a_watch_goes_on_where_it_broke_off(played: Played) -> None:
    drops: list[float] = []
    read: list[job_service_pb2.WatchJobsResponse] = []
    changes = played.client.watch_jobs(ids=["a"], on_drop=lambda error, wait_s: drops.append(wait_s))
    caller = Caller(lambda: first(5, changes, read))
    method = JOBS.methods_by_name["WatchJobs"]
    gone = Refusal(UNAVAILABLE)
    asked = [
        played.stream(method, snapshot("a"), mark("t0"), change("a", 5), end=gone, once=lambda: len(read) == 3),
        played.stream(method, change("a", 6)),
        played.stream(method, change("a", 7)),
    ]
    assert [message.resume_token for message in caller.result()] == ["t0", "t0", "t5", "t6", "t7"]
    assert [request.resume_token for request in asked] == ["", "t5", "t6"]  # type: ignore[attr-defined]
    assert len(drops) == 2
    assert drops == played.clock.slept


def test_the_end_of_a_streams_life_is_no_failure(played: Played) -> None:
    read: list[job_service_pb2.WatchJobsResponse] = []
    caller = Caller(lambda: first(2, played.client.watch_jobs(), read))
    method = JOBS.methods_by_name["WatchJobs"]
    over = Refusal(grpc.StatusCode.DEADLINE_EXCEEDED)
    played.stream(method, mark("t1"), end=over, once=lambda: len(read) == 1)
    request = played.stream(method, change("a", 2))
    assert len(caller.result()) == 2
    assert request.resume_token == "t1"  # type: ignore[attr-defined]
    assert played.clock.slept == []


def test_a_watch_without_a_word_for_its_whole_life_has_lost_the_server(played: Played) -> None:
    caller = Caller(lambda: first(1, played.client.watch_jobs(), []))
    for _ in range(RetryPolicy().attempts):
        played.stream(JOBS.methods_by_name["WatchJobs"], end=Refusal(grpc.StatusCode.DEADLINE_EXCEEDED))
    with pytest.raises(TenureError, match="nothing was heard"):
        caller.result()


def test_a_refused_watch_says_so(played: Played) -> None:
    caller = Caller(lambda: first(1, played.client.watch_jobs(resume_token="old"), []))
    played.stream(JOBS.methods_by_name["WatchJobs"], end=Refusal(grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_TOO_OLD"))
    with pytest.raises(TenureError, match="RESUME_TOKEN_TOO_OLD"):
        caller.result()


def test_events_to_the_end(played: Played) -> None:
    read: list[int] = []
    caller = Caller(lambda: read.extend(event.position for event in played.client.read_events(after_position=3)))
    method = EVENTS.methods_by_name["ReadEvents"]
    asked = played.stream(method, events(4, 5), end=Refusal(UNAVAILABLE), once=lambda: len(read) == 2)
    again = played.stream(method, events(6))
    caller.result()
    assert read == [4, 5, 6]
    assert isinstance(asked, event_service_pb2.ReadEventsRequest)
    assert isinstance(again, event_service_pb2.ReadEventsRequest)
    assert (asked.after_position, asked.resume_token) == (3, "")
    assert (again.after_position, again.resume_token) == (0, "t5")


def test_output(played: Played) -> None:
    caller = Caller(lambda: [piece.data for piece in played.client.follow_logs("a")])
    played.stream(
        JOBS.methods_by_name["FollowLogs"], job_service_pb2.FollowLogsResponse(data=b"x", attempt=1, end=True)
    )
    assert caller.result() == [b"x"]


def test_an_empty_piece_is_not_shown(played: Played) -> None:
    caller = Caller(lambda: [piece.data for piece in played.client.follow_logs("a")])
    played.stream(JOBS.methods_by_name["FollowLogs"], piece(0, attempt=0), piece(0), piece(0, b"x"), piece(1, end=True))
    assert caller.result() == [b"x", b""]


def test_a_quiet_follower_outlives_a_server_that_is_away_for_a_while(played: Played) -> None:
    looks = played.clock.looks
    caller = Caller(lambda: [piece.data for piece in played.client.follow_logs("a")])
    method, gone = JOBS.methods_by_name["FollowLogs"], Refusal(UNAVAILABLE)

    def nothing_is_printed_for_two_hours() -> bool:
        if played.clock.looks == looks:
            return False
        played.clock.sleep_now(7200)
        return True

    played.stream(method, end=gone, once=nothing_is_printed_for_two_hours)
    for _ in range(20):
        played.stream(method, end=gone)
    played.stream(method, piece(0, b"x", end=True))
    assert caller.result() == [b"x"]


async def test_over_a_real_connection_too(server: ScriptedServer) -> None:
    """The testing channel does not serialise; this does, and a left watch is cancelled."""
    server.answers("RetrieveJob", job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id="a")))
    server.streams("WatchJobs", [mark("t1"), Refusal(UNAVAILABLE)], [change("a", 2)])

    def work() -> list[str]:
        with SyncClient(server.address, token="secret", sleep=lambda seconds: None) as client:
            return [
                client.retrieve_job("a").id,
                *(message.resume_token for message in first(2, client.watch_jobs(), [])),
            ]

    assert await asyncio.wait_for(asyncio.to_thread(work), timeout=20) == ["a", "t1", "t2"]
    assert server.asked["WatchJobs"][1].resume_token == "t1"
    assert server.metadata[0]["authorization"] == "Bearer secret"
