"""What the commands of `tenure log` share that open a data directory themselves: its option, its errors, their bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tenure.cli.failures import EXIT_REFUSED, Problem
from tenure.store.codec import DecodeError
from tenure.store.lock import StoreLocked
from tenure.store.open import BadAddress, directory_of
from tenure.store.store import StoreError

StoreOption = Annotated[
    str,
    typer.Option("--store", envvar="TENURE_STORE", help="The store: sqlite:///DIR, or sqlite:DIR for a relative one."),
]


def data_directory(store: str) -> Path:
    """The data directory of an address.

    Raises:
        Problem: it is the address of none.
    """
    try:
        return directory_of(store)
    except BadAddress as error:
        raise Problem(str(error)) from error


@contextmanager
def refusals(*, where_locked: str = "") -> Iterator[None]:
    """What the store refuses or cannot do, as a problem to print; `where_locked`: what to do while a server has it."""
    try:
        yield
    except StoreLocked as error:
        raise Problem(str(error), hints=[where_locked] if where_locked else [], exit_code=EXIT_REFUSED) from error
    except (StoreError, DecodeError) as error:
        raise Problem(str(error), exit_code=EXIT_REFUSED) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Problem(f"{where}{error.strerror or error}", exit_code=EXIT_REFUSED) from error


@contextmanager
def bar(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where there is a terminal, that is gone when it is done; to be told how far it is."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda reached, last: progress.update(task, completed=reached, total=last)


@contextmanager
def waiting(doing: str) -> Iterator[None]:
    """A sign of life on standard error, where there is a terminal, for what does not say how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(doing):
        yield
