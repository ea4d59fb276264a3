"""The demo does not depend on how quickly it looks: what happened before its watch began counts as well."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from tenure.cli.demo.command import extend_and_cancel
from tenure.cli.demo.telling import Teller
from tenure.cli.demo.watching import has_ended, started_on
from tenure.client import Client
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, job_service_pb2
from tests.client.scripted import ScriptedServer, Silence, serving

RUNNING = job_pb2.JobStatus(state=job_pb2.JOB_STATE_RUNNING, machine_id="worker-2", attempt=1)
QUEUED = job_pb2.JobStatus(state=job_pb2.JOB_STATE_IN_QUEUE, machine_id="worker-2", attempt=1)
ENDED = [
    job_pb2.JobStatus(state=job_pb2.JOB_STATE_SUCCESS),
    job_pb2.JobStatus(state=job_pb2.JOB_STATE_FAILURE),
    job_pb2.JobStatus(state=job_pb2.JOB_STATE_EXPIRED),
]


def snapshot(status: job_pb2.JobStatus) -> job_service_pb2.WatchJobsResponse:
    return job_service_pb2.WatchJobsResponse(snapshot=job_pb2.Job(id="a", status=status))


def event(status: job_pb2.JobStatus, **payload: object) -> job_service_pb2.WatchJobsResponse:
    happened = event_pb2.Event(**payload)  # type: ignore[arg-type]
    return job_service_pb2.WatchJobsResponse(event=job_service_pb2.JobEvent(event=happened, status=status))


MARK = job_service_pb2.WatchJobsResponse(progress_mark=job_service_pb2.ProgressMark())


def test_a_start_is_seen_in_its_event_and_in_a_snapshot() -> None:
    assert started_on(event(RUNNING, job_started=event_pb2.JobStarted())) == "worker-2"
    assert started_on(snapshot(RUNNING)) == "worker-2"


def test_nothing_else_is_a_start() -> None:
    others = [event(RUNNING, job_heartbeat=event_pb2.JobHeartbeat()), snapshot(QUEUED), MARK]
    assert [started_on(each) for each in others] == ["", "", ""]


@pytest.mark.parametrize("status", ENDED)
def test_an_end_is_seen_in_its_event_and_in_a_snapshot(status: job_pb2.JobStatus) -> None:
    assert has_ended(event(status, job_terminated=event_pb2.JobTerminated()))
    assert has_ended(snapshot(status))


def test_nothing_else_is_an_end() -> None:
    assert not any(has_ended(each) for each in (snapshot(RUNNING), snapshot(QUEUED), event(RUNNING), MARK))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with serving(ScriptedServer()) as script:
        yield script


@pytest.mark.timeout(20)
async def test_a_job_that_was_started_before_the_watch_began_is_extended_and_cancelled(server: ScriptedServer) -> None:
    created = job_service_pb2.CreateJobsResponse.Item(id="a")
    server.answers("CreateJobs", job_service_pb2.CreateJobsResponse(responses=[created]))
    server.streams("WatchJobs", [snapshot(RUNNING), MARK, Silence()])
    cancelled = job_pb2.JobUpdate(status="Your job was cancelled.")
    server.answers(
        "RetrieveJob",
        job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id="a", status=RUNNING, updates=[cancelled])),
    )
    server.answers(
        "ExtendJobs", job_service_pb2.ExtendJobsResponse(responses=[job_service_pb2.ExtendJobsResponse.Item()])
    )
    server.answers(
        "TerminateJobs", job_service_pb2.TerminateJobsResponse(responses=[job_service_pb2.TerminateJobsResponse.Item()])
    )
    screen = io.StringIO()
    async with Client(server.address) as client:
        await extend_and_cancel(Teller(Console(file=screen)), client)
    told = screen.getvalue()
    parts = ["assigned to worker-2", "running on worker-2", "extended by 1 h", "cancelled: Your job was cancelled."]
    places = [told.find(each) for each in parts]
    assert -1 not in places, told
    assert places == sorted(places)
    assert len(server.asked["TerminateJobs"]) == 1
