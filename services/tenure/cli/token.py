"""`tenure token …`: make, see and revoke tokens.

A secret goes to standard output alone, so that `tenure token create … > file` is the whole of it; what else there is to
say goes to standard error.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from tenure.cli.answer import answer_many, answer_one, as_line
from tenure.cli.command import client_command
from tenure.cli.grid import Cell, Grid
from tenure.cli.session import Output, Session
from tenure.cli.text import clean, instant
from tenure.cli.words import word
from tenure.v1 import admin_service_pb2

app = typer.Typer(
    name="token",
    help="Make, see and revoke tokens.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class RoleName(StrEnum):
    """What a token may do, as it is typed."""

    USER = "user"
    WORKER = "worker"
    ADMIN = "admin"


_ROLES = {
    RoleName.USER: admin_service_pb2.ROLE_USER,
    RoleName.WORKER: admin_service_pb2.ROLE_WORKER,
    RoleName.ADMIN: admin_service_pb2.ROLE_ADMIN,
}


def _create(
    session: Session,
    role: Annotated[RoleName, typer.Option(help="user: own jobs; worker: the worker stream; admin: everything.")],
    subject: Annotated[str, typer.Option(metavar="NAME", help="Who it speaks for: the owner of its jobs.")],
    project: Annotated[str, typer.Option(help="Project of its jobs, whose members see them.")] = "",
    queue: Annotated[
        list[str] | None, typer.Option(help="Bind a worker's token to this queue; repeatable. [default: any queue]")
    ] = None,
) -> None:
    """Make a token. Its secret is printed once, on standard output, and nobody can get it again."""
    made = session.client.admin.create_token(_ROLES[role], subject, project=project, queues=queue or ())

    def draw() -> None:
        session.write(made.secret)
        session.flush()
        where = " Keep it in a file that only its owner can read." if sys.stdout.isatty() else ""
        sys.stderr.write(f"tenure: token {clean(made.token.id)}: {_about(made.token)}. It is shown this once.{where}\n")

    answer_one(session, made, draw)


app.command("create")(client_command(_create))


def _about(token: admin_service_pb2.Token) -> str:
    project = f" of project {clean(token.project)}" if token.project else ""
    queues = f", for {', '.join(map(clean, token.queues))}" if token.queues else ""
    return f"{_role(token)} {clean(token.subject)}{project}{queues}"


def _role(token: admin_service_pb2.Token) -> str:
    return word(admin_service_pb2.Role, token.role).lower()


def _list(
    session: Session,
    revoked: Annotated[bool, typer.Option("--revoked", help="Those that were revoked too.")] = False,
) -> None:
    """List the tokens, the oldest first, without their secrets."""
    found = session.client.admin.browse_tokens(page_size=1000)
    shown = (token for token in found if revoked or not token.HasField("revoked_at"))
    answer_many(session, shown, _grid, "there is no token")


app.command("list")(client_command(_list))


def _grid(tokens: list[admin_service_pb2.Token]) -> Grid:
    grid = Grid(columns=("ID", "ROLE", "SUBJECT", "PROJECT", "QUEUES", "CREATED", "REVOKED"))
    for token in tokens:
        revoked = instant(token.revoked_at) if token.HasField("revoked_at") else ""
        grid.add(
            clean(token.id),
            _role(token),
            clean(token.subject),
            clean(token.project),
            clean(", ".join(token.queues)),
            instant(token.created_at),
            Cell(text=revoked, style="red"),
        )
    return grid


def _revoke(
    session: Session,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The tokens, as `tenure token list` shows them.")],
) -> None:
    """Revoke tokens: calls with them are refused from now on, and what they have opened ends."""
    wanted = list(dict.fromkeys(ids))
    for each in wanted:
        session.client.admin.revoke_token(each)
        if session.output is Output.TABLE:
            session.write(f"{clean(each)} revoked")
    if session.output is not Output.TABLE:
        session.write(as_line({"revoked": wanted}))


app.command("revoke")(client_command(_revoke))
