"""`tenure jobs …`: submit, see, extend and end jobs."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from tenure.cli import choices, render
from tenure.cli.answer import answer_many, answer_one
from tenure.cli.command import client_command
from tenure.cli.create import create
from tenure.cli.failures import Problem
from tenure.cli.logs import logs
from tenure.cli.session import Session
from tenure.cli.text import clean, instant, to_duration, to_timestamp
from tenure.cli.watch import watch
from tenure.runtime.clock import SystemClock
from tenure.v1 import job_pb2, job_service_pb2

app = typer.Typer(
    name="jobs",
    help="Submit, see, extend and end jobs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("create")(client_command(create))


def _get(session: Session, job_id: Annotated[str, typer.Argument(metavar="ID", help="The job.")]) -> None:
    """Show one job: its state, its attempts and its updates."""
    flags = job_service_pb2.JobFlags(
        include_parameters=True,
        include_application=True,
        include_product=True,
        include_support=True,
        include_others=True,
        include_updates=True,
    )
    job = session.client.retrieve_job(job_id, flags=flags)
    answer_one(session, job, lambda: render.print_job(session, job, SystemClock().wall_us()))


app.command("get")(client_command(_get))


def _list(
    session: Session,
    state: Annotated[str | None, typer.Option(help="In this state: in_queue, running, canceling, success …")] = None,
    queue: Annotated[str, typer.Option(help="In this queue.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="With this label; repeatable.")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="With this id; repeatable.")] = None,
    application: Annotated[str, typer.Option(help="Of the application with this name.")] = "",
    created_by: Annotated[str, typer.Option(help="Created by this subject.")] = "",
    created_after: Annotated[
        str | None, typer.Option(metavar="TIME|SPAN", help="Created at or after this time, or within this span (2h).")
    ] = None,
    created_before: Annotated[
        str | None, typer.Option(metavar="TIME|SPAN", help="Created before this time, or longer ago (2d).")
    ] = None,
    product: Annotated[str, typer.Option(metavar="ID", help="On the product with this id.")] = "",
    category: Annotated[str, typer.Option(help="On products of this category.")] = "",
    provider: Annotated[str, typer.Option(help="On products of this provider.")] = "",
    hide_product: Annotated[str, typer.Option(metavar="ID", help="Not on the product with this id.")] = "",
    hide_category: Annotated[str, typer.Option(help="Not on products of this category.")] = "",
    hide_provider: Annotated[str, typer.Option(help="Not on products of this provider.")] = "",
    sort: Annotated[str, typer.Option(metavar="created|expires", help="By what they are ordered.")] = "created",
    ascending: Annotated[
        bool | None, typer.Option("--ascending/--descending", help="[default: newest first, or soonest to expire]")
    ] = None,
    updates: Annotated[bool, typer.Option("--updates", help="With updates and attempts (for -o json).")] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0: all.")] = 50,
) -> None:
    """List jobs, newest first."""
    now_us = SystemClock().wall_us()
    flags = job_service_pb2.JobFlags(
        filter_state=choices.state("--state", state) if state else job_pb2.JOB_STATE_UNSPECIFIED,
        filter_queue=queue,
        filter_labels=choices.pairs("--label", label or ()),
        filter_ids=ids or (),
        filter_application=application,
        filter_created_by=created_by,
        filter_product_id=product,
        filter_product_category=category,
        filter_provider=provider,
        hide_product_id=hide_product,
        hide_product_category=hide_category,
        hide_provider=hide_provider,
        include_product=True,
        include_updates=updates,
    )
    if created_after is not None:
        flags.filter_created_after.CopyFrom(to_timestamp(choices.moment("--created-after", created_after, now_us)))
    if created_before is not None:
        flags.filter_created_before.CopyFrom(to_timestamp(choices.moment("--created-before", created_before, now_us)))
    orders = {"created": job_service_pb2.JOB_SORT_BY_CREATED_AT, "expires": job_service_pb2.JOB_SORT_BY_EXPIRES_AT}
    if sort not in orders:
        raise Problem(f"--sort: {sort!r} is neither created nor expires")
    found = session.client.browse_jobs(
        flags=flags,
        page_size=min(limit, 1000) if limit else 1000,
        sort_by=orders[sort],
        sort_direction={
            None: job_service_pb2.SORT_DIRECTION_UNSPECIFIED,
            True: job_service_pb2.SORT_DIRECTION_ASCENDING,
            False: job_service_pb2.SORT_DIRECTION_DESCENDING,
        }[ascending],
    )
    shown = islice(found, limit) if limit else found
    answer_many(session, shown, lambda jobs: render.jobs_grid(jobs, now_us), "no job matches")


app.command("list")(client_command(_list))


def _extend(
    session: Session,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job.")],
    time: Annotated[str, typer.Argument(metavar="TIME", help="What is added: 90s, 1h30m, 2d.")],
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless; made up where not given.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come of it, change nothing.")] = False,
) -> None:
    """Give a job more time."""
    item = job_service_pb2.ExtendJobsRequest.Item(job_id=job_id, requested_time=to_duration(choices.span("TIME", time)))
    response = session.client.extend_jobs([item], request_id=request_id, validate_only=dry_run)

    def draw() -> None:
        ends = [each.expires_at for each in response.responses if each.HasField("expires_at")]
        now = (
            f"expires at {instant(ends[0], milliseconds=True)}" if ends else "expires so much later once it has started"
        )
        session.write(f"{clean(job_id)} {'would be extended' if dry_run else 'extended'} by {time}: {now}")

    answer_one(session, response, draw)


app.command("extend")(client_command(_extend))


def _terminate(
    session: Session,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The jobs; all are ended or none.")],
    grace: Annotated[
        str | None, typer.Option(metavar="TIME", help="Signal a running command and give it so long to save its work.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "",
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless; made up where not given.")] = "",
) -> None:
    """End jobs early; at once, unless a grace is given."""
    period = to_duration(choices.span("--grace", grace)) if grace is not None else None
    items = [
        job_service_pb2.TerminateJobsRequest.Item(id=each, reason=reason, grace_period=period)
        for each in dict.fromkeys(ids)
    ]
    response = session.client.terminate_jobs(items, request_id=request_id)

    def draw() -> None:
        for item in items:
            session.write(f"{clean(item.id)} {'is told to stop' if grace is not None else 'ended'}")

    answer_one(session, response, draw)


app.command("terminate")(client_command(_terminate))


def _stop(
    session: Session,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The jobs; all are stopped or none.")],
    reason: Annotated[str, typer.Option(help="Why; the jobs' owners read it.")],
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless; made up where not given.")] = "",
) -> None:
    """End jobs of anybody as operator: they end as FAILURE, with the reason. For administrators."""
    wanted = list(dict.fromkeys(ids))
    response = session.client.admin.stop_jobs(wanted, reason, request_id=request_id)

    def draw() -> None:
        for each in wanted:
            session.write(f"{clean(each)} stopped")

    answer_one(session, response, draw)


app.command("stop")(client_command(_stop))
app.command("watch")(client_command(watch))
app.command("logs")(client_command(logs))


def _explain(session: Session, job_id: Annotated[str, typer.Argument(metavar="ID", help="The job.")]) -> None:
    """Say why a job is not running yet."""
    answer = session.client.explain_job(job_id)
    answer_one(session, answer, lambda: render.print_explanation(session, answer, SystemClock().wall_us()))


app.command("explain")(client_command(_explain))
