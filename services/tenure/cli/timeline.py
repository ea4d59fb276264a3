"""What a watch has told so far: each job as it is now, and each change as a line. Pure; `live` draws it.

Only the latest updates of a job are kept: a watch may run for weeks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf.timestamp_pb2 import Timestamp

from tenure.cli.render import title_of
from tenure.cli.text import clean, instant
from tenure.cli.words import describe, is_final, state_of, word
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, job_service_pb2

KEPT_UPDATES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """One watched job.

    Attributes:
        job_id: its id.
        title: what a person calls it.
        status: the latest.
        updates: the latest of its history.
        told: position in the log up to which its history was told.
        stage: of the attempt that runs, as far as a heartbeat has said.
        transfer: what that attempt has copied, as far as a heartbeat has said.
    """

    job_id: str
    title: str = ""
    status: job_pb2.JobStatus
    updates: tuple[job_pb2.JobUpdate, ...] = ()
    told: int = -1
    stage: event_pb2.Stage.ValueType = event_pb2.STAGE_UNSPECIFIED
    transfer: event_pb2.Transfer

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return is_final(self.status)


class Timeline:
    """The fold of a watch."""

    def __init__(self, ids: Sequence[str] = ()) -> None:
        """Nothing is known yet.

        Args:
            ids: the jobs that were asked for by name, if they were.
        """
        self._ids = tuple(dict.fromkeys(ids))
        self._jobs: dict[str, Tracked] = {}

    @property
    def jobs(self) -> Mapping[str, Tracked]:
        """The watched jobs, in the order in which they were first heard of."""
        return self._jobs

    def take(self, response: job_service_pb2.WatchJobsResponse) -> Iterator[str]:
        """Take a message in; gives the lines that say what it says. To be exhausted."""
        match response.WhichOneof("message"):
            case "snapshot":
                yield from self._snapshot(response.snapshot)
            case "event":
                yield from self._event(response.event)
            case "left":
                self._jobs.pop(response.left.job_id, None)
            case _:
                pass

    def ended(self) -> bool:
        """Whether jobs were named and each of them has ended."""
        return bool(self._ids) and all(each in self._jobs and self._jobs[each].final for each in self._ids)

    def succeeded(self) -> bool:
        """Whether every named job is in state SUCCESS."""
        return all(
            each in self._jobs and self._jobs[each].status.state == job_pb2.JOB_STATE_SUCCESS for each in self._ids
        )

    def _snapshot(self, job: job_pb2.Job) -> Iterator[str]:
        """A job as it is. One that is shown again has changed, and what of its history was told stays told."""
        known = self._jobs.get(job.id)
        told = known.told if known is not None else -1
        attempt = job.attempts[-1] if job.attempts else job_pb2.Attempt()
        self._jobs[job.id] = Tracked(
            job_id=job.id,
            title=clean(title_of(job), 60),
            status=job.status,
            updates=tuple(job.updates[-KEPT_UPDATES:]),
            told=max((told, *(update.position for update in job.updates))),
            transfer=event_pb2.Transfer(
                bytes_downloaded=attempt.bytes_downloaded, bytes_uploaded=attempt.bytes_uploaded
            ),
        )
        for update in job.updates:
            if update.position > told:
                yield _line(job.id, update.timestamp, word(job_pb2.JobState, update.state), clean(update.status))
        if not job.updates and (known is None or state_of(known.status) != state_of(job.status)):
            yield _line(job.id, job.created_at, state_of(job.status), clean(job.status.reason or title_of(job)))

    def _event(self, change: job_service_pb2.JobEvent) -> Iterator[str]:
        event = change.event
        known = self._jobs.get(change.job_id) or Tracked(
            job_id=change.job_id, status=change.status, transfer=event_pb2.Transfer()
        )
        stage, transfer = known.stage, known.transfer
        match event.WhichOneof("payload"):
            case "job_created":
                specification = job_pb2.JobSpecification.FromString(event.job_created.specification)
                known = replace(known, title=clean(title_of(job_pb2.Job(specification=specification)), 60))
            case "job_assigned":
                stage, transfer = event_pb2.STAGE_SYNC_BEFORE, event_pb2.Transfer()
            case "job_started":
                stage = event_pb2.STAGE_RUN
            case "job_heartbeat":
                stage, transfer = event.job_heartbeat.stage or stage, event.job_heartbeat.transfer
            case "job_requeued" | "job_terminated" | "assignment_declined":
                stage = event_pb2.STAGE_UNSPECIFIED
            case _:
                pass
        updates = known.updates
        state = state_of(change.status)
        if change.HasField("update"):
            updates = (*updates, change.update)[-KEPT_UPDATES:]
            yield _line(change.job_id, change.update.timestamp, state, clean(change.update.status))
        else:
            yield _line(change.job_id, event.time, state, describe(event))
        self._jobs[change.job_id] = replace(
            known,
            status=change.status,
            updates=updates,
            told=max(known.told, event.position),
            stage=stage,
            transfer=transfer,
        )


def _line(job_id: str, when: Timestamp, state: str, text: str) -> str:
    return f"{instant(when, milliseconds=True)}  {clean(job_id)}  {state:<10}  {text}"
