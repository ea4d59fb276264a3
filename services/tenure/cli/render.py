"""How jobs, queues and workers look: tables for lists, a page for one job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tenure.cli.durations import format_duration
from tenure.cli.grid import Cell, Grid, draw, rich_text
from tenure.cli.session import Session
from tenure.cli.text import clean, duration_us, instant, size, timestamp_us
from tenure.cli.words import (
    command_line,
    exit_of,
    features_of,
    is_final,
    progress_of,
    state_of,
    state_style,
    word,
)
from tenure.v1 import job_pb2, job_service_pb2, queue_service_pb2, worker_service_pb2


def jobs_grid(jobs: Sequence[job_pb2.Job], now_us: int) -> Grid:
    """A line a job."""
    grid = Grid(
        columns=("ID", "NAME", "STATE", "QUEUE", "ATTEMPT", "WORKER", "FAILURES", "PROGRESS", "CREATED", "EXPIRES")
    )
    for job in jobs:
        status = job.status
        grid.add(
            clean(job.id),
            clean(title_of(job), 40),
            Cell(text=state_of(status), style=state_style(status)),
            clean(queue_of(job)),
            str(status.attempt or ""),
            clean(status.machine_id),
            str(status.num_failures or ""),
            progress_of(status.progress) if status.HasField("progress") else "",
            Cell(text=instant(job.created_at), short=_age(job.created_at, now_us)),
            left_of(status, now_us),
        )
    return grid


def queues_grid(queues: Sequence[queue_service_pb2.Queue]) -> Grid:
    """A line a queue."""
    grid = Grid(
        columns=(
            "QUEUE",
            ">WAITING",
            "OLDEST",
            ">ACTIVE",
            ">WORKERS",
            ">FREE SLOTS",
            "DEFAULT",
            "MAXIMUM",
            "FEATURES",
            "NOTES",
        )
    )
    for queue in queues:
        specification = queue.specification
        basis = word(job_pb2.TimeAllocationBasis, specification.basis).lower()
        notes = [
            "paused" if queue.paused else "",
            "from the configuration file" if queue.read_only else "",
            f"time counts from {basis}" if basis else "",
            *(product_of(each.product) for each in specification.products[:3]),
            f"and {len(specification.products) - 3} more products" if len(specification.products) > 3 else "",
        ]
        grid.add(
            clean(specification.name),
            str(queue.depth),
            span_of(queue, "oldest_age"),
            str(queue.active),
            str(queue.workers),
            str(queue.free_slots),
            span_of(specification, "default_time_allocation"),
            span_of(specification, "max_time_allocation"),
            ", ".join(features_of(specification.features)),
            clean(", ".join(filter(None, notes))),
        )
    return grid


def workers_grid(workers: Sequence[worker_service_pb2.Worker]) -> Grid:
    """A line a worker."""
    grid = Grid(columns=("WORKER", "STATE", "SINCE", "SLOTS", "QUEUES", "LABELS", "JOBS", "MACHINE", "VERSION"))
    for worker in workers:
        state, style = ("connected", "green") if worker.connected else ("away", "red")
        if worker.draining:
            state, style = f"{state}, draining", "yellow"
        if worker.HasField("suspect_until"):
            state, style = f"{state}, suspect until {instant(worker.suspect_until)}", "yellow"
        grid.add(
            clean(worker.id),
            Cell(text=state, style=style),
            _when(worker, "since"),
            f"{worker.busy_slots}/{worker.slots}",
            clean(", ".join(worker.queues)),
            labels_of(worker.labels),
            clean(", ".join(worker.job_ids)),
            clean(worker.hostname, 40),
            clean(worker.agent_version, 20),
        )
    return grid


def print_job(session: Session, job: job_pb2.Job, now_us: int) -> None:
    """The page of one job: what it is, how it is, its attempts, its history."""
    heading = f"Job {clean(job.id)}"
    if session.fancy:
        session.console().print(heading, style="bold")
    else:
        session.write(heading)
    _print_facts(session, _facts(job, now_us))
    session.write()
    grids = [_attempts_grid(job)] if job.attempts else []
    draw(session, *grids, _updates_grid(job))


def _print_facts(session: Session, all_facts: Sequence[tuple[str, Cell]]) -> None:
    """Two columns: what it is, and how it is; what is empty is left out."""
    facts = [(label, cell) for label, cell in all_facts if cell.text]
    width = max((len(label) for label, _ in facts), default=0)
    if session.fancy:
        from rich.table import Table

        page = Table.grid(padding=(0, 2))
        for label, cell in facts:
            page.add_row(rich_text(Cell(text=label, style="dim")), rich_text(cell))
        session.console().print(page)
    else:
        for label, cell in facts:
            session.write(f"  {label.ljust(width)}  {cell.text}")


def print_explanation(session: Session, answer: job_service_pb2.ExplainJobResponse, now_us: int) -> None:
    """Why a job does not run: the sentence, and the numbers behind it."""
    state = word(job_pb2.JobState, answer.state)
    style = state_style(job_pb2.JobStatus(state=answer.state))
    facts = [("State", Cell(text=state, style=style))]
    if answer.queue_position:
        place = f"after more than {answer.queue_position:,}" if answer.queue_position_beyond else answer.queue_position
        others = {
            "kept from it": answer.workers_banned,
            "without its folders": answer.workers_unfit,
            "draining": answer.workers_draining,
            "suspect": answer.workers_suspect,
        }
        counted = [f"{answer.workers_connected} connected", f"{answer.workers_free} with a free slot"]
        counted += [f"{count} {what}" for what, count in others.items() if count]
        facts += [
            ("Place", Cell(text=str(place))),
            ("Queue", Cell(text="paused" if answer.queue_paused else "", style="yellow")),
            ("Workers", Cell(text=", ".join(counted))),
            ("Free slots", Cell(text=str(answer.free_slots))),
            ("Not before", Cell(text=_until(answer, now_us))),
        ]
    session.write(clean(answer.summary))
    _print_facts(session, facts)


def _until(answer: job_service_pb2.ExplainJobResponse, now_us: int) -> str:
    left_us = timestamp_us(answer.next_retry) - now_us
    ahead = f" (in {format_duration(left_us)})" if left_us > 0 else ""
    return f"{_when(answer, 'next_retry')}{ahead}" if answer.HasField("next_retry") else ""


def _facts(job: job_pb2.Job, now_us: int) -> list[tuple[str, Cell]]:
    status, asked = job.status, job.specification
    owner = clean(job.owner.created_by) + (f" of {clean(job.owner.project)}" if job.owner.project else "")
    failures = f"{status.num_failures} of {asked.max_failures or 3}" if status.num_failures else ""
    allocation = span_of(asked, "time_allocation")
    if status.HasField("granted_extension") and duration_us(status.granted_extension):
        allocation = f"{allocation}, extended by {span_of(status, 'granted_extension')}".removeprefix(", ")
    beats = (
        f"{status.num_heartbeats}, the last at {_when(status, 'last_heartbeat_at')}" if status.num_heartbeats else ""
    )
    attempt = f"{status.attempt} on {clean(status.machine_id)}" if status.attempt else ""
    return [
        ("State", Cell(text=state_of(status), style=state_style(status))),
        ("Reason", Cell(text=clean(status.reason, 1000))),
        ("Name", Cell(text=clean(asked.name))),
        ("Application", Cell(text=f"{clean(asked.application.name)} {clean(asked.application.version)}".strip())),
        ("Command", Cell(text=_command(job))),
        ("Owner", Cell(text=owner)),
        ("Queue", Cell(text=clean(queue_of(job)))),
        ("Product", Cell(text=product_of(asked.product) if asked.HasField("product") else "")),
        ("Labels", Cell(text=labels_of(asked.labels))),
        ("Priority", Cell(text=str(asked.priority or ""))),
        ("Created", Cell(text=_when(job, "created_at"))),
        ("Started", Cell(text=_when(status, "started_at"))),
        ("Expires", Cell(text=_expiry(status, now_us))),
        ("Allocation", Cell(text=allocation)),
        ("Attempt", Cell(text=attempt)),
        ("Not before", Cell(text=_when(status, "not_before"))),
        ("Failures", Cell(text=failures)),
        ("Interruptions", Cell(text=str(status.num_interruptions or ""))),
        ("Heartbeats", Cell(text=beats)),
        ("Progress", Cell(text=progress_of(status.progress) if status.HasField("progress") else "")),
        ("Sync", Cell(text=_sync_rules(asked.sync))),
        ("Output", Cell(text=clean(job.output.output_folder))),
        ("Version", Cell(text=str(job.version or ""))),
    ]


def _command(job: job_pb2.Job) -> str:
    """What was asked to run, or what the application stands for."""
    asked, resolved = job.specification, job.status.resolved_application
    if asked.command:
        return command_line(asked.command, asked.arguments)
    return command_line(resolved.command, resolved.arguments)


def _sync_rules(sync: job_pb2.Sync) -> str:
    counts = [(len(sync.before), "before"), (len(sync.during), "during"), (len(sync.after), "after")]
    return ", ".join(f"{count} {phase}" for count, phase in counts if count)


def _attempts_grid(job: job_pb2.Job) -> Grid:
    grid = Grid(
        title="Attempts",
        columns=("N", "WORKER", "ASSIGNED", "STARTED", "ENDED", "STAGE", "END", ">BEATS", ">DOWN", ">UP", "MESSAGE"),
    )
    for attempt in job.attempts:
        end = word(job_pb2.AttemptEndReason, attempt.end_reason).lower()
        grid.add(
            str(attempt.number),
            clean(attempt.machine_id),
            *(_short_when(attempt, field) for field in ("assigned_at", "started_at", "ended_at")),
            word(job_pb2.AttemptStage, attempt.stage).lower(),
            ", ".join(filter(None, [end, exit_of(attempt)])),
            str(attempt.num_heartbeats),
            size(attempt.bytes_downloaded),
            size(attempt.bytes_uploaded),
            clean(attempt.message, 200),
        )
    return grid


def _updates_grid(job: job_pb2.Job) -> Grid:
    left_out = f" ({job.updates_left_out} in the middle are left out)" if job.updates_left_out else ""
    grid = Grid(title=f"Updates{left_out}", columns=("TIME", "STATE", "UPDATE"))
    for update in job.updates:
        state = word(job_pb2.JobState, update.state)
        style = state_style(job_pb2.JobStatus(state=update.state))
        grid.add(
            instant(update.timestamp, milliseconds=True), Cell(text=state, style=style), clean(update.status, 1000)
        )
    return grid


def title_of(job: job_pb2.Job) -> str:
    """What a person calls a job: its name, else its application, else its command."""
    asked = job.specification
    return asked.name or asked.application.name or asked.command


def queue_of(job: job_pb2.Job) -> str:
    """Its queue as far as is known: the product names it otherwise."""
    asked = job.specification
    return (
        asked.queue
        or job.status.resolved_product.queue
        or (product_of(asked.product) if asked.HasField("product") else "")
    )


def product_of(product: job_pb2.ProductReference) -> str:
    """`provider/category/id`."""
    return clean(f"{product.provider}/{product.category}/{product.id}")


def labels_of(labels: Any) -> str:
    """`a=1, b=2`."""
    return clean(", ".join(f"{key}={labels[key]}" for key in sorted(labels)))


def span_of(message: Any, field: str) -> str:
    """A duration field for people; empty: it is not set."""
    return format_duration(duration_us(getattr(message, field))) if message.HasField(field) else ""


def left_of(status: job_pb2.JobStatus, now_us: int) -> str:
    """How much time a job has left: `in 4h 59m`; empty: it never expires, or has ended."""
    if is_final(status) or not status.HasField("expires_at"):
        return ""
    left_us = timestamp_us(status.expires_at) - now_us
    return f"in {format_duration(left_us)}" if left_us > 0 else "now"


def _age(when: Timestamp, now_us: int) -> str:
    """`5h 0m ago`, for a screen that has no room for the time itself."""
    age_us = now_us - timestamp_us(when)
    return f"{format_duration(age_us // 1_000_000 * 1_000_000)} ago" if age_us >= 0 else instant(when)


def _expiry(status: job_pb2.JobStatus, now_us: int) -> str:
    left = left_of(status, now_us)
    return f"{_when(status, 'expires_at')} ({left})" if left else ""


def _when(message: Any, field: str) -> str:
    return instant(getattr(message, field), milliseconds=True) if message.HasField(field) else ""


def _short_when(message: Any, field: str) -> Cell:
    """A time whose year is left out where there is no room for it."""
    text = _when(message, field)
    return Cell(text=text, short=text[5:19])
