"""`tenure jobs watch`: what happens to jobs, as it happens."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from tenure.cli import choices
from tenure.cli.answer import as_dict, as_line
from tenure.cli.failures import EXIT_REFUSED, Problem
from tenure.cli.session import Output, Session
from tenure.cli.timeline import Timeline
from tenure.runtime.clock import SystemClock
from tenure.v1 import job_pb2, job_service_pb2


def watch(
    session: Session,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="These jobs; all live ones where none.")] = None,
    state: Annotated[str | None, typer.Option(help="Without ids: jobs in this state.")] = None,
    queue: Annotated[str, typer.Option(help="Without ids: jobs of this queue.")] = "",
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Without ids: jobs with this label; repeatable.")
    ] = None,
) -> None:
    """Show what happens to jobs until all the named ones have ended.

    Exit code 0 when every named job ended in SUCCESS, 1 otherwise. Without ids it goes on until Ctrl-C. A lost
    connection is made again and nothing is missed. With -o json each change is one line.
    """
    if ids and (state or queue or label):
        raise Problem("give ids or filters, not both")
    flags = job_service_pb2.JobFlags(
        filter_state=choices.state("--state", state) if state else job_pb2.JOB_STATE_UNSPECIFIED,
        filter_queue=queue,
        filter_labels=choices.pairs("--label", label or ()),
        include_updates=True,
    )
    timeline = Timeline(ids or ())
    follow = _follow_live if session.fancy else _follow
    follow(session, timeline, ids or [], None if ids else flags)
    if not timeline.succeeded():
        raise typer.Exit(EXIT_REFUSED)


def _follow(session: Session, timeline: Timeline, ids: list[str], flags: job_service_pb2.JobFlags | None) -> None:
    """Lines, until every named job has ended."""
    with closing(session.client.watch_jobs(ids=ids, flags=flags, on_drop=session.dropped)) as changes:
        for change in changes:
            lines = list(timeline.take(change))
            if session.output is not Output.TABLE:
                lines = [] if change.HasField("progress_mark") else [as_line(as_dict(change))]
            for line in lines:
                session.write(line)
            session.flush()
            if timeline.ended():
                return


def _follow_live(session: Session, timeline: Timeline, ids: list[str], flags: job_service_pb2.JobFlags | None) -> None:
    """A screen that is redrawn, until every named job has ended."""
    from tenure.cli.live import LiveTimeline

    with (
        LiveTimeline(timeline, SystemClock().wall_us, session.console()) as live,
        closing(session.client.watch_jobs(ids=ids, flags=flags, on_drop=live.dropped)) as changes,
    ):
        for change in changes:
            live.take(change)
            if timeline.ended():
                return
