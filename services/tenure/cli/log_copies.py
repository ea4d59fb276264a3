"""`tenure log restore | export | import`: what is done with a whole log while no server has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TextIO

import apsw
import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError

from tenure.cli.failures import EXIT_REFUSED, Problem
from tenure.cli.log_directory import StoreOption, bar, data_directory, refusals
from tenure.runtime.ids import Uuid7Ids
from tenure.store.export import Progress, export_events
from tenure.store.export_tables import export_tables
from tenure.store.import_log import import_log
from tenure.store.new_file import new_file
from tenure.store.restore import restore_directory
from tenure.store.store import Head
from tenure.v1 import job_pb2


def restore_command(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="The file that `tenure log backup` made.")],
    store: StoreOption,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put a log that is there aside, in a folder of the data directory.")
    ] = False,
) -> None:
    """Put a backup into a data directory, as a new epoch of its log. The server must be stopped.

    The backup is checked in full first. Clients that have seen what came after it are told so (DATA_LOSS).
    """
    directory = data_directory(store)
    with refusals(), bar("checking") as progress:
        restored = restore_directory(backup, directory, replace=replace, progress=progress)
    head = restored.head
    print(f"restored: position {head.position}, epoch {head.epoch}, in {directory}")
    _note(f"{restored.lost} events that came after it are gone" if restored.lost else "")
    _note(f"what was there is in {restored.kept}" if restored.kept is not None else "")
    _note("tokens are as they were then: revoke again what was revoked since (`tenure token list`)")


def export_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; - is standard output.")],
    store: Annotated[
        str | None, typer.Option("--store", envvar="TENURE_STORE", help="The store of a stopped server: sqlite:///DIR.")
    ] = None,
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="BACKUP", help="A backup instead, whatever the server does.")
    ] = None,
    sqlite: Annotated[
        bool,
        typer.Option("--sqlite", help="As plain tables in a SQLite file: jobs, attempts, updates, events, queues."),
    ] = False,
) -> None:
    """Write the log as lines of JSON, an event each, or as tables for ad hoc questions.

    Of a running server, make a backup and export that.
    """
    if backup is None and store is None:
        raise Problem("give the --store of a stopped server, or a --backup")
    source = backup if backup is not None else data_directory(store or "")
    instead = "`tenure log backup FILE` copies what a running server has; export that with --backup FILE"
    with refusals(where_locked=instead), bar("exporting") as progress:
        if str(file) != "-":
            head = _export(source, file, sqlite, progress)
        elif sqlite:
            raise Problem("--sqlite writes a database: name a file")
        else:
            head = export_events(source, sys.stdout, progress)
    _note(f"exported: {head.position} events of epoch {head.epoch}" + ("" if str(file) == "-" else f", in {file}"))


def _export(source: Path, file: Path, sqlite: bool, progress: Progress) -> Head:
    target = file.absolute()
    if not sqlite:
        with new_file(target) as draft, draft.open("w", encoding="utf-8") as out:
            return export_events(source, out, progress)
    try:
        return export_tables(source, target, _specification, progress)
    except apsw.Error as error:
        raise Problem(f"{file} cannot be written ({type(error).__name__})", exit_code=EXIT_REFUSED) from error


def _specification(data: bytes) -> str | None:
    """A stored specification as JSON; None: it is none."""
    try:
        return MessageToJson(job_pb2.JobSpecification.FromString(data), indent=None)
    except DecodeError:
        return None


def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `tenure log export` wrote; - is standard input.")],
    store: StoreOption,
) -> None:
    """Make a new log of exported events, as a new epoch, in a data directory that holds none.

    Tokens and request ids are not part of an export. Lines of `tenure events -o jsonl` will do as well.
    """
    directory = data_directory(store)
    with refusals():
        if str(file) == "-":
            head = _import(sys.stdin, directory)
        else:
            with file.open(encoding="utf-8") as lines:
                head = _import(lines, directory)
    print(f"imported: {head.position} events, epoch {head.epoch}, in {directory}")


def _import(lines: TextIO, directory: Path) -> Head:
    with bar("importing") as progress:
        return import_log(lines, directory, log_id=Uuid7Ids().new(), progress=progress)


def _note(text: str) -> None:
    """Something beside the answer."""
    if text:
        sys.stderr.write(f"tenure: {text}\n")
