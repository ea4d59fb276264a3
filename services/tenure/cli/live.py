"""A watch on a terminal: redrawn as changes come, and four times a second for the countdown to the deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tenure.cli.grid import Cell, Grid, rich_table
from tenure.cli.text import clean, instant, timestamp_us
from tenure.cli.timeline import Timeline, Tracked
from tenure.cli.words import copied, state_of, state_style, word
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, job_service_pb2

# Up to so many jobs are shown with their history; more get a line each.
DETAILED = 3
SHOWN_UPDATES = 8
_BAR = 32


class LiveTimeline:
    """Draws a timeline; a context manager, within which the screen is kept up to date."""

    def __init__(self, timeline: Timeline, wall_us: Callable[[], int], console: Console) -> None:
        """Nothing is drawn before it is entered.

        Args:
            timeline: what is drawn; from now on only `take` changes it.
            wall_us: microseconds since the epoch.
            console: where to.
        """
        self._timeline = timeline
        self._wall_us = wall_us
        self._console = console
        # The screen is redrawn by a thread of rich's.
        self._lock = threading.Lock()
        self._note = ""
        self._live = Live(
            get_renderable=self.picture, console=console, refresh_per_second=4, vertical_overflow="ellipsis"
        )

    def __enter__(self) -> LiveTimeline:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.refresh()
        self._live.stop()

    def take(self, response: job_service_pb2.WatchJobsResponse) -> None:
        """Take a message in."""
        with self._lock:
            for _ in self._timeline.take(response):
                pass
            self._note = ""

    def dropped(self, _: Exception, wait_s: float) -> None:
        """Say that the connection is lost and will be made again."""
        with self._lock:
            self._note = f"connection lost, trying again in {wait_s:.1f} s; nothing is missed"

    def picture(self) -> RenderableType:
        """The screen as it is to be now."""
        with self._lock:
            jobs, note, now_us = list(self._timeline.jobs.values()), self._note, self._wall_us()
        parts: list[RenderableType] = []
        if not jobs:
            parts.append(Text("waiting for jobs …", style="dim"))
        elif len(jobs) <= DETAILED:
            for each in jobs:
                parts += [_detailed(each, now_us), Text()]
        else:
            parts.append(_overview(jobs, now_us, self._console))
        if note:
            parts.append(Text(note, style="yellow"))
        return Group(*parts)


def _detailed(job: Tracked, now_us: int) -> RenderableType:
    status = job.status
    heading = Text.assemble(
        (state_of(status), f"bold {state_style(status)}"), "  ", (job.title, "bold"), "  ", (clean(job.job_id), "dim")
    )
    facts = [
        f"attempt {status.attempt} on {clean(status.machine_id)}" if status.attempt else "",
        f"{status.num_failures} failed" if status.num_failures else "",
        f"{status.num_interruptions} interrupted" if status.num_interruptions else "",
        f"deadline in {countdown(status, now_us)}" if countdown(status, now_us) else "",
    ]
    parts: list[RenderableType] = [heading]
    if any(facts):
        parts.append(Text("  " + " · ".join(filter(None, facts))))
    if bars := _bars(job):
        parts.append(bars)
    history = Table.grid(padding=(0, 2), pad_edge=True)
    for update in job.updates[-SHOWN_UPDATES:]:
        state = word(job_pb2.JobState, update.state)
        history.add_row(
            Text(instant(update.timestamp), style="dim"),
            Text(state, style=state_style(job_pb2.JobStatus(state=update.state))),
            Text(clean(update.status, 300)),
        )
    return Group(*parts, history)


def _bars(job: Tracked) -> Table | None:
    """Progress of the command and of the copying, as far as there is any."""
    bars = Table.grid(padding=(0, 1), pad_edge=True)
    rows = 0
    progress = job.status.progress
    if job.status.HasField("progress"):
        text = f"{progress.fraction:.0%} {clean(progress.message, 80)}"
        bars.add_row(Text(" command"), ProgressBar(total=1, completed=progress.fraction, width=_BAR), Text(text))
        rows += 1
    copying = job.stage in (event_pb2.STAGE_SYNC_BEFORE, event_pb2.STAGE_SYNC_AFTER) and not job.final
    text = copied(job.transfer)
    if copying or text:
        phase = {event_pb2.STAGE_SYNC_BEFORE: "copying input ", event_pb2.STAGE_SYNC_AFTER: "copying output "}
        label = phase.get(job.stage, "") if copying else ""
        bars.add_row(Text(" sync"), _sync_bar(job, copying), Text(label + text))
        rows += 1
    return bars if rows else None


def _sync_bar(job: Tracked, copying: bool) -> ProgressBar:
    """How many of the files are copied that are known of; pulsing where it is not known how many there are."""
    if not copying:
        return ProgressBar(completed=100, width=_BAR)
    before = job.stage == event_pb2.STAGE_SYNC_BEFORE
    done = job.transfer.files_downloaded if before else job.transfer.files_uploaded
    if not job.transfer.files_pending:
        return ProgressBar(total=None, pulse=True, width=_BAR)
    return ProgressBar(total=done + job.transfer.files_pending, completed=done, width=_BAR)


def _overview(jobs: list[Tracked], now_us: int, console: Console) -> RenderableType:
    """A line a job; live ones first, as many as there is room for."""
    room = console.height - 6
    ordered = sorted(jobs, key=lambda job: job.final)
    shown = ordered[: max(room, 3)]
    grid = Grid(columns=("ID", "NAME", "STATE", "ATTEMPT", "WORKER", "PROGRESS", "SYNC", "DEADLINE", "LAST"))
    for job in shown:
        status = job.status
        progress = status.progress
        grid.add(
            clean(job.job_id),
            job.title,
            Cell(text=state_of(status), style=state_style(status)),
            str(status.attempt or ""),
            clean(status.machine_id),
            f"{progress.fraction:.0%}" if status.HasField("progress") else "",
            copied(job.transfer),
            countdown(status, now_us),
            clean(job.updates[-1].status, 60) if job.updates else "",
        )
    rest = len(jobs) - len(shown)
    return Group(rich_table(grid, console.width), Text(f"  and {rest} more" if rest else "", style="dim"))


def countdown(status: job_pb2.JobStatus, now_us: int) -> str:
    """Time to the deadline, `4:59:12` or `2d 04:59:12`; empty: there is none."""
    if not status.HasField("expires_at"):
        return ""
    seconds = max(0, -((now_us - timestamp_us(status.expires_at)) // 1_000_000))
    days, seconds = divmod(seconds, 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{days}d {clock}" if days else clock.removeprefix("0")
