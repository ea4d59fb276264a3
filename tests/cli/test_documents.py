from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, MessageToJson

from tenure.cli.documents import read_queues, read_submission
from tenure.cli.reading import DocumentError
from tenure.v1 import job_pb2, job_service_pb2, queue_service_pb2

DATA = Path(__file__).parents[1] / "data"
KELPIE = (DATA / "kelpie-job.json.txt").read_bytes()
UCLOUD = (DATA / "ucloud-create.json").read_bytes()


def only(data: bytes | str) -> job_pb2.JobSpecification:
    submission = read_submission(data.encode() if isinstance(data, str) else data)
    [specification] = submission.specifications
    return specification


def problems(data: Any) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read_submission(data if isinstance(data, bytes) else json.dumps(data).encode())
    return list(caught.value.problems)


def test_the_kelpie_job_as_printed() -> None:
    assert MessageToDict(only(KELPIE)) == {
        "queue": "8e78dce7-08b8-4854-b6ea-67a6bb6bcf03",
        "command": "python",
        "arguments": ["/app/main.py"],
        "environment": {"STATE_SAVING_INTERVAL": "60.0", "STEP_RUNNING_TIME": "10.0"},
        "maxFailures": 3,
        "heartbeatInterval": "30s",
        "sync": {
            "before": [
                {
                    "bucket": "transcripts",
                    "prefix": "demoapp1/job0/input/",
                    "localPath": "/app/data/input/",
                    "direction": "SYNC_DIRECTION_DOWNLOAD",
                },
                {
                    "bucket": "transcripts",
                    "prefix": "demoapp1/job0/state/",
                    "localPath": "/app/data/state/",
                    "direction": "SYNC_DIRECTION_DOWNLOAD",
                },
            ],
            "during": [
                {
                    "bucket": "transcripts",
                    "prefix": "demoapp1/job0/state/",
                    "localPath": "/app/data/state/",
                    "direction": "SYNC_DIRECTION_UPLOAD",
                }
            ],
            "after": [
                {
                    "bucket": "transcripts",
                    "prefix": "demoapp1/job0/output/",
                    "localPath": "/app/data/output/",
                    "direction": "SYNC_DIRECTION_UPLOAD",
                }
            ],
        },
    }


def test_a_kelpie_job_that_has_run_is_taken_too() -> None:
    text = KELPIE.replace(b'"status": "pending"', b'"status": "running", "started": "2024-10-20T14:08:37Z"').replace(
        b'"machine_id": null', b'"machine_id": "9d8e79e1", "heartbeat": "2024-10-20T14:09:38Z"'
    )
    assert only(text) == only(KELPIE)


@pytest.mark.parametrize(
    "text",
    [UCLOUD, UCLOUD.replace(b'"items"', b'"type": "bulk", "items"', 1)],
    ids=["as in the flow", "with its type"],
)
def test_the_ucloud_bulk_request_as_printed(text: bytes) -> None:
    assert MessageToDict(only(text)) == {
        "application": {"name": "acme-web-application", "version": "1.0.0"},
        "product": {"id": "example-compute", "category": "example-compute", "provider": "example"},
        "replicas": 1,
        "allowDuplicateJob": False,
        "timeAllocation": "18000s",
    }


NATIVE = job_pb2.JobSpecification(
    name="n",
    queue="q",
    command="python",
    arguments=["a b", "--x=1"],
    environment={"A": "1"},
    labels={"team/x": "y"},
    priority=-3,
    max_failures=2,
    restart_on_exit=False,
    compression=True,
)
NATIVE.time_allocation.FromMilliseconds(5_400_500)
NATIVE.max_disconnected.FromSeconds(0)
NATIVE.retry_backoff.initial.FromSeconds(5)
NATIVE.parameters["p"].struct_value["deep"] = [1.5, None, {"x": True}]
NATIVE.parameters["null"].null_value = 0  # type: ignore[assignment]
NATIVE.sync.during.add(bucket="bkt", local_path="out", direction=job_pb2.SYNC_DIRECTION_UPLOAD, pattern="x$")


@pytest.mark.parametrize("snake", [False, True], ids=["camelCase", "snake_case"])
@pytest.mark.parametrize("defaults", [False, True], ids=["what is set", "defaults too"])
def test_our_own_json_comes_back_as_it_was(snake: bool, defaults: bool) -> None:
    text = MessageToJson(NATIVE, preserving_proto_field_name=snake, always_print_fields_with_no_presence=defaults)
    # A null in `parameters` is a value; there is no other way to write one, so it is left out here.
    value = json.loads(text)
    del value["parameters"]["null"]
    wanted = job_pb2.JobSpecification()
    wanted.CopyFrom(NATIVE)
    del wanted.parameters["null"]
    assert only(json.dumps(value)) == wanted


def test_a_whole_job_can_be_submitted_again() -> None:
    job = job_pb2.Job(id="a", specification=NATIVE, status=job_pb2.JobStatus(state=job_pb2.JOB_STATE_SUCCESS))
    printed = MessageToJson(job, always_print_fields_with_no_presence=True)
    assert only(printed) == NATIVE


def test_our_own_request() -> None:
    request = job_service_pb2.CreateJobsRequest(
        items=[
            job_service_pb2.CreateJobsRequest.Item(specification=job_pb2.JobSpecification(command=each))
            for each in "ab"
        ],
        project="p",
        request_id="r-1",
        validate_only=True,
    )
    for snake in (False, True):
        submission = read_submission(MessageToJson(request, preserving_proto_field_name=snake).encode())
        assert [each.command for each in submission.specifications] == ["a", "b"]
        assert (submission.project, submission.request_id, submission.validate_only) == ("p", "r-1", True)


def test_lists_and_yaml() -> None:
    yaml = """
# two jobs
- command: python
  arguments: [main.py, --fast]
  timeAllocation: 1h30m
  heartbeat_interval: 5
  environment: {STEPS: "10"}
- application: {name: a, version: "1"}
  priority: 7
"""
    first, second = read_submission(yaml.encode()).specifications
    assert (first.time_allocation.seconds, first.heartbeat_interval.seconds) == (5400, 5)
    assert dict(first.environment) == {"STEPS": "10"}
    assert (second.application.name, second.priority) == ("a", 7)
    documents = read_submission(b"command: a\n---\ncommand: b\n").specifications
    assert [each.command for each in documents] == ["a", "b"]
    items = read_submission(b"items:\n  - command: a\n  - specification: {command: b}\n").specifications
    assert [each.command for each in items] == ["a", "b"]


@pytest.mark.parametrize(
    ("written", "seconds", "nanos"),
    [
        (30, 30, 0),
        (0.5, 0, 500_000_000),
        ("30s", 30, 0),
        ("1.5s", 1, 500_000_000),
        ("1h30m", 5400, 0),
        ({"hours": 5, "minutes": 0, "seconds": 0}, 18_000, 0),
        ({"hours": 1, "minutes": 59, "seconds": 59}, 7199, 0),
        ({"seconds": 3, "minutes": None}, 3, 0),
    ],
)
def test_spans_of_time(written: Any, seconds: int, nanos: int) -> None:
    span = only(json.dumps({"command": "x", "timeAllocation": written})).time_allocation
    assert (span.seconds, span.nanos) == (seconds, nanos)


@pytest.mark.parametrize(
    "written",
    [-1, True, "90", [1], {}, {"hours": -1}, {"minutes": 60}, {"seconds": 1.5}, {"days": 1}, 10**18, "9" * 20 + "d"],
)
def test_what_is_no_span_of_time(written: Any) -> None:
    [problem] = problems({"timeAllocation": written})
    assert problem.startswith("timeAllocation: ")


@pytest.mark.parametrize("written", ["download", "DOWNLOAD", "Download", "SYNC_DIRECTION_DOWNLOAD"])
def test_directions(written: str) -> None:
    specification = only(json.dumps({"sync": {"before": [{"bucket": "bkt", "direction": written}]}}))
    assert specification.sync.before[0].direction == job_pb2.SYNC_DIRECTION_DOWNLOAD


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"comand": "x"}, "comand: there is no such field (did you mean command?)"),
        ({"timeallocation": "1h"}, "timeallocation: there is no such field (did you mean time_allocation?)"),
        ({"command": 5}, "command: 5 is no text: put it in quotes"),
        ({"environment": {"A": 1}}, "environment.A: 1 is no text: put it in quotes"),
        ({"environment": {"A": None}}, "environment.A: null does not belong here"),
        ({"environment": []}, "environment: [] is no object"),
        ({"arguments": "x"}, 'arguments: "x" is no list'),
        ({"arguments": ["x", 1]}, "arguments[1]: 1 is no text: put it in quotes"),
        ({"priority": 2**31}, "priority: 2147483648 is not between -2147483648 and 2147483647"),
        ({"priority": 1.5}, "priority: 1.5 is no whole number"),
        ({"priority": True}, "priority: true is no whole number"),
        ({"compression": "yes"}, 'compression: "yes" is neither true nor false'),
        ({"sync": {"before": [{"direction": "up"}]}}, 'sync.before[0].direction: "up" is none of download, upload'),
        ({"sync": {"before": ["x"]}}, 'sync.before[0]: "x" is no object with named fields'),
        ({"resources": ["x"]}, 'resources[0]: "x" does not fit here'),
        ({"max_failures": 1, "maxFailures": 2}, "maxFailures: the field is there already as max_failures"),
        ({"items": [{"command": "x"}], "typ": "bulk"}, "typ: there is no such field in a bulk request"),
        ({"items": [{"command": "x"}], "type": "single"}, 'type: "single" is not what belongs there'),
        ({"items": "x"}, 'items: "x" is not what belongs there'),
        ({"items": [{}, {"sync": {"after": [{"prefx": "x"}]}}]}, "items[1].sync.after[0].prefx"),
        ([{"command": "x"}, {"nam": "x"}], "[1].nam: there is no such field (did you mean name?)"),
        ([{"command": "x"}, 3], "[1]: 3 is no object with named fields"),
        ({"specification": {"command": "x"}, "stat": 1}, "stat: there is no such field"),
        ({"specification": {"cmd": "x"}}, "specification.cmd: there is no such field"),
        ({"container_group_id": "a", "queue": "b"}, "queue: the container_group_id is the queue"),
        ({"container_group_id": "a", "comand": "b"}, "comand: there is no such field"),
        ({"id": "a", "command": "b"}, "id: there is no such field"),
        ({"items": []}, "it holds no job"),
        ([], "it holds no job"),
        ("text", 'the document: "text" is no object with named fields'),
        ({"name": "\ud800"}, "name: it holds half of a character"),
    ],
)
def test_what_is_not_understood_is_named_with_its_place(document: Any, problem: str) -> None:
    data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    [found] = problems(data)
    assert found.startswith(problem)


def test_all_problems_are_told_at_once() -> None:
    assert len(problems({"items": [{"comand": "x"}, {"priority": "x"}, {"timeAllocation": -1}]})) == 3


def test_a_hostile_document_is_refused_and_not_followed() -> None:
    assert problems(b"&a [*a]") == ["[0]: [[...]] is no object with named fields"]
    assert problems(b"parameters: &a {x: *a}") == ["parameters.x: {'x': {...}} does not fit here"]


def test_queues() -> None:
    [queue] = read_queues(b"{name: gpu, maxTimeAllocation: 2d, basis: created, features: {sync: true}}")
    assert (queue.name, queue.max_time_allocation.seconds, queue.features.sync) == ("gpu", 172_800, True)
    assert queue.basis == job_pb2.TIME_ALLOCATION_BASIS_CREATED
    printed = queue_service_pb2.Queue(specification=queue, depth=3)
    answer = json.dumps([MessageToDict(printed)])
    assert read_queues(answer.encode()) == (queue,)
    assert len(read_queues(b'{"items": [{"name": "a"}, {"name": "b"}]}')) == 2
    with pytest.raises(DocumentError, match=r"\[1\].nme: there is no such field \(did you mean name\?\)"):
        read_queues(b"[{name: a}, {nme: b}]")
    with pytest.raises(DocumentError, match="no queue"):
        read_queues(b"[]")
