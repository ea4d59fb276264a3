"""`tenure queues …`: see, configure and pause queues."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tenure.cli import choices, render
from tenure.cli.answer import answer_many, answer_one
from tenure.cli.command import client_command
from tenure.cli.documents import read_queues
from tenure.cli.failures import Problem
from tenure.cli.reading import DocumentError
from tenure.cli.session import Session
from tenure.cli.text import clean, to_duration
from tenure.v1 import job_pb2, queue_service_pb2

app = typer.Typer(
    name="queues",
    help="See, configure and pause queues.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_FEATURES = tuple(field.name for field in queue_service_pb2.QueueFeatures.DESCRIPTOR.fields)


def _list(session: Session) -> None:
    """List the queues: what waits in them, who serves them, what they allow."""
    found = session.client.browse_queues(page_size=1000)
    answer_many(session, found, render.queues_grid, "there is no queue")


app.command("list")(client_command(_list))


def _upsert(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The queue; or --file.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Queue or queues as JSON or YAML; - is stdin.")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="The most that an allocation and its extensions add up to.")
    ] = None,
    default_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Allocation of jobs that ask for none.")
    ] = None,
    basis: Annotated[
        str | None, typer.Option(metavar="created|started", help="From when allocations count. [default: started]")
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help=f"Support this only; repeatable: {', '.join(_FEATURES)}. [default: all]")
    ] = None,
    product: Annotated[
        list[str] | None, typer.Option(metavar="PROVIDER/CATEGORY/ID", help="Serve this product; repeatable.")
    ] = None,
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless; made up where not given.")] = "",
) -> None:
    """Create a queue, or replace what an existing one is. Jobs keep the terms they were created under."""
    if (name is None) == (file is None):
        raise Problem("give the NAME of a queue, or --file FILE")
    if file is not None:
        if any((max_time, default_time, basis, feature, product)):
            raise Problem("--file says everything about its queues; the other options are for a queue given by NAME")
        queues = _from_file(file)
    else:
        specification = queue_service_pb2.QueueSpecification(
            name=name or "",
            max_time_allocation=to_duration(choices.span("--max-time", max_time)) if max_time else None,
            default_time_allocation=to_duration(choices.span("--default-time", default_time)) if default_time else None,
            basis=choices.basis("--basis", basis) if basis else job_pb2.TIME_ALLOCATION_BASIS_UNSPECIFIED,
            features=_features(feature) if feature else None,
            products=[
                queue_service_pb2.QueueProduct(product=choices.product("--product", each)) for each in product or ()
            ],
        )
        queues = (specification,)
    response = session.client.upsert_queues(queues, request_id=request_id)

    def draw() -> None:
        for each in queues:
            session.write(f"{clean(each.name)} configured")

    answer_one(session, response, draw)


app.command("upsert")(client_command(_upsert))


def _pause(
    session: Session,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="The queues; all are paused or none.")],
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "",
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless; made up where not given.")] = "",
) -> None:
    """Give out no jobs of queues. Those that run go on, and new ones wait."""
    _set_paused(session, names, request_id, paused=True, reason=reason)


app.command("pause")(client_command(_pause))


def _resume(
    session: Session,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="The queues; all are resumed or none.")],
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless; made up where not given.")] = "",
) -> None:
    """Give out the jobs of paused queues again."""
    _set_paused(session, names, request_id, paused=False)


app.command("resume")(client_command(_resume))


def _set_paused(session: Session, names: list[str], request_id: str, *, paused: bool, reason: str = "") -> None:
    items = [
        queue_service_pb2.PauseQueuesRequest.Item(name=name, paused=paused, reason=reason)
        for name in dict.fromkeys(names)
    ]
    response = session.client.pause_queues(items, request_id=request_id)

    def draw() -> None:
        for item in items:
            session.write(f"{clean(item.name)} {'paused' if paused else 'resumed'}")

    answer_one(session, response, draw)


def _features(names: list[str]) -> queue_service_pb2.QueueFeatures:
    features = queue_service_pb2.QueueFeatures()
    for name in names:
        field = name.strip().lower().replace("-", "_")
        if field not in _FEATURES:
            raise Problem(f"--feature: {name!r} is none of {', '.join(_FEATURES)}")
        setattr(features, field, True)
    return features


def _from_file(file: str) -> tuple[queue_service_pb2.QueueSpecification, ...]:
    name = "standard input" if file == "-" else file
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Problem(f"--file: cannot read {name}: {error.strerror or 'it is not readable'}") from None
    try:
        return read_queues(data)
    except DocumentError as error:
        raise Problem(f"{clean(name)} cannot be used", details=[clean(each, 300) for each in error.problems]) from None
