"""The log as text: a line that says what it is, then one event a line as proto3 JSON.

It is what somebody reads, keeps for long, or makes a new log of (`tenure log import`). The source is the data directory
of a stopped server, or a backup.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import apsw
from google.protobuf.json_format import MessageToDict

from tenure.store import codec
from tenure.store.damage import UNREADABLE, words
from tenure.store.replay import committed_pages
from tenure.store.sqlite_open import lock_directory
from tenure.store.sqlite_schema import NAME, BadDatabase, check_schema, connect_reader, read_head
from tenure.store.store import Head

FORMAT = 1

# Called with the position that was reached and the last one there is.
Progress = Callable[[int, int], None]


@contextmanager
def source_of(path: Path) -> Iterator[tuple[apsw.Connection, Path]]:
    """The database to export: that of a data directory, which is locked meanwhile, or a backup.

    Raises:
        StoreLocked: a server has the directory open.
        BadDatabase: there is no store, or it cannot be read.
    """
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise BadDatabase(f"there is no store at {path}")
    lock = lock_directory(path) if path.is_dir() else None
    try:
        connection = connect_reader(file)
        try:
            if not check_schema(connection, file):
                raise BadDatabase(f"{file} is empty")
            yield connection, file
        finally:
            connection.close()
    except (apsw.Error, *UNREADABLE) as error:
        raise BadDatabase(f"{file} cannot be read: {words(error)}") from error
    finally:
        if lock is not None:
            lock.release()


def export_events(path: Path, out: TextIO, progress: Progress) -> Head:
    """Write the log of a data directory or a backup; returns its end.

    Raises:
        StoreLocked, BadDatabase: as `source_of`; also where the log is not what was committed, once all before that
            has been written.
        OSError: it cannot be written.
    """
    with source_of(path) as (connection, _):
        head = read_head(connection)
        heading = {"tenureLog": FORMAT, "logId": head.log_id, "epoch": head.epoch, "position": head.position}
        out.write(_line({**heading, "chain": head.hash.hex()}))
        names: dict[int, str] = {}
        for page in committed_pages(connection, head.position):
            for position, number, version, _, time_us, data in page:
                if version == 1:
                    names[number] = codec.stream_named(data, position)
                event = codec.decode(
                    data, position=position, stream=names.get(number, ""), version=version, time_us=time_us
                )
                out.write(_line(MessageToDict(codec.to_message(event))))
            progress(page[-1][0], head.position)
    return head


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"
