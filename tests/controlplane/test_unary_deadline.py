"""A call that arrives when its deadline has passed."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from tenure.controlplane.call import Call
from tenure.controlplane.permissions import Role
from tenure.v1 import job_pb2, job_service_pb2
from tests.controlplane.hosted import hosted

RETRIEVE = "/tenure.v1.JobService/RetrieveJob"


class Jobs:
    """Remembers who has called."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def retrieve_job(
        self, request: job_service_pb2.RetrieveJobRequest, call: Call
    ) -> job_service_pb2.RetrieveJobResponse:
        self.calls.append(call)
        return job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id=request.id))


class Arrived(grpc.HandlerCallDetails):
    """What is known of a call before its message."""

    def __init__(self, invocation_metadata: tuple[tuple[str, str], ...]) -> None:
        self.method = RETRIEVE
        self.invocation_metadata = invocation_metadata


class Past:
    """A call that has so much time left as its message comes."""

    def __init__(self, left_s: float) -> None:
        self.left_s = left_s
        self.messages = [job_service_pb2.RetrieveJobRequest(id="a").SerializeToString()]
        self.ended: list[grpc.StatusCode] = []

    def peer(self) -> str:
        return "test"

    def time_remaining(self) -> float:
        return self.left_s

    def add_done_callback(self, callback: Callable[[Past], None]) -> None:
        pass

    async def read(self) -> object:
        return self.messages.pop(0)

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: object) -> None:
        self.ended.append(code)


async def carried(left_s: float) -> tuple[list[grpc.StatusCode], int]:
    """How a call ends, and how many the service has seen."""
    jobs, context = Jobs(), Past(left_s)
    async with hosted({"JobService": jobs}) as server:
        run = server.host.service(Arrived(await server.bearer(Role.USER))).stream_unary
        assert run is not None
        await run(None, context)  # type: ignore[arg-type] # as gRPC does it
    return context.ended, len(jobs.calls)


async def test_a_call_whose_deadline_has_passed_changes_nothing() -> None:
    assert await carried(0.0) == ([grpc.StatusCode.DEADLINE_EXCEEDED], 0)


async def test_a_call_that_has_time_left_is_answered() -> None:
    assert await carried(5.0) == ([], 1)
