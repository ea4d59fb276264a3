"""The command `tenure`: its groups and commands, each loaded only when it is called.

A command's module may be heavy (gRPC, a database, an S3 client); `tenure --help` and the others do not wait for it.
A `Problem` that one raises becomes lines on standard error and an exit code here.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from tenure.cli import failures
from tenure.cli.command import global_options, options_from, with_parameters
from tenure.runtime import surroundings


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
    "webhooks": Entry(
        module="webhooks", attribute="app", help="Announce changes of jobs by HTTP, and see what became of it."
    ),
    "events": Entry(module="events", attribute="events", help="Read the log of events."),
    "log": Entry(module="log", attribute="app", help="Verify, back up, restore and export the log."),
    "token": Entry(module="token", attribute="app", help="Make, see and revoke tokens."),
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
            complain(problem.lines())
            raise typer.Exit(problem.exit_code) from None


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


def complain(lines: list[str]) -> None:
    """Print what is wrong on standard error, after what was answered so far."""
    sys.stdout.flush()
    sys.stderr.write("tenure: " + "\n".join(lines) + "\n")


def _root(ctx: typer.Context, **given: Any) -> None:
    """Tenure: an event-sourced job control plane.

    A first try: `tenure serve` in one terminal, `tenure worker` in another, then `tenure jobs create -- echo hello`.
    """
    ctx.obj = options_from(given)


def _not_loaded() -> None:
    """Stands for a command until it is called."""


def build() -> typer.Typer:
    """The whole command, nothing of it loaded."""
    built = typer.Typer(
        cls=RootGroup,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    built.callback()(with_parameters(_root, [context, *global_options(environment=True)]))
    for name, entry in ENTRIES.items():
        built.command(name, help=entry.help)(_not_loaded)
    return built


app = build()


def main() -> None:
    """Entry point of the command."""
    surroundings.settle()
    # What gRPC writes on standard error by itself is a line for each handshake that fails: what matters of it is told.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        app(prog_name="tenure")
    except OSError as error:
        if os.environ.get("TENURE_DEBUG"):
            raise
        complain([error.strerror or "the system refused something", "  → TENURE_DEBUG=1 shows where"])
        sys.exit(failures.EXIT_REFUSED)
    except Exception as error:
        if os.environ.get("TENURE_DEBUG"):
            raise
        complain([f"something unexpected went wrong ({type(error).__name__})", "  → TENURE_DEBUG=1 shows where"])
        sys.exit(failures.EXIT_REFUSED)


if __name__ == "__main__":
    main()
