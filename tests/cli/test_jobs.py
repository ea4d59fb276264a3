"""Each command of `tenure jobs` against a server that is told what to answer."""

from __future__ import annotations

import re
import time

import grpc
import pytest

from tenure.cli.text import timestamp_us, to_timestamp
from tenure.v1 import admin_service_pb2, job_pb2, job_service_pb2
from tests.cli.conftest import Tenure
from tests.cli.examples import HOSTILE, T0_US, S, running_job
from tests.client.scripted import Refusal, ScriptedServer


async def test_get_shows_a_page(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("RetrieveJob", job_service_pb2.RetrieveJobResponse(job=running_job()))
    result = await tenure("jobs", "get", "62348")
    assert result.code == 0
    for line in (
        "Job 62348",
        "  State        RUNNING",
        "  Command      python /app/main.py 'a b'",
        "  Product      example/example-compute/example-compute",
        "  Created      2021-10-04 06:42:56.235Z",
        "  Expires      2021-10-04 11:42:56.235Z (now)",
        "  Allocation   5h 0m",
        "  Attempt      2 on worker-b",
        "  Failures     1 of 3",
        "  Progress     42% step 7",
        "2021-10-04 06:43:01.235Z  RUNNING   Your job is now running!",
    ):
        assert f"\n{line}\n" in f"\n{result.out}", result.out
    assert "failed, exit code 3" in result.out
    assert server.asked["RetrieveJob"][0].flags.include_product


async def test_get_as_json_has_the_known_names(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("RetrieveJob", job_service_pb2.RetrieveJobResponse(job=running_job()))
    job = (await tenure("jobs", "get", "62348", "-o", "json")).json
    assert (job["id"], job["createdAt"], job["owner"]["createdBy"]) == ("62348", "2021-10-04T06:42:56.235Z", "user")
    assert job["status"]["expiresAt"] == "2021-10-04T11:42:56.235Z"
    assert (job["status"]["numFailures"], job["status"]["machineId"]) == (1, "worker-b")
    assert job["status"]["numInterruptions"] == 0
    assert job["specification"]["timeAllocation"] == "18000s"
    assert job["specification"]["allowDuplicateJob"] is False
    assert len((await tenure("jobs", "get", "62348", "-o", "jsonl")).json_lines) == 1


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
async def test_nothing_that_a_job_says_reaches_the_terminal_raw(
    server: ScriptedServer, tenure: Tenure, output: str
) -> None:
    job = running_job(text=HOSTILE)
    server.answers("RetrieveJob", job_service_pb2.RetrieveJobResponse(job=job))
    server.answers("BrowseJobs", job_service_pb2.BrowseJobsResponse(jobs=[job]))
    server.answers("ExtendJobs", Refusal(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", f"no job{HOSTILE}"))
    for args in (["get", "62348"], ["list"], ["extend", "62348", "1h"]):
        result = await tenure("-o", output, "jobs", *args)
        shown = result.out + result.err
        assert shown.strip()
        assert not [each for each in shown if each != "\n" and not each.isprintable()]
        assert "\u202e" not in shown


async def test_list_asks_with_every_filter(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("BrowseJobs", job_service_pb2.BrowseJobsResponse(jobs=[running_job()]))
    arguments = (
        "--state in-queue --queue q --label a=b --label c=d=e --id x --id y --application app --created-by me"
        " --created-after 2021-10-04T06:42:56.235Z --created-before 2021-10-05 --product p --category c --provider v"
        " --hide-product hp --hide-category hc --hide-provider hv --sort expires --descending --limit 7"
    )
    result = await tenure("jobs", "list", *arguments.split())
    assert result.code == 0, result.err
    [request] = server.asked["BrowseJobs"]
    flags = request.flags
    assert flags.filter_state == job_pb2.JOB_STATE_IN_QUEUE
    assert (flags.filter_queue, dict(flags.filter_labels), list(flags.filter_ids)) == (
        "q",
        {"a": "b", "c": "d=e"},
        ["x", "y"],
    )
    assert (flags.filter_application, flags.filter_created_by) == ("app", "me")
    assert timestamp_us(flags.filter_created_after) == T0_US
    assert flags.filter_created_before == to_timestamp(1_633_392_000 * S)
    assert (flags.filter_product_id, flags.filter_product_category, flags.filter_provider) == ("p", "c", "v")
    assert (flags.hide_product_id, flags.hide_product_category, flags.hide_provider) == ("hp", "hc", "hv")
    assert (request.sort_by, request.sort_direction, request.page_size) == (
        job_service_pb2.JOB_SORT_BY_EXPIRES_AT,
        job_service_pb2.SORT_DIRECTION_DESCENDING,
        7,
    )


async def test_list_is_a_table_or_json(server: ScriptedServer, tenure: Tenure) -> None:
    first = job_service_pb2.BrowseJobsResponse(jobs=[running_job("a"), running_job("b")], next_page_token="p")
    second = job_service_pb2.BrowseJobsResponse(jobs=[running_job("c")])
    server.answers("BrowseJobs", first, second, first, second, first, second, first)
    heading, *rows = (await tenure("jobs", "list", "--limit", "0")).out.splitlines()
    assert heading.split()[:4] == ["ID", "NAME", "STATE", "QUEUE"]
    assert [row.split()[0] for row in rows] == ["a", "b", "c"]
    assert [each["id"] for each in (await tenure("jobs", "list", "-o", "json")).json] == ["a", "b", "c"]
    assert [each["id"] for each in (await tenure("jobs", "list", "-o", "jsonl")).json_lines] == ["a", "b", "c"]
    assert len((await tenure("jobs", "list", "--limit", "1", "-o", "jsonl")).json_lines) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--state", "happy"], "--state: 'happy' is none of in_queue, running"),
        (["--label", "a"], "--label: 'a' is not of the form NAME=VALUE"),
        (["--label", "a=1", "--label", "a=2"], "--label: a is given twice"),
        (["--created-after", "soon"], "--created-after: 'soon' is neither a time"),
        (["--sort", "size"], "--sort: 'size' is neither created nor expires"),
    ],
)
async def test_a_filter_that_is_none(server: ScriptedServer, tenure: Tenure, arguments: list[str], says: str) -> None:
    result = await tenure("jobs", "list", *arguments)
    assert result.code == 2
    assert says in result.err
    assert not server.asked


async def test_extend(server: ScriptedServer, tenure: Tenure) -> None:
    item = job_service_pb2.ExtendJobsResponse.Item(expires_at=to_timestamp(T0_US + 6 * 3600 * S))
    server.answers("ExtendJobs", job_service_pb2.ExtendJobsResponse(responses=[item], resume_token="t"))
    result = await tenure("jobs", "extend", "62348", "1h", "--request-id", "r-1")
    assert result.out == "62348 extended by 1h: expires at 2021-10-04 12:42:56.235Z\n"
    [request] = server.asked["ExtendJobs"]
    assert (request.request_id, request.items[0].job_id, request.items[0].requested_time.seconds) == (
        "r-1",
        "62348",
        3600,
    )
    answer = (await tenure("jobs", "extend", "62348", "1h", "--dry-run", "-o", "json")).json
    assert answer == {"responses": [{"expiresAt": "2021-10-04T12:42:56.235Z"}], "resumeToken": "t"}
    assert server.asked["ExtendJobs"][1].validate_only


async def test_terminate_several_with_grace(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("TerminateJobs", job_service_pb2.TerminateJobsResponse())
    result = await tenure("jobs", "terminate", "a", "b", "a", "--grace", "30s", "--reason", "enough")
    assert result.out == "a is told to stop\nb is told to stop\n"
    [request] = server.asked["TerminateJobs"]
    assert [(item.id, item.reason, item.grace_period.seconds) for item in request.items] == [
        ("a", "enough", 30),
        ("b", "enough", 30),
    ]
    assert request.request_id
    assert (await tenure("jobs", "terminate", "a")).out == "a ended\n"
    assert not server.asked["TerminateJobs"][1].items[0].HasField("grace_period")


async def test_what_the_server_has_not_built_is_said_plainly(server: ScriptedServer, tenure: Tenure) -> None:
    refusal = Refusal(grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED", "FollowLogs is not built yet")
    server.streams("FollowLogs", [refusal])
    server.answers("ExplainJob", refusal)
    for command in ("logs", "explain"):
        result = await tenure("jobs", command, "a")
        assert (result.code, result.out) == (1, "")
        assert result.err == "tenure: refused (NOT_IMPLEMENTED): FollowLogs is not built yet\n"


async def test_explain(server: ScriptedServer, tenure: Tenure) -> None:
    now_us = time.time_ns() // 1000
    answer = job_service_pb2.ExplainJobResponse(
        summary=f"It waits because of two.{HOSTILE}",
        state=job_pb2.JOB_STATE_IN_QUEUE,
        queue_position=3,
        queue_paused=True,
        workers_connected=5,
        workers_free=2,
        free_slots=7,
        workers_banned=1,
        workers_unfit=1,
        workers_suspect=2,
        next_retry=to_timestamp(now_us + 600_500_000),
    )
    server.answers("ExplainJob", answer)
    first, *facts = (await tenure("jobs", "explain", "a")).out.splitlines()
    assert first.startswith("It waits because of two.")
    assert first.isprintable()
    assert [line.split(maxsplit=1) for line in facts[:4]] == [
        ["State", "IN_QUEUE"],
        ["Place", "3"],
        ["Queue", "paused"],
        ["Workers", "5 connected, 2 with a free slot, 1 kept from it, 1 without its folders, 2 suspect"],
    ]
    assert re.fullmatch(r"  Free slots  7", facts[4])
    assert re.search(r"^  Not before  .*Z \(in (10m 0|9m \d+)s\)$", facts[5])
    assert (await tenure("jobs", "explain", "a", "-o", "json")).json["queuePosition"] == "3"


async def test_explain_one_far_back_and_one_that_does_not_wait(server: ScriptedServer, tenure: Tenure) -> None:
    far = job_service_pb2.ExplainJobResponse(queue_position=10_000, queue_position_beyond=True)
    running = job_service_pb2.ExplainJobResponse(summary="It runs.", state=job_pb2.JOB_STATE_RUNNING)
    server.answers("ExplainJob", far, running)
    assert "  Place       after more than 10,000\n" in (await tenure("jobs", "explain", "a")).out
    assert (await tenure("jobs", "explain", "a")).out == "It runs.\n  State  RUNNING\n"


async def test_stop(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("StopJobs", admin_service_pb2.StopJobsResponse(resume_token="t"))
    result = await tenure("jobs", "stop", "a", "b", "a", "--reason", "the rack burns", "--request-id", "r-1")
    assert (result.code, result.out) == (0, "a stopped\nb stopped\n")
    [request] = server.asked["StopJobs"]
    assert (list(request.ids), request.reason, request.request_id) == (["a", "b"], "the rack burns", "r-1")
    result = await tenure("jobs", "stop", "a")
    assert (result.code, "--reason" in result.err) == (2, True)


async def test_a_refusal_is_one_line_with_what_to_do(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("RetrieveJob", Refusal(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", "there is no job a"))
    result = await tenure("jobs", "get", "a")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "tenure: refused (JOB_NOT_FOUND): there is no job a\n  → `tenure jobs list` shows the jobs that you can see\n"
    )
