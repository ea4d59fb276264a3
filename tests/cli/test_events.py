from __future__ import annotations

from typing import Any

import pytest

from tenure.cli.events import event_line
from tenure.cli.text import to_duration, to_timestamp
from tenure.events.v1 import event_pb2
from tenure.v1 import event_service_pb2, job_pb2
from tests.cli.conftest import Tenure
from tests.cli.examples import HOSTILE, T0_US, S
from tests.client.scripted import Refusal, ScriptedServer, Silence


def event(position: int = 1, stream: str = "job/a", actor: str = "server", **payload: Any) -> event_pb2.Event:
    return event_pb2.Event(
        position=position, stream=stream, actor=actor, time=to_timestamp(T0_US + position * S), **payload
    )


SPECIFICATION = job_pb2.JobSpecification(name="sum").SerializeToString()
EXAMPLES: list[tuple[dict[str, Any], str]] = [
    (
        {
            "job_created": event_pb2.JobCreated(
                specification=SPECIFICATION,
                created_by="user",
                project="p",
                queue="q",
                command="python",
                arguments=["a b"],
                terms=event_pb2.Terms(time_allocation=to_duration(3600 * S)),
            )
        },
        "'sum' by user of p in q for 1h 0m: python 'a b'",
    ),
    (
        {"job_assigned": event_pb2.JobAssigned(attempt=1, worker_id="w", lease=to_duration(60 * S))},
        "attempt 1 given to w, lease 1m 0s",
    ),
    (
        {"assignment_declined": event_pb2.AssignmentDeclined(attempt=1, worker_id="w", reason="full")},
        "attempt 1 not taken by w: full",
    ),
    (
        {"job_started": event_pb2.JobStarted(attempt=1, worker_id="w", deadline=to_timestamp(T0_US))},
        "attempt 1 started on w, ends 2021-10-04 06:42:56Z",
    ),
    (
        {"job_heartbeat": event_pb2.JobHeartbeat(attempt=1, count=3, stage=event_pb2.STAGE_SYNC_BEFORE)},
        "attempt 1, beat 3, sync_before",
    ),
    ({"job_extended": event_pb2.JobExtended(requested_time=to_duration(3600 * S))}, "extended by 1h 0m"),
    (
        {
            "attempt_failed": event_pb2.AttemptFailed(
                attempt=1, worker_id="w", stage=event_pb2.STAGE_RUN, signal=9, oom=True, message="killed"
            )
        },
        "attempt 1 on w failed: run, signal 9 (out of memory), killed",
    ),
    (
        {"attempt_failed": event_pb2.AttemptFailed(attempt=1, worker_id="w", exit_code=0)},
        "attempt 1 on w failed: exit code 0",
    ),
    (
        {"attempt_released": event_pb2.AttemptReleased(attempt=1, worker_id="w", reason="drain")},
        "attempt 1 on w given back: drain",
    ),
    (
        {"lease_expired": event_pb2.LeaseExpired(attempt=1, worker_id="w", silence=to_duration(60 * S))},
        "attempt 1 on w lost, silent for 1m 0s",
    ),
    (
        {
            "job_requeued": event_pb2.JobRequeued(
                attempt=1, worker_id="w", reason="exit code 1", not_before=to_timestamp(T0_US)
            )
        },
        "waits again after attempt 1 on w: exit code 1, not before 2021-10-04 06:42:56Z",
    ),
    (
        {"cancel_requested": event_pb2.CancelRequested(reason="enough", until=to_timestamp(T0_US))},
        "to be cancelled until 2021-10-04 06:42:56Z: enough",
    ),
    ({"job_terminated": event_pb2.JobTerminated(outcome=event_pb2.OUTCOME_LOST, reason="why")}, "LOST: why"),
    (
        {"queue_configured": event_pb2.QueueConfigured(features=event_pb2.Features(sync=True, logs=True))},
        "logs, sync, products: 0",
    ),
    ({"queue_paused": event_pb2.QueuePaused(reason="repairs")}, "gives out no jobs: repairs"),
    ({"queue_resumed": event_pb2.QueueResumed()}, "gives out jobs again"),
]


@pytest.mark.parametrize(("payload", "text"), EXAMPLES, ids=lambda each: next(iter(each)) if each else None)
def test_every_event_in_words(payload: dict[str, Any], text: str) -> None:
    line = event_line(event(actor="user:me", **payload))
    assert line.endswith(f"  {text}  [user:me]")
    assert line.startswith("       1  2021-10-04 06:42:57.235Z  ")


def test_no_kind_of_event_is_without_words() -> None:
    kinds = {field.name for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert {next(iter(payload)) for payload, _ in EXAMPLES} == kinds


def test_no_escape_gets_through() -> None:
    created = event_pb2.JobCreated(specification=b"\xff\xff", created_by=HOSTILE, queue="q", command=HOSTILE)
    assert event_line(event(stream=f"job/{HOSTILE}", actor=HOSTILE, job_created=created)).isprintable()


def read(*events: event_pb2.Event) -> event_service_pb2.ReadEventsResponse:
    return event_service_pb2.ReadEventsResponse(events=events, resume_token=f"t{events[-1].position}")


async def test_the_log_in_lines_or_json(server: ScriptedServer, tenure: Tenure) -> None:
    page = read(event(1, job_extended=event_pb2.JobExtended()), event(2, queue_resumed=event_pb2.QueueResumed()))
    server.streams("ReadEvents", *([[page]] * 3))
    arguments = ["--job", "a", "--job", "b", "--queue", "q", "--type", "JobExtended", "--after", "7", "--limit", "2"]
    result = await tenure("events", *arguments)
    assert [line.split()[3] for line in result.out.splitlines()] == ["JobExtended", "QueueResumed"]
    [request] = server.asked["ReadEvents"]
    assert (request.after_position, request.limit, request.follow) == (7, 2, False)
    assert (list(request.filter.job_ids), list(request.filter.queues), list(request.filter.types)) == (
        ["a", "b"],
        ["q"],
        ["JobExtended"],
    )
    assert [each["position"] for each in (await tenure("events", "-o", "json")).json] == ["1", "2"]
    assert [each["stream"] for each in (await tenure("events", "-o", "jsonl")).json_lines] == ["job/a", "job/a"]


async def test_following_goes_on_over_a_lost_connection(server: ScriptedServer, tenure: Tenure) -> None:
    first, second = (read(event(each, queue_resumed=event_pb2.QueueResumed())) for each in (1, 2))
    from grpc import StatusCode

    server.streams("ReadEvents", [first, Refusal(StatusCode.UNAVAILABLE)], [second, Silence()])
    result = await tenure("events", "--follow", "--limit", "2", "-o", "json")
    assert [each["position"] for each in result.json_lines] == ["1", "2"]
    assert server.asked["ReadEvents"][1].resume_token == "t1"
