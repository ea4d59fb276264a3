"""The command `tenure`: its groups and commands, each loaded only when it is called.

A command's module may be heavy (gRPC, a database, an S3 client); `tenure --help` and the others do not wait for it.
What a command raises for people (`Problem`, `TenureError`) becomes lines on standard error and an exit code here.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from tenure.cli import failures
from tenure.cli.command import global_options, options_from, with_parameters
from tenure.cli.session import DEFAULT_SERVER, Options

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command that is loaded when it is called: a function, or a typer app with commands of its own."""

    module: str
    attribute: str
    help: str


ENTRIES = {
    "serve": Entry(module="serve", attribute="serve", help="Start a control plane."),
    "worker": Entry(module="worker", attribute="worker", help="Offer this machine to a control plane and run jobs."),
    "jobs": Entry(module="jobs", attribute="app", help="Submit, see, extend and end jobs."),
    "queues": Entry(module="queues", attribute="app", help="See and configure queues."),
    "workers": Entry(module="workers", attribute="app", help="See and drain workers."),
    "events": Entry(module="events", attribute="events", help="Read the log of events."),
    "log": Entry(module="log", attribute="log", help="Verify and rebuild the log of a stopped server."),
    "demo": Entry(module="demo", attribute="demo", help="Show everything once, on this machine."),
    "health": Entry(module="health", attribute="health", help="Ask a server whether it serves."),
    "version": Entry(module="version", attribute="version", help="Print the version."),
}


class RootGroup(TyperGroup):
    """Loads the command that was called, and turns what it raises into words and an exit code."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command to call; for help and completion the entries are enough, and this is not asked."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in ENTRIES else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except failures.Problem as problem:
            lines = [problem.message, *(f"  {line}" for line in problem.details)]
            lines += [f"  → {problem.hint}"] if problem.hint else []
            _complain(lines)
            raise typer.Exit(problem.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Whoever read the answer has seen enough. Python would complain again as it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            code = _call_failed(error, ctx)
            if code is None:
                raise
            raise typer.Exit(code) from None


def load(name: str) -> Any:
    """The command behind an entry.

    Raises:
        Problem: this installation does not have it.
    """
    entry = ENTRIES[name]
    module = f"tenure.cli.{entry.module}"
    try:
        loaded = getattr(importlib.import_module(module), entry.attribute)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        message = f"`tenure {name}` is not part of this installation"
        raise failures.Problem(message, exit_code=failures.EXIT_REFUSED) from None
    if isinstance(loaded, typer.Typer):
        return typer.main.get_group(loaded)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(loaded)
    return typer.main.get_command(single)


def _call_failed(error: Exception, ctx: Any) -> int | None:
    """Print a call that failed; its exit code. None: the error is something else."""
    # Loaded only with the client: a command that does not call has no such error.
    client = sys.modules.get("tenure.client.errors")
    if client is None or not isinstance(error, client.TenureError):
        return None
    options = ctx.find_object(Options) or Options()
    lines, code = failures.lines_for(error, options.server or DEFAULT_SERVER)
    _complain(lines)
    return code


def _complain(lines: list[str]) -> None:
    sys.stdout.flush()
    sys.stderr.write("tenure: " + "\n".join(lines) + "\n")


def _root(ctx: typer.Context, **given: Any) -> None:
    """Tenure, an event-sourced job control plane."""
    if given.pop("show_version"):
        from tenure.cli.version import print_version

        print_version()
        raise typer.Exit
    ctx.obj = options_from(given)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit


def _build() -> typer.Typer:
    built = typer.Typer(
        cls=RootGroup,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    return built
