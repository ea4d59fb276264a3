"""What the demo prints: short lines with the seconds since its start."""

from __future__ import annotations

import time

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, job_service_pb2

# What a watcher of the demo reads for each event; the others have an update of their own or say nothing new.
_WORDS = {
    "job_assigned": "assigned to {worker}, attempt {attempt}",
    "job_started": "running on {worker}",
    "lease_expired": "{worker} was not heard of: its lease expired",
    "job_extended": "extended",
}


class Teller:
    """Prints the story."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()

    def chapter(self, text: str) -> None:
        """A new part."""
        self._print(f"\n[bold cyan]▌ {escape(text)}[/]")

    def say(self, text: str) -> None:
        """One line."""
        self._line(escape(text))

    def strong(self, text: str) -> None:
        """One line that matters."""
        self._line(f"[bold green]{escape(text)}[/]")

    def detail(self, text: str) -> None:
        """A line below the one before."""
        self._print(f"[dim]          · {escape(text)}[/]")

    def change(self, message: job_service_pb2.WatchJobsResponse) -> None:
        """What a watch brought."""
        match message.WhichOneof("message"):
            case "event":
                self._event(message.event)
            case "snapshot":
                self._standing(message.snapshot.status)
            case _:
                pass

    def _event(self, event: job_service_pb2.JobEvent) -> None:
        kind = event.event.WhichOneof("payload") or ""
        status = event.status
        if (words := _WORDS.get(kind)) is not None:
            self.say(words.format(worker=status.machine_id, attempt=status.attempt))
        elif event.HasField("update"):
            self.say(event.update.status)
        elif kind == "job_heartbeat" and status.progress.message:
            self.say(f"heartbeat {status.num_heartbeats}: {status.progress.message}")

    def _standing(self, status: job_pb2.JobStatus) -> None:
        """What had happened before the watch began."""
        happened = ["job_assigned"] if status.attempt else []
        if status.state == job_pb2.JOB_STATE_RUNNING:
            happened.append("job_started")
        for kind in happened:
            self.say(_WORDS[kind].format(worker=status.machine_id, attempt=status.attempt))

    def stored(self, event: event_pb2.Event) -> None:
        """One event of the log."""
        kind = event.WhichOneof("payload") or ""
        name = "".join(part.capitalize() for part in kind.split("_"))
        self._print(f"  {event.position:>4}  {local_time(event.time)}  {name:<18} by {escape(event.actor)}")

    def attempts(self, job: job_pb2.Job) -> None:
        """The attempts of a job as a table."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("attempt", "worker", "ended", "beats", "downloaded", "uploaded"):
            table.add_column(column)
        for attempt in job.attempts:
            reason = job_pb2.AttemptEndReason.Name(attempt.end_reason).removeprefix("ATTEMPT_END_REASON_").lower()
            table.add_row(
                str(attempt.number),
                attempt.machine_id,
                reason.replace("_", " "),
                str(attempt.num_heartbeats),
                f"{attempt.bytes_downloaded} B",
                f"{attempt.bytes_uploaded} B",
            )
        self._print(table)

    def finish(self) -> None:
        """What to try next."""
        seconds = time.monotonic() - self._start
        self.chapter(f"That took {seconds:.0f} s. Try next")
        for line in (
            ".venv/bin/tenure serve --store sqlite:///var/tmp/tenure --http 127.0.0.1:8080",
            ".venv/bin/tenure worker --queue default --work-dir /var/tmp/tenure-worker",
            ".venv/bin/tenure jobs create --queue default --time 10m -- python3 -c 'print(6 * 7)'",
            ".venv/bin/tenure jobs watch",
        ):
            self._print(escape(f"  {line}"))

    def _print(self, what: str | Table) -> None:
        # Lines are cut by the terminal, not broken in the middle of a path or an id.
        self._console.print(what, soft_wrap=True)

    def _line(self, markup: str) -> None:
        self._print(f"[dim]{time.monotonic() - self._start:6.1f} s[/]  {markup}")


def local_time(at: Timestamp) -> str:
    """A time of day on this machine, with milliseconds."""
    return time.strftime("%H:%M:%S", time.localtime(at.seconds)) + f".{at.nanos // 1_000_000:03d}"
