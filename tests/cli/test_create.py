from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from tenure.cli.create import MAX_BYTES, cut
from tenure.cli.failures import Problem
from tenure.v1 import job_pb2, job_service_pb2
from tests.cli.conftest import Tenure
from tests.client.scripted import Refusal, ScriptedServer

DATA = Path(__file__).parents[1] / "data"


def created(*ids: str) -> job_service_pb2.CreateJobsResponse:
    return job_service_pb2.CreateJobsResponse(
        responses=[job_service_pb2.CreateJobsResponse.Item(id=each) for each in ids], resume_token="t"
    )


async def test_without_a_file(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("CreateJobs", created("j-1"))
    result = await tenure(
        *("jobs", "create", "--queue", "q", "--name", "n", "--time", "2h", "--env", "K=V", "--env", "E=a=b"),
        *("--label", "k=v", "--priority", "3", "--max-failures", "2", "--heartbeat-interval", "5s", "--grace", "10s"),
        *("--no-duplicate", "--project", "p", "--request-id", "r-1", "--", "python", "main.py", "--x"),
    )
    assert (result.code, result.out, result.err) == (0, "j-1\n", "")
    [request] = server.asked["CreateJobs"]
    assert (request.project, request.request_id, request.validate_only) == ("p", "r-1", False)
    wanted = job_pb2.JobSpecification(
        queue="q",
        name="n",
        environment={"K": "V", "E": "a=b"},
        labels={"k": "v"},
        priority=3,
        max_failures=2,
        allow_duplicate_job=False,
        command="python",
        arguments=["main.py", "--x"],
    )
    wanted.time_allocation.FromSeconds(7200)
    wanted.heartbeat_interval.FromSeconds(5)
    wanted.termination_grace_period.FromSeconds(10)
    assert request.items[0].specification == wanted


async def test_an_application_on_a_product(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("CreateJobs", created("j-1"))
    await tenure("jobs", "create", "--application", "acme@1.0.0", "--product", "example/compute/small", "-o", "json")
    specification = server.asked["CreateJobs"][0].items[0].specification
    assert (specification.application.name, specification.application.version) == ("acme", "1.0.0")
    assert (specification.product.provider, specification.product.id) == ("example", "small")


@pytest.mark.parametrize("name", ["kelpie-job.json.txt", "ucloud-create.json"])
async def test_the_known_documents_as_they_are(server: ScriptedServer, tenure: Tenure, name: str) -> None:
    server.answers("CreateJobs", created("j-1"))
    from_file = await tenure("jobs", "create", "-f", str(DATA / name))
    from_stdin = await tenure("jobs", "create", "-f", "-", stdin=(DATA / name).read_bytes())
    assert (from_file.out, from_stdin.out) == ("j-1\n", "j-1\n")
    first, second = server.asked["CreateJobs"]
    assert first.items == second.items
    assert first.request_id != second.request_id


async def test_options_stand_over_a_file(server: ScriptedServer, tenure: Tenure, tmp_path: Path) -> None:
    server.answers("CreateJobs", created("j-1"))
    file = tmp_path / "job.json"
    file.write_text(
        json.dumps(
            {
                "command": "a",
                "arguments": ["b"],
                "environment": {"X": "1", "Y": "1"},
                "timeAllocation": "1.5s",
                "product": {"id": "i", "category": "c", "provider": "p"},
                "priority": 5,
            }
        )
    )
    await tenure("jobs", "create", "-f", str(file), "--env", "Y=2", "--time", "1h", "--queue", "q", "--", "c")
    specification = server.asked["CreateJobs"][0].items[0].specification
    assert (specification.command, list(specification.arguments)) == ("c", [])
    assert dict(specification.environment) == {"X": "1", "Y": "2"}
    assert (specification.time_allocation.seconds, specification.time_allocation.nanos) == (3600, 0)
    assert (specification.queue, specification.HasField("product"), specification.priority) == ("q", False, 5)


async def test_what_the_file_says_of_the_call(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("CreateJobs", created())
    document = {"items": [{"command": "x"}], "project": "p", "requestId": "r-9", "validateOnly": True}
    result = await tenure("jobs", "create", "-f", "-", stdin=json.dumps(document))
    assert result.out == "1 job would be created\n"
    [request] = server.asked["CreateJobs"]
    assert (request.project, request.request_id, request.validate_only) == ("p", "r-9", True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to run"),
        (["--queue", "q"], "nothing to run"),
        (["-f", "/nowhere/at/all"], "--file: cannot read /nowhere/at/all: No such file"),
        (["--time", "2", "--", "x"], "--time: '2' is not a span of time"),
        (["--env", "A", "--", "x"], "--env: 'A' is not of the form NAME=VALUE"),
        (["--product", "a/b", "--", "x"], "--product: 'a/b' is not of the form"),
        (["--application", "a"], "--application: 'a' is not of the form"),
        (["--priority", str(2**31), "--", "x"], "--priority: 2147483648 is not between"),
        (["--max-failures", "0", "--", "x"], "--max-failures: 0 is not between"),
        (["--request-id", "a b", "--", "x"], "--request-id: 'a b' is not 1 to 64"),
    ],
)
async def test_what_is_written_wrongly(server: ScriptedServer, tenure: Tenure, arguments: list[str], says: str) -> None:
    result = await tenure("jobs", "create", *arguments)
    assert result.code == 2
    assert says in result.err
    assert not server.asked


async def test_a_bad_file_is_told_line_by_line(server: ScriptedServer, tenure: Tenure) -> None:
    document = '{"items": [{"comand": "x"}, {"priority": "\x1b[2J"}]}'.replace("\x1b", "\\u001b")
    result = await tenure("jobs", "create", "-f", "-", stdin=document)
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[:2] == [
        "tenure: standard input cannot be used",
        "  items[0].comand: there is no such field (did you mean command?)",
    ]
    assert "\x1b" not in result.err
    assert not server.asked


async def test_bad_fields_are_named(server: ScriptedServer, tenure: Tenure) -> None:
    path = "items[0].specification.sync.before[0].prefix"
    server.answers(
        "CreateJobs",
        Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "1 field is wrong", violations=[(path, "has ..")]),
    )
    result = await tenure("jobs", "create", "--", "x")
    assert result.code == 1
    assert result.err == f"tenure: refused (INVALID_FIELD): 1 field is wrong\n  {path}: has ..\n"


async def test_a_change_of_unknown_outcome_tells_its_request_id(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("CreateJobs", Refusal(grpc.StatusCode.UNAVAILABLE, "COMMIT_OUTCOME_UNKNOWN", "the disk failed"))
    result = await tenure("jobs", "create", "--", "x")
    assert result.code == 3
    ids = {request.request_id for request in server.asked["CreateJobs"]}
    assert len(server.asked["CreateJobs"]) > 1
    assert len(ids) == 1
    assert f"--request-id {ids.pop()} repeats it without doing it twice" in result.err


def many(count: int) -> str:
    return "\n".join(["items:", *(f"- command: c{each}" for each in range(count))])


async def test_more_than_a_call_holds_goes_in_several(server: ScriptedServer, tenure: Tenure) -> None:
    ids = [f"j-{each}" for each in range(2300)]
    server.answers("CreateJobs", created(*ids[:1000]), created(*ids[1000:2000]), created(*ids[2000:]))
    result = await tenure("jobs", "create", "-f", "-", "--request-id", "r", stdin=many(2300))
    assert result.out.splitlines() == ids
    calls = server.asked["CreateJobs"]
    assert [len(call.items) for call in calls] == [1000, 1000, 300]
    assert [call.request_id for call in calls] == ["r-1", "r-2", "r-3"]
    assert calls[2].items[-1].specification.command == "c2299"


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
async def test_a_refusal_in_the_middle_tells_what_was_created(
    server: ScriptedServer, tenure: Tenure, output: str
) -> None:
    ids = [f"j-{each}" for each in range(1000)]
    refusal = Refusal(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "bad", violations=[("items[7].specification.name", "is bad")]
    )
    server.answers("CreateJobs", created(*ids), refusal)
    result = await tenure("jobs", "create", "-f", "-", "-o", output, stdin=many(1500))
    assert result.code == 1
    assert "items[1007].specification.name: is bad" in result.err
    assert "1000 of 1500 jobs were created before; none of the others" in result.err
    match output:
        case "table":
            assert result.out.splitlines() == ids
        case "json":
            assert [each["id"] for each in result.json["responses"]] == ids
        case _:
            assert [each["id"] for each in result.json_lines] == ids


async def test_a_lost_server_in_the_middle_tells_the_request_id_of_the_whole(
    server: ScriptedServer, tenure: Tenure
) -> None:
    server.answers("CreateJobs", created("j"), Refusal(grpc.StatusCode.UNAVAILABLE, "DRAINING", "stopping"))
    result = await tenure("jobs", "create", "-f", "-", "--request-id", "whole-7", stdin=many(1500))
    assert result.code == 3
    assert "--request-id whole-7 repeats it" in result.err


def test_a_submission_is_cut_by_number_and_by_size() -> None:
    small = [job_pb2.JobSpecification(command="x")] * 1001
    assert [(call.first, len(call.specifications)) for call in cut(small, "r")] == [(0, 1000), (1000, 1)]
    large = [job_pb2.JobSpecification(command="x", arguments=["y" * 100_000])] * 100
    calls = cut(large, "r")
    assert sum(len(call.specifications) for call in calls) == 100
    for call in calls:
        request = job_service_pb2.CreateJobsRequest(
            items=[job_service_pb2.CreateJobsRequest.Item(specification=each) for each in call.specifications]
        )
        assert request.ByteSize() < MAX_BYTES + 1000
    assert len({call.request_id for call in calls}) == len(calls) > 1
    assert [call.request_id for call in cut(small[:5], "r")] == ["r"]


def test_a_request_id_must_leave_room_for_others() -> None:
    small = [job_pb2.JobSpecification(command="x")] * 1001
    assert cut(small[:5], "r" * 64)
    with pytest.raises(Problem, match="leave 2 characters out"):
        cut(small, "r" * 64)
