"""`tenure log`: is the log whole, how is it, and a copy of it.

A running server keeps its log to itself, so it is asked; the data directory of a stopped one is opened here. With
`--store` the directory decides which of the two it is: when a server has it, that server is found and asked.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tenure.cli.answer import answer_one
from tenure.cli.command import options_command
from tenure.cli.failures import EXIT_REFUSED, EXIT_UNREACHABLE, Problem
from tenure.cli.local_token import servers_of, split_address
from tenure.cli.log_copies import export_command, import_command, restore_command
from tenure.cli.log_directory import StoreOption, bar, data_directory, offline, waiting
from tenure.cli.session import DEFAULT_SERVER, Options, Output, Session, open_session
from tenure.cli.text import clean, size
from tenure.v1 import admin_service_pb2

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
        help="The store, sqlite:///DIR or sqlite:DIR, opened here when no server has it. [default: ask the server]",
    ),
]


def _verify(
    options: Options,
    store: OptionalStore = None,
    write_anchor: Annotated[
        bool,
        typer.Option("--write-anchor", help="Go on with the log as it is, even if its end was lost; needs --store."),
    ] = False,
) -> None:
    """Check everything: dense positions, the hash chain, every event, and that the rows are what the log makes.

    Ends with 0 when all is well, and with 1 when something is wrong.
    """
    from tenure.store.lock import StoreLocked
    from tenure.store.offline import accept_log, verify_directory

    if store is None:
        if write_anchor:
            raise Problem("--write-anchor is for the log of a stopped server: give its --store")
        _verify_by_server(options)
        return
    directory = data_directory(store)
    with offline(StoreLocked):
        try:
            if write_anchor:
                anchor = accept_log(directory)
                print(f"anchored: position {anchor.position}, chain {anchor.hash.hex()[:8] or 'empty'}")
            steps = verify_directory(directory)
            head, report = next(steps)  # there is always a last report
        except StoreLocked as locked:
            _verify_by_server(_options_of(directory, options, locked))
            return
        with bar("verifying") as progress:
            for head, report in steps:
                progress(report.position, head.position)
    _tell_problems(report.problems)
    print(f"verified: {report.events} events, {report.jobs} jobs, chain {head.hash.hex()[:8] or 'empty'}")


app.command("verify")(options_command(_verify))


def _verify_by_server(options: Options) -> None:
    with _asking(options) as session, waiting(f"{session.server} checks its log"):
        report = session.client.admin.verify_log()
    if session.output is not Output.TABLE:
        answer_one(session, report, lambda: None)
        if not report.ok:
            raise typer.Exit(EXIT_REFUSED)
        return
    _tell_problems([clean(each, 1000) for each in report.problems])
    print(f"verified by {clean(session.server)}: {report.events} events")


def _tell_problems(problems: list[str]) -> None:
    if problems:
        raise Problem("the log is not whole", details=problems, exit_code=EXIT_REFUSED)


def _state(options: Options, store: OptionalStore = None) -> None:
    """Show what log it is and how far: its id, its epoch, its last position and the hash of its chain there."""
    from tenure.store.lock import StoreLocked
    from tenure.store.offline import head_of_directory

    if store is not None:
        directory = data_directory(store)
        with offline(StoreLocked):
            try:
                head = head_of_directory(directory)
            except StoreLocked as locked:
                options = _options_of(directory, options, locked)
            else:
                _show_state(
                    Session(options, None),  # type: ignore[arg-type]
                    admin_service_pb2.RetrieveStoreResponse(
                        engine="sqlite",
                        log_id=head.log_id,
                        epoch=head.epoch,
                        position=head.position,
                        chain_hash=head.hash,
                    ),
                )
                return
    with _asking(options) as session:
        _show_state(session, session.client.admin.retrieve_store())


app.command("state")(options_command(_state))


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
