"""How large a page of jobs is, compared with the message that it becomes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.controlplane.convert import job_message
from tenure.controlplane.pipeline import MAX_MESSAGE_BYTES
from tenure.controlplane.specification import MAX_SPECIFICATION_BYTES
from tenure.domain.events import Outcome, Stage
from tenure.domain.job import Progress
from tenure.domain.states import Phase, State
from tenure.store.paging import PAGE_BYTES, filled, size_of
from tenure.store.store import AttemptRow, JobView, StoredJob, UpdateRow
from tenure.v1 import job_pb2, job_service_pb2
from tests.store.making import HOUR, T0, created_event, creation

WORKER = "w" * 64
ALL = job_service_pb2.JobFlags(
    include_parameters=True,
    include_application=True,
    include_product=True,
    include_updates=True,
    include_others=True,
    include_support=True,
)


def view(reason: str, *, updates: int = 0, attempts: int = 0, arguments: int = 0) -> JobView:
    """A job with a life behind it."""
    program = job_pb2.JobSpecification()
    program.arguments.extend(["x" * 1000] * arguments)
    event = replace(
        created_event("j" * 36, created_by="u" * 64, project="p" * 64, specification=program.SerializeToString()),
        arguments=("x" * 1000,) * arguments,
    )
    job = creation("j" * 36, event).job
    assert job is not None
    job = replace(
        job,
        phase=Phase.FINAL,
        outcome=Outcome.FAILED,
        attempt=1000,
        worker_id=WORKER,
        started_us=T0 + 1,
        last_beat_us=T0 + HOUR + 1,
        beats_before=1 << 30,
        granted_us=HOUR + 1,
        reason=reason,
        progress=Progress(fraction=0.3, message=reason[:64]),
    )
    update = UpdateRow(
        position=1 << 40, time_us=T0 + 1, state=State.RUNNING, text=reason, attempt=1000, worker_id=WORKER
    )
    attempt = AttemptRow(
        number=1000,
        lease_id="l" * 36,
        worker_id=WORKER,
        assigned_us=T0 + 1,
        started_us=T0 + 1,
        ended_us=T0 + 1,
        stage=Stage.RUN,
        end="AttemptFailed",
        exit_code=255,
        oom=True,
        message=reason,
        beats=1 << 30,
        bytes_downloaded=1 << 50,
        bytes_uploaded=1 << 50,
    )
    return JobView(
        stored=StoredJob(job=job, specification=event.specification, created_position=1),
        updates=(update,) * updates,
        attempts=(attempt,) * attempts,
        updates_left_out=1 << 30,
    )


@pytest.mark.parametrize("reason", ["", "x" * 40, "x" * 1000, "é" * 512, "中" * 340])
@pytest.mark.parametrize("updates", [0, 2, 1000])
@pytest.mark.parametrize("attempts", [0, 100])
@pytest.mark.parametrize("arguments", [0, 60])
def test_a_job_is_never_shown_in_more_bytes_than_are_counted(
    reason: str, updates: int, attempts: int, arguments: int
) -> None:
    one = view(reason, updates=updates, attempts=attempts, arguments=arguments)
    assert job_message(one, ALL).ByteSize() <= size_of(one)


def test_a_page_is_a_message_whatever_comes_last() -> None:
    large = view("中" * 340, updates=1000, attempts=100, arguments=100)
    assert 100_000 < len(large.stored.specification) < MAX_SPECIFICATION_BYTES
    small = view("x", attempts=10)
    views = [small] * 1000 + [large]
    page = filled([(number, (0, number)) for number in range(1001)], 1001, views.__getitem__)
    response = job_service_pb2.BrowseJobsResponse(jobs=[job_message(one, ALL) for one in page.views])
    assert response.ByteSize() < MAX_MESSAGE_BYTES
    assert page.next_key == (0, len(page.views) - 1)
    # The one that did not fit begins the next page, however large it is.
    page = filled([(1000, (0, 1000)), (0, (0, 0))], 1, views.__getitem__)
    assert page.views == (large,)
    assert size_of(large) < PAGE_BYTES
