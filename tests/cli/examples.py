"""Jobs as a server would answer them; one of them tries to take over the terminal."""

from __future__ import annotations

from tenure.cli.text import to_duration, to_timestamp
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, job_service_pb2

T0_US = 1_633_329_776_235_000
S = 1_000_000
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\u202e"


def running_job(job_id: str = "62348", text: str = "") -> job_pb2.Job:
    """The job of the extend-and-terminate example, a minute after its start; `text` is in everything a job says."""
    asked = job_pb2.JobSpecification(
        name=f"web{text}",
        application=job_pb2.NameAndVersion(name="acme-web-application", version="1.0.0"),
        product=job_pb2.ProductReference(provider="example", category="example-compute", id="example-compute"),
        command="python",
        arguments=["/app/main.py", f"a b{text}"],
        labels={"team": f"x{text}"},
        time_allocation=to_duration(5 * 3600 * S),
        allow_duplicate_job=False,
    )
    status = job_pb2.JobStatus(
        state=job_pb2.JOB_STATE_RUNNING,
        started_at=to_timestamp(T0_US + 5 * S),
        expires_at=to_timestamp(T0_US + 5 * 3600 * S),
        attempt=2,
        machine_id=f"worker-b{text}",
        num_failures=1,
        num_heartbeats=3,
        last_heartbeat_at=to_timestamp(T0_US + 60 * S),
        progress=job_pb2.Progress(fraction=0.42, message=f"step 7{text}"),
    )
    return job_pb2.Job(
        id=job_id,
        owner=job_pb2.JobOwner(created_by=f"user{text}"),
        specification=asked,
        status=status,
        created_at=to_timestamp(T0_US),
        updates=[
            job_pb2.JobUpdate(
                timestamp=to_timestamp(T0_US),
                state=job_pb2.JOB_STATE_IN_QUEUE,
                status="Your job is now waiting in the queue!",
            ),
            job_pb2.JobUpdate(
                timestamp=to_timestamp(T0_US + 5 * S),
                state=job_pb2.JOB_STATE_RUNNING,
                status=f"Your job is now running!{text}",
            ),
        ],
        attempts=[
            job_pb2.Attempt(
                number=1,
                machine_id="worker-a",
                assigned_at=to_timestamp(T0_US),
                end_reason=job_pb2.ATTEMPT_END_REASON_FAILED,
                stage=job_pb2.ATTEMPT_STAGE_RUN,
                exit_code=3,
                message=f"it broke{text}",
            ),
            job_pb2.Attempt(number=2, machine_id=f"worker-b{text}", bytes_downloaded=1536),
        ],
        version=7,
    )


def snapshot(job: job_pb2.Job) -> job_service_pb2.WatchJobsResponse:
    return job_service_pb2.WatchJobsResponse(snapshot=job, resume_token="t0")


def changed(
    job_id: str,
    position: int,
    state: job_pb2.JobState.ValueType,
    update: str = "",
    outcome: job_pb2.JobOutcome.ValueType = job_pb2.JOB_OUTCOME_UNSPECIFIED,
    **payload: object,
) -> job_service_pb2.WatchJobsResponse:
    """An event of a job, with the state and the update that it brings; one keyword is its payload."""
    when = to_timestamp(T0_US + position * S)
    event = event_pb2.Event(position=position, stream=f"job/{job_id}", time=when, **payload)  # type: ignore[arg-type]
    change = job_service_pb2.JobEvent(
        job_id=job_id, event=event, status=job_pb2.JobStatus(state=state, outcome=outcome, attempt=2)
    )
    if update:
        change.update.CopyFrom(job_pb2.JobUpdate(timestamp=when, state=state, status=update))
    return job_service_pb2.WatchJobsResponse(event=change, resume_token=f"t{position}")


def ended(job_id: str, position: int, *, well: bool = True) -> job_service_pb2.WatchJobsResponse:
    return changed(
        job_id,
        position,
        job_pb2.JOB_STATE_SUCCESS if well else job_pb2.JOB_STATE_FAILURE,
        "Your job has completed successfully!" if well else "Your job has failed: exit code 1",
        job_pb2.JOB_OUTCOME_COMPLETED if well else job_pb2.JOB_OUTCOME_FAILED,
        job_terminated=event_pb2.JobTerminated(outcome=event_pb2.OUTCOME_COMPLETED),
    )


def mark(token: str = "t1") -> job_service_pb2.WatchJobsResponse:
    return job_service_pb2.WatchJobsResponse(progress_mark=job_service_pb2.ProgressMark(), resume_token=token)
