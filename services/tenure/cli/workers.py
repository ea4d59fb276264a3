"""`tenure workers …`: see and drain workers."""

from __future__ import annotations

from typing import Annotated

import typer

from tenure.cli import render
from tenure.cli.answer import answer_many, answer_one
from tenure.cli.command import client_command
from tenure.cli.failures import EXIT_REFUSED
from tenure.cli.session import Session
from tenure.cli.text import clean
from tenure.v1 import worker_service_pb2

app = typer.Typer(
    name="workers",
    help="See and drain workers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _list(session: Session, queue: Annotated[str, typer.Option(help="Only those that serve this queue.")] = "") -> None:
    """List the workers that the server has heard of."""
    found = session.client.browse_workers(queue=queue, page_size=1000)
    answer_many(session, found, render.workers_grid, "no worker has connected; start one with `tenure worker`")


app.command("list")(client_command(_list))


def _drain(
    session: Session,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The workers.")],
    release: Annotated[
        bool, typer.Option("--release", help="Give running jobs back to the queue instead of finishing them.")
    ] = False,
) -> None:
    """Ask workers to take no more jobs. Exit code 1 when one of them is not connected."""
    wanted = list(dict.fromkeys(ids))
    told = session.client.drain_workers(wanted, release=release)

    def draw() -> None:
        for each in wanted:
            session.write(f"{clean(each)} {'drains' if each in told else 'is not connected'}")

    answer_one(session, worker_service_pb2.DrainWorkersResponse(worker_ids=told), draw)
    if not set(wanted) <= set(told):
        raise typer.Exit(EXIT_REFUSED)


app.command("drain")(client_command(_drain))
