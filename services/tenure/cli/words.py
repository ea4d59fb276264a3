"""Enum values, events and attempts in words, clean for the screen."""

from __future__ import annotations

import shlex
from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import DecodeError

from tenure.cli.durations import format_duration
from tenure.cli.text import clean, duration_us, instant, size
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2

STATE_STYLES = {
    "IN_QUEUE": "yellow",
    "RUNNING": "cyan",
    "CANCELING": "magenta",
    "SUCCESS": "green",
    "FAILURE": "red",
    "EXPIRED": "red",
}


def word(enum: Any, number: int) -> str:
    """Name of an enum value without its prefix; empty for the zero value; the number for one not known here."""
    wrapper: EnumTypeWrapper = enum
    names = wrapper.DESCRIPTOR.values_by_number
    if not number:
        return ""
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    return names[number].name.removeprefix(prefix) if number in names else str(number)


def state_of(status: job_pb2.JobStatus) -> str:
    """State of a job, with how it ended where that says more: `RUNNING`, `SUCCESS/CANCELLED`, `FAILURE/LOST`."""
    state, outcome = word(job_pb2.JobState, status.state), word(job_pb2.JobOutcome, status.outcome)
    return state if outcome in ("", state) else f"{state}/{outcome}"


def state_style(status: job_pb2.JobStatus) -> str:
    """Colour of a state."""
    return STATE_STYLES.get(word(job_pb2.JobState, status.state), "")


def is_final(status: job_pb2.JobStatus) -> bool:
    """Whether the job has ended."""
    return status.state in (job_pb2.JOB_STATE_SUCCESS, job_pb2.JOB_STATE_FAILURE, job_pb2.JOB_STATE_EXPIRED)


def command_line(command: str, arguments: Any) -> str:
    """A command as one would type it."""
    return clean(shlex.join([command, *arguments])) if command else ""


def progress_of(progress: job_pb2.Progress) -> str:
    """`42% step 7 of 16`."""
    return f"{progress.fraction:.0%} {clean(progress.message)}".rstrip()


def copied(transfer: Any) -> str:
    """What was copied, as in `↓ 45 files 1.2 MiB  ↑ 3 files 4.0 KiB, 2 to go`; empty: nothing yet."""
    parts = []
    for arrow, files, count in (
        ("↓", transfer.files_downloaded, transfer.bytes_downloaded),
        ("↑", transfer.files_uploaded, transfer.bytes_uploaded),
    ):
        if files or count:
            parts.append(f"{arrow} {files} file{'' if files == 1 else 's'} {size(count)}")
    to_go = f"{transfer.files_pending} to go" if transfer.files_pending else ""
    return ", ".join(filter(None, ("  ".join(parts), to_go)))


def event_type(event: event_pb2.Event) -> str:
    """`JobCreated`; `?` for one that is not known here."""
    kind = event.WhichOneof("payload")
    return "".join(part.capitalize() for part in kind.split("_")) if kind else "?"


def exit_of(ended: Any) -> str:
    """How a command ended: `exit code 1`, `signal 9 (out of memory)`; empty: it did not."""
    if ended.HasField("signal"):
        return f"signal {ended.signal}" + (" (out of memory)" if ended.oom else "")
    return f"exit code {ended.exit_code}" if ended.HasField("exit_code") else ""


def describe(event: event_pb2.Event) -> str:
    """What an event says, in one line."""
    kind = event.WhichOneof("payload")
    if kind is None:
        return "an event of a kind that this version does not know"
    payload: Any = getattr(event, kind)
    match kind:
        case "job_created":
            text = _created(payload)
        case "job_assigned":
            text = f"attempt {payload.attempt} given to {payload.worker_id}, lease {_span(payload.lease)}"
        case "assignment_declined":
            text = f"attempt {payload.attempt} not taken by {payload.worker_id}: {payload.reason}"
        case "job_started":
            ends = f", ends {instant(payload.deadline)}" if payload.HasField("deadline") else ""
            text = f"attempt {payload.attempt} started on {payload.worker_id}{ends}"
        case "job_heartbeat":
            text = _heartbeat(payload)
        case "job_extended":
            text = f"extended by {_span(payload.requested_time)}"
        case "attempt_failed":
            why = [word(event_pb2.Stage, payload.stage).lower(), exit_of(payload), payload.message]
            text = f"attempt {payload.attempt} on {payload.worker_id} failed: {', '.join(filter(None, why))}"
        case "attempt_released":
            text = f"attempt {payload.attempt} on {payload.worker_id} given back: {payload.reason}"
        case "lease_expired":
            text = f"attempt {payload.attempt} on {payload.worker_id} lost, silent for {_span(payload.silence)}"
        case "job_requeued":
            text = f"waits again after attempt {payload.attempt} on {payload.worker_id}: {payload.reason}"
            text += f", not before {instant(payload.not_before)}" if payload.HasField("not_before") else ""
        case "cancel_requested":
            text = f"to be cancelled until {instant(payload.until)}" + (f": {payload.reason}" if payload.reason else "")
        case "job_terminated":
            text = word(event_pb2.Outcome, payload.outcome) + (f": {payload.reason}" if payload.reason else "")
        case "queue_configured":
            text = ", ".join([*features_of(payload.features), f"products: {len(payload.products)}"])
        case "queue_paused":
            text = f"gives out no jobs: {payload.reason}"
        case "queue_resumed":
            text = "gives out jobs again"
    return clean(text)


def features_of(features: Any) -> list[str]:
    """Names of the features that are on."""
    return [field.name for field in features.DESCRIPTOR.fields if getattr(features, field.name)]


def _created(payload: event_pb2.JobCreated) -> str:
    specification = job_pb2.JobSpecification()
    try:
        specification.ParseFromString(payload.specification)
    except DecodeError:
        specification.Clear()
    parts = [
        f"{specification.name!r}" if specification.name else "",
        f"by {payload.created_by}" + (f" of {payload.project}" if payload.project else ""),
        f"in {payload.queue}",
        f"for {_span(payload.terms.time_allocation)}" if payload.terms.HasField("time_allocation") else "",
    ]
    return " ".join(filter(None, parts)) + ": " + command_line(payload.command, payload.arguments)


def _heartbeat(payload: event_pb2.JobHeartbeat) -> str:
    parts = [f"attempt {payload.attempt}, beat {payload.count}", word(event_pb2.Stage, payload.stage).lower()]
    if payload.HasField("progress"):
        parts.append(f"{payload.progress:.0%} {payload.progress_message}".rstrip())
    parts.append(copied(payload.transfer))
    return ", ".join(filter(None, parts))


def _span(duration: Any) -> str:
    return format_duration(duration_us(duration))
