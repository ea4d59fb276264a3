"""`tenure events`: the log itself, for people and for audit."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from tenure.cli.answer import as_dict, as_line, as_text
from tenure.cli.command import client_command
from tenure.cli.session import Output, Session
from tenure.cli.text import clean, instant
from tenure.cli.words import describe, event_type
from tenure.events.v1 import event_pb2
from tenure.v1 import event_service_pb2


def _events(
    session: Session,
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on as events come.")] = False,
    job: Annotated[list[str] | None, typer.Option(metavar="ID", help="Of this job; repeatable.")] = None,
    queue: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Of this queue; repeatable.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Of this type, as JobCreated; repeatable.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, metavar="POSITION", help="Begin after this position.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="End after so many; 0: no limit.")] = 0,
) -> None:
    """Read the log of events. For administrators."""
    event_filter = event_service_pb2.EventFilter(job_ids=job or (), queues=queue or (), types=kind or ())
    found = session.client.read_events(
        after_position=after, filter=event_filter, follow=follow, limit=limit, on_drop=session.dropped
    )
    if session.output is Output.JSON and not follow:
        session.write(as_text([as_dict(event) for event in found]))
        return
    with suppress(KeyboardInterrupt):
        for event in found:
            if session.output is Output.TABLE:
                session.write(event_line(event))
            else:
                session.write(as_line(as_dict(event)))
            if follow:
                session.flush()


events = client_command(_events)


def event_line(event: event_pb2.Event) -> str:
    """An event in one line: position, time, type, stream, who, what."""
    who = f"  [{clean(event.actor)}]" if event.actor else ""
    when = instant(event.time, milliseconds=True)
    return f"{event.position:>8}  {when}  {event_type(event):<18}  {clean(event.stream)}  {describe(event)}{who}"
