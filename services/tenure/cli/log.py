"""`tenure log`: is the log whole, and its rows made anew. Works on the data directory of a stopped server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tenure.cli.failures import EXIT_REFUSED, Problem
from tenure.store.offline import accept_log, rebuild_directory, verify_directory
from tenure.store.open import BadAddress, directory_of
from tenure.store.store import Head, StoreError, VerifyReport

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Verify and rebuild the log of a stopped server.",
)

StoreOption = Annotated[
    str,
    typer.Option("--store", envvar="TENURE_STORE", help="The store: sqlite:///DIR, or sqlite:DIR for a relative one."),
]


@app.command("verify")
def verify_command(
    store: StoreOption,
    write_anchor: Annotated[
        bool,
        typer.Option("--write-anchor", help="Go on with the log as it is, even if its end was lost."),
    ] = False,
) -> None:
    """Check everything: dense positions, the hash chain, every event, and that the rows are what the log makes.

    Ends with 0 when all is well, and with 1 when something is wrong.
    """
    directory = _directory(store)
    try:
        if write_anchor:
            anchor = accept_log(directory)
            print(f"anchored: position {anchor.position}, chain {anchor.hash.hex()[:8] or 'empty'}")
        head, report = _verify(directory)
    except (StoreError, OSError) as error:
        raise Problem(str(error), exit_code=EXIT_REFUSED) from error
    if report.problems:
        raise Problem(
            "the log is not whole",
            details=report.problems,
            exit_code=EXIT_REFUSED,
        )
    chain = head.hash.hex()[:8] or "empty"
    print(f"verified: {report.events} events, {report.jobs} jobs, chain {chain}")


@app.command("rebuild")
def rebuild_command(store: StoreOption) -> None:
    """Make the rows of jobs and queues anew from the log: all of them, or, when the log is wrong, none."""
    directory = _directory(store)
    reached = 0
    try:
        with _progress() as progress:
            task = progress.add_task("rebuilding", total=None)
            for position, last in rebuild_directory(directory):
                reached = position
                progress.update(task, total=last, completed=position)
    except (StoreError, OSError) as error:
        raise Problem(str(error), exit_code=EXIT_REFUSED) from error
    print(f"rebuilt: {reached} events")


def _verify(directory: Path) -> tuple[Head, VerifyReport]:
    steps = verify_directory(directory)
    head, report = next(steps)  # there is always a last report
    with _progress() as progress:
        task = progress.add_task("verifying", total=head.position, completed=report.position)
        for _, report in steps:
            progress.update(task, completed=report.position)
    return head, report


def _directory(store: str) -> Path:
    try:
        return directory_of(store)
    except BadAddress as error:
        raise Problem(str(error)) from error


def _progress() -> Progress:
    """A bar on standard error, where there is a terminal, that is gone when it is done."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
