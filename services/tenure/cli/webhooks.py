"""`tenure webhooks …`: where changes of jobs are announced, and what became of the announcements.

A secret goes to standard output alone, so that `tenure webhooks rotate … > file` is the whole of it; what else there is
to say goes to standard error. An endpoint is named by its id or its URL.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from tenure.cli import choices
from tenure.cli.answer import answer_many, answer_one, as_line
from tenure.cli.command import client_command
from tenure.cli.failures import EXIT_REFUSED, Problem
from tenure.cli.grid import Cell, Grid
from tenure.cli.session import Output, Session
from tenure.cli.text import clean, instant, to_duration
from tenure.cli.words import word
from tenure.v1 import webhook_service_pb2 as pb

app = typer.Typer(
    name="webhooks",
    help="Announce changes of jobs by HTTP, and see what became of the announcements.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class StateName(StrEnum):
    """What became of a delivery, as it is typed."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


_STATES = {
    StateName.PENDING: pb.DELIVERY_STATE_PENDING,
    StateName.DELIVERED: pb.DELIVERY_STATE_DELIVERED,
    StateName.DEAD: pb.DELIVERY_STATE_DEAD,
}
_STYLES = {"PENDING": "yellow", "DELIVERED": "green", "DEAD": "red"}

Named = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id or its URL.")]


def _list(session: Session) -> None:
    """List the webhooks, the oldest first, without their secrets."""
    answer_many(session, session.client.webhooks.browse(page_size=1000), _webhooks_grid, "there is no webhook")


app.command("list")(client_command(_list))


def _upsert(
    session: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to: https://…")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="Announce this only, as `job.failed`; repeatable. [default: every change of a job's state]"),
    ] = None,
    disable: Annotated[
        bool, typer.Option("--disable", help="Send nothing for now; what would be sent can be replayed.")
    ] = False,
    project: Annotated[str, typer.Option(help="Project of the jobs. [default: that of the token]")] = "",
) -> None:
    """Make a webhook, or change the one with this URL. The secret of a new one is printed once, on standard output."""
    wanted = pb.WebhookSpecification(url=url, event_types=event or (), disabled=disable)
    response = session.client.webhooks.upsert([wanted], project=project)
    [made] = response.responses

    def draw() -> None:
        if made.secret:
            _tell_secret(session, made.secret, f"webhook {clean(made.id)} made")
        else:
            session.write(f"{clean(made.id)} changed")

    answer_one(session, response, draw)


app.command("upsert")(client_command(_upsert))


def _rotate(
    session: Session,
    webhook: Named,
    overlap: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long the old secrets sign too. [default: 24h]")
    ] = None,
) -> None:
    """Make a new secret and print it once, on standard output; the old ones sign beside it for a while."""
    found = _find(session, webhook)
    span = to_duration(choices.span("--overlap", overlap)) if overlap is not None else None
    secret = session.client.webhooks.rotate(found.id, overlap=span)

    def draw() -> None:
        _tell_secret(session, secret, f"webhook {clean(found.id)} has a new secret")

    answer_one(session, pb.RotateWebhookSecretResponse(secret=secret), draw)


app.command("rotate")(client_command(_rotate))


def _delete(
    session: Session,
    webhooks: Annotated[list[str], typer.Argument(metavar="WEBHOOK", help="Their ids or URLs.")],
) -> None:
    """Remove webhooks with everything that waits for them. Jobs that name them go on unannounced."""
    wanted = list(dict.fromkeys(_find(session, each).id for each in webhooks))
    session.client.webhooks.delete(wanted)
    if session.output is not Output.TABLE:
        session.write(as_line({"deleted": wanted}))
        return
    for each in wanted:
        session.write(f"{clean(each)} deleted")


app.command("delete")(client_command(_delete))


def _deliveries(
    session: Session,
    webhook: Annotated[str | None, typer.Option(metavar="WEBHOOK", help="Only to this one: its id or URL.")] = None,
    job: Annotated[str, typer.Option(metavar="ID", help="Only of this job.")] = "",
    state: Annotated[StateName | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List deliveries, the newest first."""
    found: Iterator[pb.Delivery] = session.client.webhooks.deliveries(
        webhook_id=_find(session, webhook).id if webhook is not None else "",
        job_id=job,
        state=_STATES[state] if state is not None else pb.DELIVERY_STATE_UNSPECIFIED,
        page_size=min(limit, 1000),
    )
    answer_many(session, islice(found, limit), _deliveries_grid, "there is no such delivery")


app.command("deliveries")(client_command(_deliveries))


def _replay(
    session: Session,
    ids: Annotated[list[str] | None, typer.Argument(metavar="DELIVERY", help="These deliveries; or --webhook.")] = None,
    webhook: Annotated[str | None, typer.Option(metavar="WEBHOOK", help="Those of this one: its id or URL.")] = None,
    job: Annotated[str, typer.Option(metavar="ID", help="With --webhook: only of this job.")] = "",
    state: Annotated[
        StateName | None,
        typer.Option(help="With --webhook: dead, or delivered to have them once more. [default: dead]"),
    ] = None,
    from_position: Annotated[int, typer.Option(min=0, help="With --webhook: only of events from here in the log.")] = 0,
) -> None:
    """Have deliveries that were given up, or made, made again, in the order of each job."""
    if bool(ids) == (webhook is not None):
        raise Problem("give the ids of deliveries, or --webhook WEBHOOK")
    if ids and (job or state or from_position):
        raise Problem("--job, --state and --from-position go with --webhook")
    if state is StateName.PENDING:
        raise Problem("--state: what is pending is on its way already")
    replayed = session.client.webhooks.replay(
        ids=ids or (),
        webhook_id=_find(session, webhook).id if webhook is not None else "",
        job_id=job,
        state=_STATES[state] if state is not None else pb.DELIVERY_STATE_UNSPECIFIED,
        from_position=from_position,
    )

    def draw() -> None:
        session.write(f"{replayed} {'delivery' if replayed == 1 else 'deliveries'} made again")

    answer_one(session, pb.ReplayDeliveriesResponse(replayed=replayed), draw)


app.command("replay")(client_command(_replay))


def _find(session: Session, named: str) -> pb.Webhook:
    """The webhook with this id or URL."""
    found = [one for one in session.client.webhooks.browse(page_size=1000) if named in (one.id, one.specification.url)]
    if not found:
        raise Problem(
            f"there is no webhook {clean(named)}",
            hints=["`tenure webhooks list` shows those that you can see"],
            exit_code=EXIT_REFUSED,
        )
    if len(found) > 1:
        raise Problem(
            f"several owners have a webhook {clean(named)}: name it by its id",
            details=[f"{clean(one.id)} of {clean(one.owner.created_by)}" for one in found[:20]],
        )
    return found[0]


def _tell_secret(session: Session, secret: str, what: str) -> None:
    session.write(secret)
    session.flush()
    where = " Keep it where only its receiver can read it." if sys.stdout.isatty() else ""
    sys.stderr.write(f"tenure: {what}. Its secret is shown this once.{where}\n")


def _webhooks_grid(webhooks: list[pb.Webhook]) -> Grid:
    grid = Grid(columns=("ID", "URL", "EVENTS", "OWNER", ">PENDING", ">DEAD", "NOTES"))
    for one in webhooks:
        owner = "/".join(part for part in (one.owner.project, one.owner.created_by) if part)
        grid.add(
            clean(one.id),
            clean(one.specification.url),
            clean(", ".join(one.specification.event_types) or "usual"),
            clean(owner),
            str(one.pending),
            Cell(text=str(one.dead), style="red" if one.dead else ""),
            Cell(text=f"disabled: {clean(one.disabled_reason)}" if one.disabled_reason else "", style="red"),
        )
    return grid


def _deliveries_grid(deliveries: list[pb.Delivery]) -> Grid:
    grid = Grid(columns=("ID", "JOB", "TYPE", ">SEQ", "STATE", ">TRIES", "LAST", "NEXT", "MESSAGE"))
    for one in deliveries:
        state = word(pb.DeliveryState, one.state)
        grid.add(
            clean(one.id),
            clean(one.job_id),
            clean(one.type),
            str(one.sequence),
            Cell(text=state, style=_STYLES.get(state, "")),
            str(one.attempts),
            instant(one.last_attempt_at) if one.HasField("last_attempt_at") else "",
            instant(one.next_attempt_at) if one.HasField("next_attempt_at") else "",
            clean(one.error, 300),
        )
    return grid
