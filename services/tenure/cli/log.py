"""`tenure log`: is the log whole, how is it, and copies of it.

A running server keeps its log to itself, so it is asked; the data directory of a stopped one is opened here. With
`--store` the directory decides which of the two it is: when a server has it, that server is found and asked. Without,
the server is asked; where none is named and none listens, the directory that `tenure serve` has by default is opened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tenure.cli.answer import answer_one
from tenure.cli.command import options_command
from tenure.cli.failures import EXIT_REFUSED, EXIT_UNREACHABLE, Problem
from tenure.cli.local_token import is_this_machine, servers_of
from tenure.cli.log_copies import export_command, import_command, restore_command
from tenure.cli.log_directory import StoreOption, bar, data_directory, refusals, waiting
from tenure.cli.session import DEFAULT_SERVER, Options, Output, Session, open_session
from tenure.cli.text import clean, size
from tenure.store.lock import StoreLocked
from tenure.store.offline import (
    accept_directory,
    anchor_says,
    backup_directory,
    head_of_directory,
    rebuild_directory,
    verify_directory,
)
from tenure.store.open import directory_of
from tenure.store.sqlite_schema import NAME
from tenure.v1 import admin_service_pb2

# Of `tenure serve`.
DEFAULT_STORE = "sqlite:tenure-data"

app = typer.Typer(
    name="log",
    help="Verify, back up, restore and export the log.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

OptionalStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="TENURE_STORE",
        help="The store, sqlite:///DIR or sqlite:DIR; opened here when no server has it. [default: ask the server]",
    ),
]


def _verify(
    options: Options,
    store: OptionalStore = None,
    write_anchor: Annotated[
        bool,
        typer.Option(
            "--write-anchor", help="Where all else is well, go on with the log even if its end was lost; needs --store."
        ),
    ] = False,
) -> None:
    """Check everything: dense positions, the hash chain, every event, the rows that the log makes, and the anchor.

    Ends with 0 when all is well, and with 1 when something is wrong.
    """
    if write_anchor and store is None:
        raise Problem("--write-anchor is for the log of a stopped server: give its --store")
    if store is None:
        try:
            _verify_by_server(options)
            return
        except Problem as problem:
            store = _left_here(options, problem)
    directory = data_directory(store)
    with refusals():
        try:
            given_up = anchor_says(directory) if write_anchor else ""
            steps = accept_directory(directory) if write_anchor else verify_directory(directory)
            head, report = next(steps)  # there is always a last report
        except StoreLocked as locked:
            if write_anchor:
                raise
            _verify_by_server(_holder(directory, options, locked))
            return
        with bar("verifying") as progress:
            for head, report in steps:
                progress(report.position, head.position)
    _tell_problems(report.problems, "the log is not whole" + (": no anchor was written" if write_anchor else ""))
    chain = head.hash.hex()[:8] or "empty"
    print(f"verified: {report.events} events, {report.jobs} jobs, chain {chain}")
    if write_anchor:
        print(f"anchored: position {head.position}, chain {chain}")
    if given_up:
        sys.stderr.write(f"tenure: given up: {given_up}\n")


app.command("verify")(options_command(_verify))


def _verify_by_server(options: Options) -> None:
    with _asking(options) as session:
        with waiting(f"{session.server} checks its log"):
            report = session.client.admin.verify_log()
        if session.output is not Output.TABLE:
            answer_one(session, report, lambda: None)
            if not report.ok:
                raise typer.Exit(EXIT_REFUSED)
            return
    _tell_problems([clean(each, 1000) for each in report.problems])
    print(f"verified by {session.server}: {report.events} events")


def _tell_problems(problems: list[str], message: str = "the log is not whole") -> None:
    if problems:
        raise Problem(message, details=problems, exit_code=EXIT_REFUSED)


def _state(options: Options, store: OptionalStore = None) -> None:
    """Show what log it is and how far it reaches: its id, its epoch, its last position and the hash of its chain."""
    if store is None:
        try:
            _state_by_server(options)
            return
        except Problem as problem:
            store = _left_here(options, problem)
    directory = data_directory(store)
    with refusals():
        try:
            head = head_of_directory(directory)
        except StoreLocked as locked:
            _state_by_server(_holder(directory, options, locked))
            return
    state = admin_service_pb2.RetrieveStoreResponse(
        engine="sqlite", log_id=head.log_id, epoch=head.epoch, position=head.position, chain_hash=head.hash
    )
    with open_session(options) as session:
        _show_state(session, state)


app.command("state")(options_command(_state))


def _state_by_server(options: Options) -> None:
    with _asking(options) as session:
        _show_state(session, session.client.admin.retrieve_store())


def _show_state(session: Session, state: admin_service_pb2.RetrieveStoreResponse) -> None:
    def draw() -> None:
        facts = {
            "engine": state.engine,
            "log": state.log_id,
            "epoch": str(state.epoch),
            "position": str(state.position),
            "chain": state.chain_hash.hex() or "empty",
            "read only": state.read_only_reason,
        }
        for name, value in facts.items():
            if value:
                session.write(f"{name.ljust(9)}  {clean(value)}")

    answer_one(session, state, draw)


def _backup(
    options: Options,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, on the server's machine.")],
    store: OptionalStore = None,
) -> None:
    """Copy the store into a new file while everything goes on, and check the copy before it gets its name.

    The file is a SQLite database for `tenure log restore` and `tenure log export`. It holds the digests of tokens,
    and the secrets of webhooks as they are.
    """
    if store is not None:
        directory = data_directory(store)
        with refusals():
            try:
                made = backup_directory(directory, file.absolute())
            except StoreLocked as locked:
                options = _holder(directory, options, locked)
            else:
                with open_session(options) as session:
                    _show_backup(session, file, made.position, made.bytes)
                return
    if not file.is_absolute() and not is_this_machine(options.server or DEFAULT_SERVER):
        raise Problem(f"{file} is a file on the server's machine: give its absolute path")
    with _asking(options) as session:
        with waiting(f"{session.server} makes a backup"):
            answer = session.client.admin.backup_store(str(file.absolute()))
        _show_backup(session, file, answer.position, answer.bytes)


app.command("backup")(options_command(_backup))


def _show_backup(session: Session, file: Path, position: int, count: int) -> None:
    answer_one(
        session,
        admin_service_pb2.BackupStoreResponse(position=position, bytes=count),
        lambda: session.write(f"backed up: {position} events, {size(count)}, verified, in {file}"),
    )


@app.command("rebuild")
def rebuild_command(store: StoreOption) -> None:
    """Make the rows of jobs and queues anew from the log: all of them, or, when the log is wrong, none.

    The server must be stopped.
    """
    directory = data_directory(store)
    reached = 0
    with refusals(), bar("rebuilding") as progress:
        for position, last in rebuild_directory(directory):
            reached = position
            progress(position, last)
    print(f"rebuilt: {reached} events")


app.command("restore")(restore_command)
app.command("export")(export_command)
app.command("import")(import_command)


@contextmanager
def _asking(options: Options) -> Iterator[Session]:
    """A session whose failures say what to do about a server that is stopped."""
    try:
        with open_session(options) as session:
            yield session
    except Problem as problem:
        if problem.exit_code != EXIT_UNREACHABLE:
            raise
        hint = "the log of a stopped server is opened with --store sqlite:///DIR"
        raise Problem(
            problem.message, details=problem.details, hints=(*problem.hints, hint), exit_code=problem.exit_code
        ) from None


def _left_here(options: Options, problem: Problem) -> str:
    """The store that `tenure serve` has by default, where nobody named a server and none listens.

    Raises:
        Problem: the given one; it is something else, or there is no such store here.
    """
    if problem.exit_code != EXIT_UNREACHABLE or options.server is not None:
        raise problem
    directory = directory_of(DEFAULT_STORE)
    if not (directory / NAME).is_file():
        raise problem
    sys.stderr.write(f"tenure: nothing listens at {DEFAULT_SERVER}: opening {directory} here\n")
    return DEFAULT_STORE


def _holder(directory: Path, options: Options, locked: StoreLocked) -> Options:
    """How to ask the server that has a data directory.

    It is called with that directory's own token, so that no other server can answer in its place.
    """
    token = directory / "admin.token"
    if options.token_file is None and token.is_file():
        options = replace(options, token_file=token)
    servers = [options.server] if options.server is not None else servers_of(directory)
    for server in servers:
        asked = replace(options, server=server)
        if len(servers) == 1 or _serves(asked):
            return asked
    hint = "name that server, to have it do this: --server HOST:PORT"
    raise Problem(str(locked), hints=[hint], exit_code=EXIT_REFUSED)


def _serves(options: Options) -> bool:
    """Whether a server is there: one that was killed may have left its address behind."""
    try:
        with open_session(options) as session:
            return session.client.check_health(timeout_s=2)
    except Problem:
        return False
