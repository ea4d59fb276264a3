"""`tenure jobs create`: from a file, from options, or from a file with options over it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

import typer
from google.protobuf.duration_pb2 import Duration

from tenure.cli import choices
from tenure.cli.answer import as_line, as_text
from tenure.cli.documents import Submission, read_submission
from tenure.cli.failures import Problem, refusal
from tenure.cli.reading import DocumentError
from tenure.cli.session import Output, Session
from tenure.cli.text import clean, to_duration
from tenure.runtime.ids import Uuid7Ids
from tenure.v1 import job_pb2

if TYPE_CHECKING:
    from tenure.client import TenureError

MAX_ITEMS = 1000
# Under the 4 MiB of a message, with room for what is around the items.
MAX_BYTES = 3_500_000
_ITEM_OVERHEAD = 16
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Progress(Protocol):
    """Told as jobs are created."""

    def __call__(self, created: int) -> None:
        """So many have been created."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One CreateJobs call of a submission.

    Attributes:
        specifications: its items.
        first: number of its first item in the whole submission, from 0.
        request_id: of its own, the same whenever the same submission is cut again.
    """

    specifications: Sequence[job_pb2.JobSpecification]
    first: int
    request_id: str


def create(
    session: Session,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="After --: program to run and its arguments. Never a shell."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", help="Job or jobs as JSON or YAML, a Kelpie job or a UCloud bulk request; - is stdin."
        ),
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="Queue to wait in.")] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name for people.")] = None,
    time: Annotated[
        str | None, typer.Option("--time", "-t", help="How long it may hold its machine: 90s, 1h30m, 2d.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="Environment; repeatable.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE", help="Label; repeatable.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    max_failures: Annotated[int | None, typer.Option(help="Failures that end the job.")] = None,
    heartbeat_interval: Annotated[str | None, typer.Option(metavar="TIME", help="How often its worker beats.")] = None,
    grace: Annotated[str | None, typer.Option(metavar="TIME", help="Time to save its work before SIGTERM.")] = None,
    application: Annotated[str | None, typer.Option(metavar="NAME@VERSION", help="Application to run.")] = None,
    product: Annotated[str | None, typer.Option(metavar="PROVIDER/CATEGORY/ID", help="Product to run on.")] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="Where its changes are announced.")] = None,
    allow_duplicate: Annotated[
        bool | None, typer.Option("--allow-duplicate/--no-duplicate", help="Whether a live job like it may exist.")
    ] = None,
    project: Annotated[str, typer.Option(help="Project that owns the job.")] = "",
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless; made up where not given.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, create nothing.")] = False,
) -> None:
    """Create jobs and print their ids.

    Example: tenure jobs create --queue gpu --time 2h --env STEPS=100 -- python main.py --fast
    """
    over = job_pb2.JobSpecification(
        queue=queue or "",
        name=name or "",
        webhook=webhook or "",
        environment=choices.pairs("--env", env or ()),
        labels=choices.pairs("--label", label or ()),
        max_failures=max_failures,
        allow_duplicate_job=allow_duplicate,
        time_allocation=_span("--time", time),
        heartbeat_interval=_span("--heartbeat-interval", heartbeat_interval),
        termination_grace_period=_span("--grace", grace),
        application=choices.application("--application", application) if application else None,
        product=choices.product("--product", product) if product else None,
        command=command[0] if command else "",
        arguments=command[1:] if command else (),
    )
    _in_range(priority, max_failures)
    submission = _from_file(file) if file else Submission(specifications=(job_pb2.JobSpecification(),))
    if not file and not command and not application:
        raise Problem(
            "nothing to run",
            hints=["give a command after --, or --file FILE, or --application NAME@VERSION; see --help"],
        )
    jobs = [_overridden(each, over, priority) for each in submission.specifications]
    calls = cut(jobs, request_id or submission.request_id or Uuid7Ids().new())
    _send(session, calls, len(jobs), project or submission.project, dry_run or submission.validate_only)


def cut(specifications: Sequence[job_pb2.JobSpecification], request_id: str) -> list[Call]:
    """The calls that a submission takes: at most 1000 items and a message's size each.

    Args:
        specifications: all of them.
        request_id: of the whole; when there are several calls, each gets one derived from it.

    Raises:
        Problem: the request id is none, or is too long to derive others from.
    """
    if not _REQUEST_ID.fullmatch(request_id):
        raise Problem(f"--request-id: {request_id!r} is not 1 to 64 characters of A-Z a-z 0-9 . _ -")
    pieces: list[list[job_pb2.JobSpecification]] = [[]]
    weight = 0
    for each in specifications:
        size = each.ByteSize() + _ITEM_OVERHEAD
        if pieces[-1] and (len(pieces[-1]) == MAX_ITEMS or weight + size > MAX_BYTES):
            pieces.append([])
            weight = 0
        pieces[-1].append(each)
        weight += size
    longest = f"{request_id}-{len(pieces)}"
    if len(pieces) > 1 and not _REQUEST_ID.fullmatch(longest):
        raise Problem(f"--request-id: it is too long for {len(pieces)} calls; leave {len(longest) - 64} characters out")
    calls = []
    first = 0
    for number, piece in enumerate(pieces, start=1):
        own = request_id if len(pieces) == 1 else f"{request_id}-{number}"
        calls.append(Call(specifications=piece, first=first, request_id=own))
        first += len(piece)
    return calls


def _send(session: Session, calls: Sequence[Call], total: int, project: str, validate_only: bool) -> None:
    from tenure.client import TenureError

    created: list[str] = []
    token = ""
    try:
        with _progress_bar(total, shown=len(calls) > 1) as progress:
            for call in calls:
                try:
                    response = session.client.create_jobs(
                        call.specifications, project=project, request_id=call.request_id, validate_only=validate_only
                    )
                except TenureError as error:
                    raise _explained(error, call, calls, session.server, total) from None
                ids = [each.id for each in response.responses if each.id]
                created += ids
                token = response.resume_token
                if session.output is not Output.JSON:
                    _print_ids(session, ids)
                progress(call.first + len(call.specifications))
    finally:
        # What was created before a later call failed exists, and whoever asked needs its ids.
        if session.output is Output.JSON and (created or validate_only):
            session.write(as_text({"responses": [{"id": each} for each in created], "resumeToken": token}))
    if validate_only and session.output is Output.TABLE:
        session.write(f"{total} job{'' if total == 1 else 's'} would be created")
    elif created:
        session.note(f"watch: tenure jobs watch {created[0] if total == 1 else '…'}")


def _print_ids(session: Session, ids: Sequence[str]) -> None:
    for each in ids:
        session.write(clean(each) if session.output is Output.TABLE else as_line({"id": each}))


def _explained(error: TenureError, call: Call, calls: Sequence[Call], server: str, total: int) -> Problem:
    """The failure of one call in terms of the whole submission."""
    from tenure.client import FieldViolation

    if len(calls) > 1:
        error.request_id = call.request_id.rpartition("-")[0]
    error.field_violations = tuple(
        FieldViolation(field=_shifted(each.field, call.first), description=each.description)
        for each in error.field_violations
    )
    problem = refusal(error, server, many=total > 1)
    if call.first:
        problem.details += (f"{call.first} of {total} jobs were created before; none of the others",)
    return problem


def _shifted(field: str, first: int) -> str:
    return re.sub(r"^items\[(\d+)\]", lambda match: f"items[{int(match[1]) + first}]", field)


@contextmanager
def _progress_bar(total: int, *, shown: bool) -> Iterator[Progress]:
    """A bar on standard error while many jobs are created, when somebody sees it."""
    if not shown or not sys.stderr.isatty():
        yield lambda created: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("creating jobs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("create", total=total)
        yield lambda created: bars.update(task, completed=created)


def _from_file(file: str) -> Submission:
    name = "standard input" if file == "-" else file
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Problem(f"--file: cannot read {name}: {error.strerror or 'it is not readable'}") from None
    try:
        return read_submission(data)
    except DocumentError as error:
        raise Problem(f"{clean(name)} cannot be used", details=[clean(each, 300) for each in error.problems]) from None


def _overridden(
    asked: job_pb2.JobSpecification, over: job_pb2.JobSpecification, priority: int | None
) -> job_pb2.JobSpecification:
    """A specification with what the options say over it.

    Environment and labels are joined; a command replaces the arguments too, a queue the product and the other way.
    """
    made: Any = job_pb2.JobSpecification()
    made.CopyFrom(asked)
    for field, _ in over.ListFields():
        # Merging would leave the nanoseconds of a span, or the version of an application, that was there before.
        if field.name not in ("environment", "labels"):
            made.ClearField(field.name)
    if over.command:
        made.ClearField("arguments")
    if over.queue:
        made.ClearField("product")
    elif over.HasField("product"):
        made.ClearField("queue")
    made.MergeFrom(over)
    if priority is not None:
        made.priority = priority
    return cast(job_pb2.JobSpecification, made)


def _in_range(priority: int | None, max_failures: int | None) -> None:
    if priority is not None and not -(2**31) <= priority < 2**31:
        raise Problem(f"--priority: {priority} is not between {-(2**31)} and {2**31 - 1}")
    if max_failures is not None and not 1 <= max_failures <= 1000:
        raise Problem(f"--max-failures: {max_failures} is not between 1 and 1000")


def _span(option: str, text: str | None) -> Duration | None:
    return to_duration(choices.span(option, text)) if text is not None else None
