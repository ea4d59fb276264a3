"""A new log of exported events: the same positions, streams and times, in a new epoch.

Takes what `export` wrote, and lines of events without its heading, as `tenure events -o jsonl` prints them. Everything
else is made anew: the stored bytes, the hash chain, the rows. What a log cannot hold is refused, and nothing is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from google.protobuf.json_format import ParseDict, ParseError

from tenure.domain import events as e
from tenure.events.v1 import event_pb2
from tenure.store import chain, codec, decoding
from tenure.store.anchor import NAME as ANCHOR
from tenure.store.anchor import Anchor, write_anchor
from tenure.store.export import FORMAT, Progress
from tenure.store.new_file import sync
from tenure.store.rebuild import rebuild
from tenure.store.replay import BrokenStream
from tenure.store.restore import PARTS, clear
from tenure.store.sqlite_open import lock_directory
from tenure.store.sqlite_schema import NAME, BadDatabase, connect_writer, create_schema, read_head
from tenure.store.store import Head, StoreError

# Events of one commit.
COMMIT = 256
_DRAFT = ".tenure.db.importing"

EventRow = tuple[int, int, int, int, int, bytes]


class BadExport(StoreError):
    """The lines are no log; the text says which and why. Nothing was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What the first line says of the log. `position` -1: it is not said."""

    log_id: str
    epoch: int
    position: int = -1


def import_log(lines: Iterable[str], directory: Path, *, log_id: str, progress: Progress) -> Head:
    """Make a log of exported events in a data directory that holds none; returns its end.

    Args:
        lines: of the export.
        directory: made where it is missing.
        log_id: of the new log, where the export does not say its own.
        progress: told how far it is.

    Raises:
        StoreLocked: a server has the directory open.
        BadDatabase: there is a store already.
        BadExport: the lines are no log.
        OSError: something cannot be written.
    """
    lock = lock_directory(directory)
    draft = directory / _DRAFT
    try:
        if any((directory / name).exists() for name in (ANCHOR, *(f"{NAME}{part}" for part in PARTS))):
            raise BadDatabase(f"{directory} holds a log already: name another directory")
        clear(draft)
        head = _drafted(lines, draft, log_id, progress)
        draft.rename(directory / NAME)
        write_anchor(directory, Anchor(log_id=head.log_id, epoch=head.epoch, position=head.position, hash=head.hash))
    finally:
        with suppress(OSError):
            clear(draft)
        lock.release()
    return head


def _drafted(lines: Iterable[str], draft: Path, log_id: str, progress: Progress) -> Head:
    """The log in a file, on disk."""
    draft.touch(mode=0o600)
    connection = connect_writer(draft)
    try:
        heading, values = _opened(_values(lines), log_id)
        connection.execute("BEGIN IMMEDIATE")
        create_schema(connection, heading.log_id)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(heading.epoch),))
        _write(connection, values, heading, progress)
        for position in rebuild(connection):
            progress(position, position)
        connection.execute("COMMIT")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        head = read_head(connection)
    except (BrokenStream, decoding.DecodeError) as error:
        raise BadExport(f"{error}; nothing was made") from error
    except apsw.Error as error:
        raise BadDatabase(f"the log cannot be written ({type(error).__name__}): is the disk full?") from error
    finally:
        connection.close()
    sync(draft)
    return head


def _values(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of the lines, with their numbers."""
    try:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            value = json.loads(line)
            if not isinstance(value, dict):
                raise BadExport(f"line {number} is no JSON object")
            yield number, value
    except UnicodeDecodeError as error:
        raise BadExport("it is no text") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadExport(f"line {number} is no JSON") from error


def _opened(
    values: Iterator[tuple[int, dict[str, Any]]], log_id: str
) -> tuple[Heading, Iterator[tuple[int, dict[str, Any]]]]:
    """The heading, and the events after it."""
    first = next(values, None)
    if first is None:
        raise BadExport("it is empty")
    number, value = first
    if "tenureLog" not in value:
        return Heading(log_id=log_id, epoch=1), _chained(first, values)
    if value["tenureLog"] != FORMAT:
        raise BadExport(f"line {number}: an export of format {value['tenureLog']!r}; this version knows {FORMAT}")
    try:
        # A new epoch: who has seen the other log must notice that this is not its continuation.
        return Heading(
            log_id=str(value["logId"]), epoch=int(value["epoch"]) + 1, position=int(value["position"])
        ), values
    except (KeyError, TypeError, ValueError) as error:
        raise BadExport(f"line {number}: the heading does not say what log it is") from error


def _chained(
    first: tuple[int, dict[str, Any]], rest: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    yield first
    yield from rest


def _write(
    connection: apsw.Connection, values: Iterator[tuple[int, dict[str, Any]]], heading: Heading, progress: Progress
) -> None:
    """Events and commits; inside a transaction of the caller's."""
    streams: dict[str, tuple[int, int]] = {}
    rows: list[EventRow] = []
    running, position = chain.START, 0
    for number, value in values:
        message = _event(value, number)
        position += 1
        if message.position != position:
            raise BadExport(f"line {number} is position {message.position}, where {position} comes: a log is whole")
        rows.append(_row(message, streams))
        if len(rows) == COMMIT:
            running = _commit(connection, rows, running)
            progress(position, max(position, heading.position))
            rows.clear()
    if rows:
        _commit(connection, rows, running)
    if heading.position >= 0 and position != heading.position:
        raise BadExport(f"it ends at position {position}, and should reach {heading.position}: it was cut off")


def _event(value: dict[str, Any], number: int) -> event_pb2.Event:
    try:
        return ParseDict(value, event_pb2.Event())
    except ParseError as error:
        raise BadExport(f"line {number} is no event of this version: {error}") from error


def _row(message: event_pb2.Event, streams: dict[str, tuple[int, int]]) -> EventRow:
    """The row of an event, its bytes made anew. `streams` has the number and version of each stream."""
    position, name = message.position, message.stream
    number, version = streams.get(name, (position, 0))
    if message.stream_version != version + 1:
        raise BadExport(f"position {position}: {name} goes from version {version} to {message.stream_version}")
    streams[name] = number, version + 1
    payload = decoding.payload(message, position)
    time_us = message.time.seconds * 1_000_000 + message.time.nanos // 1000
    data = codec.encode(
        e.NewEvent(event_id=message.event_id, time_us=time_us, actor=message.actor, payload=payload),
        stream=name if number == position else "",
        request_id=message.request_id,
        request_digest=message.request_digest,
    )
    return position, number, message.stream_version, codec.TYPE_OF[type(payload)], time_us, data


def _commit(connection: apsw.Connection, rows: list[EventRow], running: bytes) -> bytes:
    connection.executemany(
        "INSERT INTO events (position, stream, version, type, time_us, data) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
    running = chain.advance(running, ((p, s, v, time_us, data) for p, s, v, _, time_us, data in rows))
    connection.execute("INSERT INTO commits (position, hash) VALUES (?, ?)", (rows[-1][0], running))
    return running
