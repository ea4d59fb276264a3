"""Rules of messages over a real server: every broken one is named with its path, and no message can make that long."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tenure.controlplane.call import Call
from tenure.controlplane.permissions import Role
from tenure.controlplane.validation import Validator
from tenure.v1 import job_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.hosted import Hosted, Refusal, hosted

CREATE = "/tenure.v1.JobService/CreateJobs"
SECRET = "postgresql://root:hunter2@db"


class Jobs:
    """Takes every message that keeps the rules."""

    async def create_jobs(
        self, request: job_service_pb2.CreateJobsRequest, call: Call
    ) -> job_service_pb2.CreateJobsResponse:
        return job_service_pb2.CreateJobsResponse()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Hosted]:
    async with hosted({"JobService": Jobs()}) as running:
        yield running


async def test_a_message_that_keeps_the_rules_is_taken(server: Hosted) -> None:
    request = job_service_pb2.CreateJobsRequest()
    request.items.add().specification.command = "true"
    assert await server.unary(CREATE, request.SerializeToString(), await server.bearer(Role.USER)) == b""


async def test_every_broken_rule_is_named_with_its_path(server: Hosted) -> None:
    request = job_service_pb2.CreateJobsRequest(request_id="no spaces please")
    for _ in range(9):
        request.items.add().specification.command = "true"
    request.items[7].specification.sync.before.add(bucket="data", prefix="p" * 600, local_path="in")
    request.items[3].specification.environment["a b"] = SECRET
    request.items[1].specification.max_failures = 0
    request.items[1].specification.time_allocation_basis = 99  # type: ignore[assignment]
    request.items[1].specification.heartbeat_interval.seconds = -1
    request.items[2].ClearField("specification")
    answer = await server.unary(CREATE, request.SerializeToString(), await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert {field for field, _ in answer.fields} == {
        "items[1].specification.max_failures",
        "items[1].specification.time_allocation_basis",
        "items[1].specification.heartbeat_interval",
        "items[2].specification",
        'items[3].specification.environment["a b"]',
        "items[7].specification.sync.before[0].prefix",
        "request_id",
    }
    assert all(description for _, description in answer.fields)
    assert SECRET not in str(answer)


async def test_no_more_violations_than_a_client_takes(server: Hosted) -> None:
    request = job_service_pb2.CreateJobsRequest()
    for _ in range(1000):
        request.items.add()
    answer = await server.unary(CREATE, request.SerializeToString(), await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert len(answer.fields) == 50
    assert answer.fields[49][0] == "items[49].specification"


async def test_a_large_message_is_looked_through_until_there_are_enough_violations(server: Hosted) -> None:
    request = job_service_pb2.CreateJobsRequest()
    for index in range(1000):
        request.items.add().specification.command = "c" * (5000 if index % 2 else 200)
    assert request.ByteSize() > 2_000_000
    answer = await server.unary(CREATE, request.SerializeToString(), await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert [field for field, _ in answer.fields[:2]] == [
        "items[1].specification.command",
        "items[3].specification.command",
    ]
    assert 20 <= len(answer.fields) <= 50


@pytest.mark.parametrize("count", [-1, 2**40 + 1, 2**63 - 1])
def test_beats_are_so_few_that_the_sum_of_all_attempts_is_a_number(count: int) -> None:
    # Such counts of two attempts have a sum that no event and no answer can hold.
    validator = Validator()
    beat = pb.Heartbeat(beats=[pb.Beat(lease_id="a", count=count)])
    last = pb.FinalBeat(count=count)
    report = pb.Report(items=[pb.Report.Item(lease_id="a", succeeded=pb.Succeeded(), last_beat=last)])
    assert [each.field for each in validator.violations(beat, beat.ByteSize())] == ["beats[0].count"]
    assert [each.field for each in validator.violations(report, report.ByteSize())] == ["items[0].last_beat.count"]


async def test_a_list_that_is_too_long_is_one_violation(server: Hosted) -> None:
    answer = await server.unary(CREATE, b"\x0a\x00" * 100_000, await server.bearer(Role.USER))
    assert isinstance(answer, Refusal)
    assert [field for field, _ in answer.fields] == ["items"]
