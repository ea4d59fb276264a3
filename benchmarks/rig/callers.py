"""Users that create jobs: requests as bytes and answers unread, so that the caller costs as little as it can.

Every request has a request id of its own, as the client of this project gives it: idempotency is part of what is
measured.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc

from benchmarks.rig.processes import Server
from tenure.controlplane.catalogue import Catalogue
from tenure.controlplane.specification import created, normalise
from tenure.domain import events as e
from tenure.store import codec
from tenure.v1 import job_pb2, job_service_pb2

# Different ones; a multiple of every number of items.
SPECIFICATIONS = 1000

_Item = job_service_pb2.CreateJobsRequest.Item

CREATE = "/tenure.v1.JobService/CreateJobs"
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


def specification(seed: int = 0) -> job_pb2.JobSpecification:
    """A usual job, a little under 200 bytes; no two seeds give the same."""
    spec = job_pb2.JobSpecification(
        name="train-resnet",
        queue="default",
        command="/usr/bin/python3",
        arguments=["train.py", "--epochs", "40", "--data", "data/imagenet", "--seed", str(seed)],
        environment={"OMP_NUM_THREADS": "8", "CUDA_VISIBLE_DEVICES": "0"},
    )
    spec.time_allocation.FromSeconds(4 * 3600)
    spec.heartbeat_interval.FromSeconds(30)
    return spec


def created_event() -> e.JobCreated:
    """The event that such a job begins with."""
    spec = specification()
    catalogue = Catalogue(dict)
    target = normalise(spec, catalogue)
    queue = catalogue.new_queue(target.queue)
    return created(spec, target, queue, defaults=catalogue.defaults, created_by="local", project="")


def stored_event_bytes() -> bytes:
    """The same as it is stored."""
    event = e.NewEvent(event_id=36 * "0", time_us=0, actor="admin:local", payload=created_event())
    return codec.encode(event, stream=e.job_stream(36 * "0"), request_id=36 * "0", request_digest=bytes(32))


def requests(items: int) -> Iterator[bytes]:
    """CreateJobsRequests of so many different items, no two with the same request id."""
    parts = [_request(items=[_Item(specification=specification(seed))]) for seed in range(SPECIFICATIONS)]
    run = os.urandom(8).hex()
    at = 0
    for number in itertools.count():
        # Serialized messages one after the other are their union.
        yield b"".join(parts[at : at + items]) + _request(request_id=f"{run}-{number:019d}")
        at = (at + items) % SPECIFICATIONS


def _request(*, items: Sequence[_Item] = (), request_id: str = "") -> bytes:
    return job_service_pb2.CreateJobsRequest(items=items, request_id=request_id).SerializeToString()


@asynccontextmanager
async def creating(server: Server, items: int) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """A call that creates so many jobs at a time, over a connection of its own; it returns how many."""
    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        # Without serializers bytes go in and come out.
        create = cast("Callable[..., Awaitable[bytes]]", cast("Any", channel).unary_unary(CREATE))
        metadata = server.metadata
        made = requests(items)

        async def call() -> int:
            await create(next(made), metadata=metadata)
            return items

        yield call
