"""An assignment as it is sent to a worker."""

from __future__ import annotations

from tenure.controlplane.leases import Live, accept_within_us
from tenure.controlplane.times import set_duration, set_timestamp
from tenure.domain.job import Job
from tenure.v1 import worker_service_pb2 as pb

NS_A_US = 1000
# What an assignment has besides its specification, about.
FRAME_BYTES = 512


def assignment_of(job: Job, live: Live, specification: bytes) -> pb.Assignment:
    """The message that gives a job to a worker; `specification` is a serialised `JobSpecification`."""
    origin = job.origin
    message = pb.Assignment(
        lease_id=live.lease_id,
        job_id=job.id,
        attempt=live.attempt,
        command=origin.command,
        arguments=origin.arguments,
        queue=origin.queue,
    )
    message.specification.ParseFromString(specification)
    length_us = live.length_ns // NS_A_US
    set_duration(message.lease, length_us)
    set_duration(message.heartbeat_interval, live.interval_us)
    set_duration(message.accept_within, accept_within_us(length_us))
    set_duration(message.termination_grace_period, grace_us(job))
    if job.expires_us is not None:
        set_timestamp(message.expires_at, job.expires_us)
    return message


def grace_us(job: Job) -> int:
    """Between the first signal and SIGTERM: what the job asks for, at most a tenth of its time."""
    terms = job.origin.terms
    if terms.time_allocation_us is None:
        return terms.termination_grace_period_us
    return min(terms.termination_grace_period_us, terms.time_allocation_us // 10)


def size_of(job: Job, specification: bytes) -> int:
    """About how many bytes the message will have."""
    return FRAME_BYTES + len(specification) + len(job.origin.command) + sum(map(len, job.origin.arguments))
