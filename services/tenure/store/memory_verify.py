"""The log of the memory engine checked whole; see `Store.verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tenure.domain import events as e
from tenure.store.memory_rows import MemoryRows
from tenure.store.store import VerifyReport

STEP = 1000


def verify(events: Sequence[e.RecordedEvent], commits: int, kept: MemoryRows) -> Iterator[VerifyReport]:
    """Compare the rows that are kept with those that the events make; yields the growing report, the last one whole."""
    rows, report = MemoryRows(), VerifyReport(commits=commits)
    for event in list(events):
        if event.position != report.position + 1:
            report.problems.append(f"position {report.position + 1} is missing")
        rows.apply(event)
        report.position, report.events = event.position, report.events + 1
        if event.position % STEP == 0:
            yield report
    report.jobs = len(rows.jobs)
    for job_id in rows.jobs.keys() | kept.jobs.keys():
        if rows.jobs.get(job_id) != kept.jobs.get(job_id):
            report.problems.append(f"job {job_id}: its row is not what its events make of it")
    for name in rows.queues.keys() | kept.queues.keys():
        if rows.queues.get(name) != kept.queues.get(name):
            report.problems.append(f"queue {name}: its row is not what its events make of it")
    yield report
