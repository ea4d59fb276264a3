"""Histories that break a promise each, by the invariant that is to notice; here is where they are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tenure.domain import events as e
from tenure.v1 import queue_service_pb2
from tests.simulation import invariants_lives as made
from tests.simulation.invariants_lives import Example, ns

HOLDER = f"worker:{made.WORKER}"
Spoil = Callable[[], Example]
SPOILED: dict[str, list[Spoil]] = {}


def breaks(name: str) -> Callable[[Spoil], Spoil]:
    """The history that this makes breaks that invariant."""

    def note(spoil: Spoil) -> Spoil:
        SPOILED.setdefault(name, []).append(spoil)
        return spoil

    return note


def change(example: Example, position: int, **fields: Any) -> None:
    """Change an event of the log."""
    example.history.log[position - 1] = dataclasses.replace(example.history.log[position - 1], **fields)


def lost(at_s: float, last_beat_s: float = 12) -> Example:
    """The attempt of the good history is lost; it was last heard of 12 s after the begin."""
    example, run = made.running()
    if last_beat_s > 12:
        example.beats(last_beat_s, 3)
    example.write(at_s, made.expired(at_s - last_beat_s), made.requeued(e.RequeueCause.LOST, at_s))
    run.ended_ns = ns(at_s)
    return example


def restarted(at_s: float, *, named_s: float | None = None, heard_s: float | None = None) -> Example:
    """The server is started again at 20 s, and the lease expires; meanwhile its worker may have connected, and sent a
    beat."""
    example, run = made.running()
    example.begin(20)
    if named_s is not None:
        example.hello(named_s, made.LEASE, stream=1)
    if heard_s is not None:
        example.beats(heard_s, 3, stream=1)
    example.write(at_s, made.expired(1), made.requeued(e.RequeueCause.LOST, at_s))
    run.ended_ns = ns(at_s)
    return example


def many(count: int, together_s: float) -> Example:
    """Many jobs are given out at 10 s, and all leases expire without having been heard of."""
    example = Example()
    for number in range(count):
        example.write(1, made.created(), stream=f"job/job-{number}")
    for number in range(count):
        example.write(10, made.assigned(1, f"worker-{number}", f"lease-{number}"), stream=f"job/job-{number}")
        example.beats(10 + number * 0.01, 1, f"lease-{number}", stream=number)
    for number in range(count):
        at_s = together_s + number * 0.01
        expired = made.expired(at_s - 10, lease_id=f"lease-{number}", worker_id=f"worker-{number}")
        requeued = made.requeued(e.RequeueCause.LOST, at_s, worker_id=f"worker-{number}")
        example.write(at_s, expired, requeued, stream=f"job/job-{number}")
    return example


def pause(example: Example, at_s: float) -> None:
    """The acknowledgement of a pause."""
    request = queue_service_pb2.PauseQueuesRequest(
        items=[queue_service_pb2.PauseQueuesRequest.Item(name="default", paused=True)], request_id="pause-1"
    )
    example.call(at_s, "PauseQueues", request, queue_service_pb2.PauseQueuesResponse())
