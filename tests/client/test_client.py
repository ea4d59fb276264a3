"""The asyncio client against a real server that is told what to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import pytest

from tenure.client import Client, RetryPolicy, TenureError, calls
from tenure.events.v1 import event_pb2
from tenure.v1 import event_service_pb2, job_pb2, job_service_pb2, queue_service_pb2, worker_service_pb2
from tests.client.scripted import FakeClock, Refusal, ScriptedServer, Silence

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def mark(token: str) -> job_service_pb2.WatchJobsResponse:
    return job_service_pb2.WatchJobsResponse(progress_mark=job_service_pb2.ProgressMark(), resume_token=token)


def snapshot(job_id: str, version: int = 1, token: str = "t0") -> job_service_pb2.WatchJobsResponse:
    return job_service_pb2.WatchJobsResponse(snapshot=job_pb2.Job(id=job_id, version=version), resume_token=token)


def change(job_id: str, position: int) -> job_service_pb2.WatchJobsResponse:
    event = job_service_pb2.JobEvent(job_id=job_id, event=event_pb2.Event(position=position))
    return job_service_pb2.WatchJobsResponse(event=event, resume_token=f"t{position}")


def events(*positions: int) -> event_service_pb2.ReadEventsResponse:
    return event_service_pb2.ReadEventsResponse(
        events=[event_pb2.Event(position=each) for each in positions],
        position=max(positions, default=0),
        resume_token=f"t{max(positions, default=0)}",
    )


async def test_who_calls_is_said_with_each_call(server: ScriptedServer, client: Client) -> None:
    server.answers("RetrieveJob", job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id="a")))
    assert (await client.retrieve_job("a")).id == "a"
    assert server.metadata[0]["authorization"] == "Bearer secret"


async def test_a_refusal_has_its_reason_and_its_bad_fields(server: ScriptedServer, client: Client) -> None:
    server.answers(
        "CreateJobs",
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            "2 fields are wrong",
            metadata={"count": "2"},
            violations=[("items[7].specification.command", "is empty"), ("project", "is too long")],
        ),
    )
    with pytest.raises(TenureError) as caught:
        await client.create_jobs([job_pb2.JobSpecification()])
    error = caught.value
    assert (error.code, error.reason, error.message) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "2 fields are wrong",
    )
    assert error.metadata == {"count": "2"}
    assert [(each.field, each.description) for each in error.field_violations] == [
        ("items[7].specification.command", "is empty"),
        ("project", "is too long"),
    ]
    assert error.request_id == "id-1"
    assert "items[7].specification.command: is empty" in str(error)


async def test_a_changing_call_is_repeated_with_the_same_request_id(
    server: ScriptedServer, client: Client, clock: FakeClock
) -> None:
    server.answers(
        "ExtendJobs",
        Refusal(UNAVAILABLE, "COMMIT_OUTCOME_UNKNOWN"),
        Refusal(UNAVAILABLE),
        job_service_pb2.ExtendJobsResponse(resume_token="t1"),
    )
    await client.extend_jobs([job_service_pb2.ExtendJobsRequest.Item(job_id="a")])
    assert [request.request_id for request in server.asked["ExtendJobs"]] == ["id-1", "id-1", "id-1"]
    assert len(clock.slept) == 2
    assert all(0.05 <= first <= 0.1 and 0.1 <= second <= 0.2 for first, second in [clock.slept])


async def test_the_callers_request_id_is_kept(server: ScriptedServer, client: Client) -> None:
    server.answers("TerminateJobs", job_service_pb2.TerminateJobsResponse())
    server.answers("UpsertQueues", queue_service_pb2.UpsertQueuesResponse())
    server.answers("CreateJobs", job_service_pb2.CreateJobsResponse())
    await client.terminate_jobs([], request_id="mine")
    await client.upsert_queues([], request_id="mine")
    await client.create_jobs([], request_id="mine")
    assert {server.asked[rpc][0].request_id for rpc in ("TerminateJobs", "UpsertQueues", "CreateJobs")} == {"mine"}


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code not in (grpc.StatusCode.OK, UNAVAILABLE)],
    ids=lambda code: code.name,
)
async def test_nothing_else_is_repeated(server: ScriptedServer, client: Client, code: grpc.StatusCode) -> None:
    server.answers("CreateJobs", Refusal(code, "VERSION_CONFLICT"))
    with pytest.raises(TenureError) as caught:
        await client.create_jobs([])
    assert caught.value.code is code
    assert len(server.asked["CreateJobs"]) == 1


async def test_repeating_has_an_end(server: ScriptedServer, client: Client) -> None:
    server.answers("RetrieveJob", Refusal(UNAVAILABLE, "DRAINING"))
    with pytest.raises(TenureError, match="DRAINING"):
        await client.retrieve_job("a")
    assert len(server.asked["RetrieveJob"]) == RetryPolicy().attempts


async def test_a_call_has_a_deadline(server: ScriptedServer) -> None:
    server.answers("RetrieveJob", Silence())
    async with Client(server.address, timeout_s=0.05) as client:
        with pytest.raises(TenureError) as caught:
            await client.retrieve_job("a")
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_nobody_there(clock: FakeClock) -> None:
    async with Client("127.0.0.1:1", clock=clock) as client:
        with pytest.raises(TenureError) as caught:
            await client.retrieve_job("a")
    assert (caught.value.code, caught.value.reason) == (UNAVAILABLE, "")


async def test_pages_are_fetched_until_the_last(server: ScriptedServer, client: Client) -> None:
    server.answers(
        "BrowseJobs",
        job_service_pb2.BrowseJobsResponse(jobs=[job_pb2.Job(id="a"), job_pb2.Job(id="b")], next_page_token="p2"),
        job_service_pb2.BrowseJobsResponse(next_page_token="p3"),
        job_service_pb2.BrowseJobsResponse(jobs=[job_pb2.Job(id="c")]),
    )
    flags = job_service_pb2.JobFlags(filter_queue="q")
    assert [job.id async for job in client.browse_jobs(flags=flags, page_size=2)] == ["a", "b", "c"]
    asked = server.asked["BrowseJobs"]
    assert [request.page_token for request in asked] == ["", "p2", "p3"]
    assert {(request.flags.filter_queue, request.page_size) for request in asked} == {("q", 2)}


async def test_queues_and_workers(server: ScriptedServer, client: Client) -> None:
    queue = queue_service_pb2.Queue(specification=queue_service_pb2.QueueSpecification(name="q"))
    server.answers("BrowseQueues", queue_service_pb2.BrowseQueuesResponse(queues=[queue]))
    worker = worker_service_pb2.Worker(id="w")
    server.answers("BrowseWorkers", worker_service_pb2.BrowseWorkersResponse(workers=[worker]))
    server.answers("DrainWorkers", worker_service_pb2.DrainWorkersResponse(worker_ids=["w"]))
    assert [each async for each in client.browse_queues()] == [queue]
    assert [each async for each in client.browse_workers(queue="q")] == [worker]
    assert await client.drain_workers(["w", "x"], release=True) == ["w"]
    assert server.asked["DrainWorkers"][0].release


async def test_health(server: ScriptedServer, client: Client) -> None:
    assert await client.check_health()
    assert not await client.check_health("sick")
    with pytest.raises(TenureError, match="NOT_FOUND"):
        await client.check_health("unknown")


async def watched(client: Client, count: int, **asked: object) -> list[str]:
    """The first `count` messages of a watch, as `job@version`, `job+position`, `job-` and `mark`."""
    told = []
    async with aclosing(client.watch_jobs(**asked)) as changes:  # type: ignore[arg-type]
        async for message in changes:
            match message.WhichOneof("message"):
                case "snapshot":
                    told.append(f"{message.snapshot.id}@{message.snapshot.version}")
                case "event":
                    told.append(f"{message.event.job_id}+{message.event.event.position}")
                case "left":
                    told.append(f"{message.left.job_id}-")
                case _:
                    told.append("mark")
            if len(told) == count:
                break
    return told


async def test_a_watch_goes_on_where_it_broke_off(server: ScriptedServer, client: Client, clock: FakeClock) -> None:
    server.streams(
        "WatchJobs",
        [snapshot("a"), mark("t0"), change("a", 5), change("a", 6), Refusal(UNAVAILABLE)],
        [Refusal(UNAVAILABLE, "DRAINING")],
        [change("a", 7)],
        [Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")],
        [change("a", 8), Silence()],
    )
    drops: list[str] = []
    told = await watched(client, 6, ids=["a"], on_drop=lambda error, wait_s: drops.append(error.reason))
    assert told == ["a@1", "mark", "a+5", "a+6", "a+7", "a+8"]
    assert [request.resume_token for request in server.asked["WatchJobs"]] == ["", "t6", "t6", "t7", "t7"]
    assert all(list(request.ids) == ["a"] for request in server.asked["WatchJobs"])
    assert drops == ["", "DRAINING", "", "SLOW_CONSUMER"]
    assert len(clock.slept) == 4


async def test_a_watch_that_broke_off_in_its_snapshot_starts_over(server: ScriptedServer, client: Client) -> None:
    """A token brings no snapshot, so going on after one would leave out the jobs that were not yet shown."""
    server.streams(
        "WatchJobs",
        [snapshot("a"), snapshot("b"), snapshot("gone"), Refusal(UNAVAILABLE)],
        [snapshot("a"), snapshot("b", version=2), snapshot("c"), mark("t3"), change("c", 4), Silence()],
    )
    told = await watched(client, 8, flags=job_service_pb2.JobFlags(filter_queue="q"))
    assert told == ["a@1", "b@1", "gone@1", "b@2", "c@1", "gone-", "mark", "c+4"]
    assert [request.resume_token for request in server.asked["WatchJobs"]] == ["", ""]
    assert all(request.flags.filter_queue == "q" for request in server.asked["WatchJobs"])


async def test_a_watch_begins_after_a_token(server: ScriptedServer, client: Client) -> None:
    server.streams("WatchJobs", [Refusal(UNAVAILABLE)], [change("a", 4), Silence()])
    assert await watched(client, 1, resume_token="t3") == ["a+4"]
    assert [request.resume_token for request in server.asked["WatchJobs"]] == ["t3", "t3"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_TOO_OLD"),
        (grpc.StatusCode.DATA_LOSS, "LOG_REGRESSED"),
        (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
    ],
)
async def test_a_watch_that_is_refused_says_so(
    server: ScriptedServer, client: Client, code: grpc.StatusCode, reason: str
) -> None:
    server.streams("WatchJobs", [mark("t1"), Refusal(UNAVAILABLE)], [Refusal(code, reason)])
    with pytest.raises(TenureError) as caught:
        await watched(client, 2)
    assert caught.value.reason == reason


async def test_a_watch_that_is_never_connected_gives_up(server: ScriptedServer, client: Client) -> None:
    server.streams("WatchJobs", *([[Refusal(UNAVAILABLE)]] * 6))
    with pytest.raises(TenureError):
        await watched(client, 1)
    assert len(server.asked["WatchJobs"]) == 6


async def test_a_watch_that_was_connected_is_patient(server: ScriptedServer, client: Client, clock: FakeClock) -> None:
    server.streams("WatchJobs", [mark("t1")], *([[Refusal(UNAVAILABLE)]] * 2000))
    with pytest.raises(TenureError):
        await watched(client, 2)
    assert 3600 < sum(clock.slept) < 3600 + 2 * 5
    assert max(clock.slept) <= 5


async def test_silence_is_a_lost_connection(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SILENCE_S", 0.1)
    server.streams("WatchJobs", [mark("t1"), Silence()], [change("a", 2), Silence()])
    assert await watched(client, 2) == ["mark", "a+2"]
    assert server.asked["WatchJobs"][1].resume_token == "t1"


async def test_a_watch_that_is_left_is_ended_at_the_server(server: ScriptedServer, client: Client) -> None:
    ended = asyncio.Event()

    async def noticed(request: object, context: object) -> AsyncIterator[job_service_pb2.WatchJobsResponse]:
        try:
            yield mark("t1")
            await asyncio.Event().wait()
        finally:
            ended.set()

    server.stream, original = (lambda rpc, request, context: noticed(request, context)), server.stream  # type: ignore[method-assign]
    try:
        assert await watched(client, 1) == ["mark"]
        async with asyncio.timeout(5):
            await ended.wait()
    finally:
        server.stream = original  # type: ignore[method-assign]


async def test_events_are_read_to_the_end_without_gap_or_repeat(server: ScriptedServer, client: Client) -> None:
    server.streams("ReadEvents", [events(1, 2), events(3), Refusal(UNAVAILABLE)], [events(4, 5)])
    wanted = event_service_pb2.EventFilter(job_ids=["a"])
    read = [event.position async for event in client.read_events(after_position=0, filter=wanted)]
    assert read == [1, 2, 3, 4, 5]
    first, second = server.asked["ReadEvents"]
    assert (second.resume_token, second.after_position) == ("t3", 0)
    assert first.filter == second.filter == wanted


async def test_following_events_outlives_the_end_of_a_stream(server: ScriptedServer, client: Client) -> None:
    server.streams("ReadEvents", [events(1)], [events(), events(2), Silence()])
    read = []
    async with aclosing(client.read_events(follow=True)) as found:
        async for event in found:
            read.append(event.position)
            if len(read) == 2:
                break
    assert read == [1, 2]
    assert all(request.follow for request in server.asked["ReadEvents"])


async def test_a_limit_counts_over_connections(server: ScriptedServer, client: Client) -> None:
    server.streams("ReadEvents", [events(1, 2), Refusal(UNAVAILABLE)], [events(3, 4)])
    assert [event.position async for event in client.read_events(limit=3)] == [1, 2, 3]
    assert [request.limit for request in server.asked["ReadEvents"]] == [3, 1]


async def test_a_quiet_follower_connects_again_without_giving_up(
    server: ScriptedServer, client: Client, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SILENCE_S", 0.02)
    server.streams("ReadEvents", *([[Silence()]] * 8), [events(1), Silence()])
    async with aclosing(client.read_events(follow=True)) as found:
        assert (await anext(found)).position == 1
    assert len(server.asked["ReadEvents"]) == 9
    assert clock.slept == []


async def test_what_is_not_built_is_refused(server: ScriptedServer, client: Client) -> None:
    server.answers("ExplainJob", Refusal(grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED", "not built yet"))
    with pytest.raises(TenureError, match="NOT_IMPLEMENTED: not built yet"):
        await client.explain_job("a")
