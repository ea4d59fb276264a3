"""The life of a job as a history made by hand: a good one, and the pieces of it.

It is created, assigned, started, extended, completed, watched and read meanwhile, by one worker on one stream. All
clocks run as fast. With everything that such histories are made of, under one name.
"""

from __future__ import annotations

from typing import Any

from tenure.domain import events as e
from tenure.v1 import job_pb2, job_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation.history import Call, Execution
from tests.simulation.invariants_examples import Example as Example
from tests.simulation.invariants_values import ALLOCATION_S as ALLOCATION_S
from tests.simulation.invariants_values import HELD as HELD
from tests.simulation.invariants_values import JOB as JOB
from tests.simulation.invariants_values import LEASE as LEASE
from tests.simulation.invariants_values import LEASE_S as LEASE_S
from tests.simulation.invariants_values import LOST as LOST
from tests.simulation.invariants_values import NS as NS
from tests.simulation.invariants_values import TERMS as TERMS
from tests.simulation.invariants_values import WALL_US as WALL_US
from tests.simulation.invariants_values import WORKER as WORKER
from tests.simulation.invariants_values import CreatedItem as CreatedItem
from tests.simulation.invariants_values import assigned as assigned
from tests.simulation.invariants_values import beat as beat
from tests.simulation.invariants_values import created as created
from tests.simulation.invariants_values import expired as expired
from tests.simulation.invariants_values import failed as failed
from tests.simulation.invariants_values import instant as instant
from tests.simulation.invariants_values import ns as ns
from tests.simulation.invariants_values import of_lease as of_lease
from tests.simulation.invariants_values import requeued as requeued
from tests.simulation.invariants_values import span as span
from tests.simulation.invariants_values import started as started
from tests.simulation.invariants_values import terminated as terminated
from tests.simulation.invariants_values import token as token
from tests.simulation.invariants_values import us as us


def create(example: Example, at_s: float = 1, request_id: str = "create-1", job_id: str = JOB, **changes: Any) -> Call:
    """A job is created, and its creation acknowledged."""
    example.write(at_s, created(**changes), stream=f"job/{job_id}", request_id=request_id, actor="client-0")
    answer = job_service_pb2.CreateJobsResponse(
        responses=[CreatedItem(id=job_id)], resume_token=token(example.position)
    )
    return example.call(at_s, "CreateJobs", job_service_pb2.CreateJobsRequest(request_id=request_id), answer)


def extend(
    example: Example, at_s: float, deadline_s: float | None, seconds: int = 60, request_id: str = "extend-1"
) -> Call:
    """A job is extended; the answer names the deadline."""
    event = e.JobExtended(requested_us=seconds * 1_000_000)
    example.write(at_s, event, request_id=request_id, actor="client-0")
    answer = job_service_pb2.ExtendJobsResponse(resume_token=token(example.position))
    item = answer.responses.add()
    if deadline_s is not None:
        item.expires_at.CopyFrom(instant(deadline_s))
    return example.call(at_s, "ExtendJobs", extension(seconds, request_id), answer)


def extension(seconds: int, request_id: str) -> job_service_pb2.ExtendJobsRequest:
    item = job_service_pb2.ExtendJobsRequest.Item(job_id=JOB, requested_time=span(seconds))
    return job_service_pb2.ExtendJobsRequest(items=[item], request_id=request_id)


def retrieve(example: Example, at_s: float, version: int, state: str, *updates: str, **status: Any) -> Call:
    """A job is shown."""
    job = job_pb2.Job(id=JOB, version=version)
    job.status.state = job_pb2.JobState.Value(f"JOB_STATE_{state}")
    for name, value in status.items():
        getattr(job.status, name).CopyFrom(value)
    for text in updates:
        job.updates.add(status=text)
    answer = job_service_pb2.RetrieveJobResponse(job=job, resume_token=token(example.position))
    return example.call(at_s, "RetrieveJob", job_service_pb2.RetrieveJobRequest(id=JOB), answer)


def terminate(example: Example, at_s: float, request_id: str = "end-1", **changes: Any) -> Call:
    """An acknowledged cancellation (whose event somebody has written)."""
    request = job_service_pb2.TerminateJobsRequest(
        items=[job_service_pb2.TerminateJobsRequest.Item(id=JOB)], request_id=request_id
    )
    return example.call(at_s, "TerminateJobs", request, job_service_pb2.TerminateJobsResponse(), **changes)


def take(example: Example, at_s: float = 2) -> None:
    """The worker comes, is given the job and accepts it."""
    example.agent()
    example.hello(at_s)
    example.write(at_s + 0.1, assigned())
    example.offer(at_s + 0.1)
    example.accept(at_s + 0.2)


def start(example: Example, at_s: float = 3) -> Execution:
    """The command is started, after one beat."""
    example.beats(at_s - 0.5, 1)
    example.write(at_s - 0.5, beat(1, at_s - 0.5))
    example.report(at_s, "started", count=1)
    example.write(at_s, started(at_s), actor=f"worker:{WORKER}")
    example.reported(at_s, pb.REPORT_KIND_STARTED)
    return example.run(at_s + 0.1, None)


def complete(example: Example, run: Execution, at_s: float, count: int) -> None:
    """The command has ended well; its output is stored, and the success is reported."""
    run.ended_ns = ns(at_s - 1)
    example.stores(run, at_s - 0.9, at_s - 0.5)
    run.promised = {"out/a": "x"}
    example.report(at_s, "succeeded", count=count)
    example.write(at_s, beat(count, at_s), terminated(e.Outcome.COMPLETED), actor=f"worker:{WORKER}")
    example.reported(at_s + 0.1, pb.REPORT_KIND_SUCCEEDED)


def running() -> tuple[Example, Execution]:
    """A good history up to where the command runs, and has been heard of for a while."""
    example = Example()
    create(example)
    take(example)
    run = start(example)
    example.stores(run, 5, 5.4)
    example.beats(12, 2)
    return example, run


def good() -> Example:
    """All of it, and nothing is wrong."""
    example, run = running()
    retrieve(
        example,
        13,
        4,
        "RUNNING",
        "Your job is now waiting in the queue!",
        "Your job is now running!",
        expires_at=instant(3 + ALLOCATION_S),
    )
    extend(example, 14, 3 + ALLOCATION_S + 60)
    example.beats(22, 3)
    complete(example, run, 30, 3)
    example.watch(example.position).complete = True
    example.watch(example.position, job=False).complete = True
    example.history.secrets = ("a-secret-token",)
    return example
