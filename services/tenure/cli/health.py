"""`tenure health`: exit code 0 when the server serves, 1 when it says that it does not, 3 when it does not answer."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tenure.cli.command import client_command
from tenure.cli.failures import EXIT_REFUSED
from tenure.cli.session import Output, Session


def _health(
    session: Session,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Wait so many seconds for the answer.")] = 5.0,
) -> None:
    """Ask a server whether it serves: exit code 0 yes, 1 no, 3 no answer. Needs no token."""
    serving = session.client.check_health(timeout_s=timeout)
    if session.output is Output.TABLE:
        session.write(f"{session.server} {'is serving' if serving else 'is not serving'}")
    else:
        session.write(json.dumps({"serving": serving}))
    if not serving:
        raise typer.Exit(EXIT_REFUSED)


health = client_command(_health)
