"""What is measured, as a port: the control plane says what happened, somebody else keeps count.

Nobody is asked to measure unless somebody listens, so that it costs nothing where nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Metrics(Protocol):
    """Told of what happens. Plain calls on the event loop: they have to be quick and must not raise."""

    def call_ended(self, rpc: str, code: str, seconds: float, *, stream: bool) -> None:
        """An RPC (`JobService.CreateJobs`) ended with a gRPC code (`OK`); a stream after a long time."""

    def event(self, name: str) -> None:
        """An event of this type (`JobCreated`) is durable."""

    def committed(self, events: int) -> None:
        """So many events were made durable together."""

    def dispatched(self, seconds: float) -> None:
        """A job was given out so long after it could have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueGauge:
    """How full a queue is: jobs that wait, jobs with a worker, and for how long the oldest waits."""

    waiting: int
    active: int
    oldest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What is read when somebody looks: the end of the log, whether changes are refused, how far the log was read again
    and what came of it since the start, live leases, open worker streams, and the queues."""

    position: int
    leases: int
    sessions: int
    read_only: bool = False
    scrubbed_position: int = 0
    scrub_passes: int = 0
    scrub_errors: int = 0
    queues: Mapping[str, QueueGauge] = field(default_factory=dict)
