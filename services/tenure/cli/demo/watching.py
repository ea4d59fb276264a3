"""What a watch says of a job, whether it happened before the watch began or since.

A watch begins with a snapshot, and what the snapshot shows is not told once more as an event.
"""

from __future__ import annotations

from tenure.v1 import job_pb2
from tenure.v1.job_service_pb2 import WatchJobsResponse

_ENDED = {job_pb2.JOB_STATE_SUCCESS, job_pb2.JOB_STATE_FAILURE, job_pb2.JOB_STATE_EXPIRED}


def started_on(message: WatchJobsResponse) -> str:
    """The worker on which the job's command has been started, where this message is the one that says so; else ""."""
    match message.WhichOneof("message"):
        case "event" if message.event.event.WhichOneof("payload") == "job_started":
            return message.event.status.machine_id
        case "snapshot" if message.snapshot.status.state == job_pb2.JOB_STATE_RUNNING:
            return message.snapshot.status.machine_id
        case _:
            return ""


def has_ended(message: WatchJobsResponse) -> bool:
    """The job has ended."""
    match message.WhichOneof("message"):
        case "event":
            return message.event.status.state in _ENDED
        case "snapshot":
            return message.snapshot.status.state in _ENDED
        case _:
            return False
