"""Answers for scripts: proto3 JSON with every field, one object or one a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tenure.cli.grid import Grid, draw
from tenure.cli.session import Output, Session
from tenure.cli.text import clean_json

MessageT = TypeVar("MessageT", bound=Message)


def as_dict(message: Message) -> dict[str, Any]:
    """A message as proto3 JSON: camelCase names, fields that hold their default included."""
    return MessageToDict(message, always_print_fields_with_no_presence=True)


def as_line(value: Any) -> str:
    """JSON in one line, without control characters."""
    return clean_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def as_text(value: Any) -> str:
    """JSON for people to read, without control characters."""
    return clean_json(json.dumps(value, ensure_ascii=False, indent=2))


def answer_one(session: Session, message: Message, draw_it: Callable[[], None]) -> None:
    """One message as the user wants it.

    Args:
        session: says how, and where to.
        message: the answer.
        draw_it: prints it as a table or a page.
    """
    match session.output:
        case Output.TABLE:
            draw_it()
        case Output.JSON:
            session.write(as_text(as_dict(message)))
        case Output.JSONL:
            session.write(as_line(as_dict(message)))


def answer_many(
    session: Session, messages: Iterable[MessageT], grid: Callable[[list[MessageT]], Grid], nothing: str
) -> None:
    """A list of messages as the user wants it; lines are written as the messages come.

    Args:
        session: says how, and where to.
        messages: the answer.
        grid: makes a table of them.
        nothing: what to tell a person when there are none.
    """
    match session.output:
        case Output.TABLE:
            rows = list(messages)
            if rows or not session.fancy:
                draw(session, grid(rows))
            else:
                session.note(nothing)
        case Output.JSON:
            session.write(as_text([as_dict(message) for message in messages]))
        case Output.JSONL:
            for message in messages:
                session.write(as_line(as_dict(message)))
