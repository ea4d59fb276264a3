"""Processes that host idle agents, and what a proof reads from the log about the leases of its jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2
from tests.acceptance.callers import Caller, duration
from tests.acceptance.processes import Launch, Process, ServerProcess, environment
from tests.acceptance.waiting import eventually

ENDS: tuple[Literal["job_requeued", "job_terminated", "assignment_declined"], ...] = (
    "job_requeued",
    "job_terminated",
    "assignment_declined",
)


class HostProcess(Process):
    """Agents with so many slots each, in a process of their own, writing into `journal`."""

    def __init__(
        self,
        name: str,
        directory: Path,
        server: ServerProcess,
        launch: Launch,
        *,
        slots: int = 1,
        address: str | None = None,
        journal: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, directory, (), environment(directory / "home", env))
        self.journal = journal or directory / "journal"
        told = {
            "server": address or server.address,
            "token": server.admin_token(),
            "queue": "default",
            "journal": str(self.journal),
            "workers": [[name, slots]],
        }
        self._arguments = [*self._arguments[:2], "tests.faults.agents", json.dumps(told)]
        self.launch = launch


def idle(*, heartbeat_s: float = 1, allocation_s: float | None = None) -> job_pb2.JobSpecification:
    """A job that lasts as long as nobody ends it, with a lease of two heartbeats."""
    specification = job_pb2.JobSpecification(command="true", heartbeat_interval=duration(heartbeat_s))
    if allocation_s is not None:
        specification.time_allocation.CopyFrom(duration(allocation_s))
    return specification


@dataclass(kw_only=True)
class LeaseStory:
    """What the log says of one lease; instants are seconds since the epoch, by the server's clock.

    Attributes:
        over_s: when it ended, however it did; None: it has not.
        lost_s: when it expired; None: it did not.
        silence_s: for how long its worker had not been heard of then.
    """

    lease_id: str
    job_id: str
    worker_id: str
    attempt: int
    began_s: float
    over_s: float | None = None
    lost_s: float | None = None
    silence_s: float = 0.0


def seconds(event: event_pb2.Event) -> float:
    """The time of an event, in seconds since the epoch."""
    return event.time.ToMicroseconds() / 1e6


def stories(events: Iterable[event_pb2.Event]) -> dict[str, LeaseStory]:
    """All leases of a log, by id."""
    found: dict[str, LeaseStory] = {}
    live: dict[str, LeaseStory] = {}
    for event in events:
        if event.HasField("job_assigned"):
            assigned = event.job_assigned
            found[event.event_id] = live[event.stream] = LeaseStory(
                lease_id=event.event_id,
                job_id=event.stream.removeprefix("job/"),
                worker_id=assigned.worker_id,
                attempt=assigned.attempt,
                began_s=seconds(event),
            )
        elif event.HasField("lease_expired"):
            story = found[event.lease_expired.lease_id]
            story.lost_s = seconds(event)
            story.silence_s = event.lease_expired.silence.ToMicroseconds() / 1e6
        elif any(event.HasField(end) for end in ENDS) and event.stream in live:
            live.pop(event.stream).over_s = seconds(event)
    return found


def running(events: Iterable[event_pb2.Event]) -> dict[str, LeaseStory]:
    """The leases under which a command runs now, by job."""
    known = stories(events)
    live: dict[str, LeaseStory] = {}
    for event in events:
        job_id = event.stream.removeprefix("job/")
        if event.HasField("job_started"):
            live[job_id] = known[event.job_started.lease_id]
        elif event.HasField("job_requeued") or event.HasField("job_terminated"):
            live.pop(job_id, None)
    return live


async def until_running(caller: Caller, jobs: int, *, within_s: float = 60.0) -> dict[str, LeaseStory]:
    """The leases of so many running jobs, once they all run."""

    async def all_run() -> dict[str, LeaseStory] | None:
        live = running(await caller.events())
        return live if len(live) >= jobs else None

    found = await eventually(all_run, f"{jobs} running jobs", within_s=within_s)
    assert found is not None
    return found


def quantiles(values: Sequence[float]) -> str:
    """Least, median, 99th percentile and most, for people."""
    if not values:
        return "none"
    ordered = sorted(values)
    at = [ordered[0], ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], ordered[-1]]
    return " / ".join(f"{value:.3f}" for value in at)
