"""Messages from and to JSON, in the standard mapping of proto3.

Everything that cannot be used is reported with its path in what the caller wrote (`items[7].specification.queue`):
unknown fields, values of a wrong type, instants that are none. Values never appear in the reports: they may be secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tenure.runtime.calls import MessageT
from tenure.web.answers import json_bytes
from tenure.web.failures import MAX_PROBLEMS, Problem, invalid

# Larger ones are converted in a thread: the loop must not stand still for a page of a thousand jobs.
LARGE_BYTES = 64 * 1024

_WELL_KNOWN = {
    "google.protobuf.Timestamp": 'an instant, as in "2026-01-31T12:00:00Z"',
    "google.protobuf.Duration": 'a span in seconds, as in "90s" or "0.5s"',
    "google.protobuf.Struct": "an object",
    "google.protobuf.Value": "a value",
    "google.protobuf.ListValue": "a list",
}
_KINDS = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number of 32 bits, not negative",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number of 64 bits, not negative",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_MESSAGE: "an object",
}


async def from_json(message_class: type[MessageT], value: Any, size: int = 0) -> MessageT:
    """The message of a JSON value that was read from about so many bytes.

    Raises:
        Unacceptable: something in it cannot be used.
    """
    if size > LARGE_BYTES:
        return await asyncio.to_thread(_from_json, message_class, value)
    return _from_json(message_class, value)


async def to_json(message: Message) -> bytes:
    """A message as JSON; fields without a value are written with their default, as the command line does."""
    if message.ByteSize() > LARGE_BYTES:
        return await asyncio.to_thread(_to_json, message)
    return _to_json(message)


def _to_json(message: Message) -> bytes:
    return json_bytes(json_format.MessageToDict(message, always_print_fields_with_no_presence=True))


def _from_json(message_class: type[MessageT], value: Any) -> MessageT:
    message = message_class()
    if _fits(value, message):
        return message
    problems = list(_limited(_problems(cast(Descriptor, message_class.DESCRIPTOR), value, "")))
    raise invalid(problems or [Problem("", "it cannot be read as " + message_class.DESCRIPTOR.full_name)])


def _fits(value: Any, message: Message) -> bool:
    if not isinstance(value, dict):
        return False
    try:
        json_format.ParseDict(value, message)
    except (json_format.ParseError, ValueError, TypeError, OverflowError, RecursionError, AttributeError):
        return False
    return True


def _limited(problems: Iterator[Problem]) -> Iterator[Problem]:
    for problem, _ in zip(problems, range(MAX_PROBLEMS), strict=False):
        yield problem


def _problems(descriptor: Descriptor, value: Any, path: str) -> Iterator[Problem]:
    """What is wrong with a value that does not fit; looks into what does not fit only, so that it ends soon."""
    if not isinstance(value, dict):
        yield Problem(path, "must be an object")
        return
    names = {name: field for field in descriptor.fields for name in (field.json_name, field.name)}
    seen: dict[str, str] = {}
    for key, each in value.items():
        place = f"{path}.{key[:64]}" if path else key[:64]
        field = names.get(key)
        if field is None:
            yield Problem(place, "there is no such field")
        elif field.name in seen:
            yield Problem(place, f"is there twice, as {seen[field.name]} too")
        else:
            seen[field.name] = key
            yield from _of_field(descriptor, field, key, each, place)


def _of_field(descriptor: Descriptor, field: FieldDescriptor, key: str, value: Any, place: str) -> Iterator[Problem]:
    if _fits({key: value}, GetMessageClass(descriptor)()):
        return
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map and isinstance(value, dict):
        assert field.message_type is not None
        entry = field.message_type.fields_by_name["value"]
        for name, each in value.items():
            if not _fits({key: {name: each}}, GetMessageClass(descriptor)()):
                yield from _of_element(entry, each, f'{place}["{name[:64]}"]')
    elif field.is_repeated and not is_map and isinstance(value, list):
        for index, each in enumerate(value):
            if not _fits({key: [each]}, GetMessageClass(descriptor)()):
                yield from _of_element(field, each, f"{place}[{index}]")
    elif field.is_repeated:
        yield Problem(place, "must be an object" if is_map else "must be a list")
    else:
        yield from _of_element(field, value, place)


def _of_element(field: FieldDescriptor, value: Any, place: str) -> Iterator[Problem]:
    message = field.message_type
    if message is not None and message.full_name not in _WELL_KNOWN and isinstance(value, dict):
        found = False
        for problem in _problems(message, value, place):
            found = True
            yield problem
        if not found:
            yield Problem(place, "cannot be used")
        return
    if message is not None:
        what = _WELL_KNOWN.get(message.full_name, "an object")
    elif field.enum_type is not None:
        what = "one of " + ", ".join(each.name for each in field.enum_type.values)
    else:
        what = _KINDS[field.cpp_type]
        if field.type == FieldDescriptor.TYPE_BYTES:
            what = "bytes in base64"
    yield Problem(place, f"must be {what}")
