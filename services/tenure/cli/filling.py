"""Plain values into protobuf messages, more forgiving in how they are written than proto3 JSON and as strict in what.

The descriptor of the message is the only list of fields. Every problem is noted with its place, as in
`items[7].sync.before[0].prefix`, and the rest is read on, so that a file is mended in one go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from tenure.cli.durations import parse_duration
from tenure.cli.text import to_duration

# A protobuf duration holds no more; its own checks speak of nothing a person has written.
_MAX_DURATION_S = 315_576_000_000
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class _Unfit(ValueError):
    """A value does not fit its field; the text says why."""


def fill(message: Message, value: Any, place: str, problems: list[str]) -> None:
    """Set the fields of a message from a mapping.

    Args:
        message: an empty message.
        value: a dict with the fields by name, in camelCase or snake_case; None values are as if not there.
        place: where the value stands in its document; empty: it is the document.
        problems: one line is added for each thing that is not understood.
    """
    if not isinstance(value, dict):
        problems.append(f"{place or 'the document'}: {shown(value)} is no object with named fields")
        return
    fields = cast("list[FieldDescriptor]", list(message.DESCRIPTOR.fields))
    by_name = {field.name: field for field in fields} | {field.json_name: field for field in fields}
    seen: dict[str, str] = {}
    for key, each in value.items():
        inner = f"{place}.{key}" if place else str(key)
        field = by_name.get(key)
        if field is None:
            problems.append(f"{inner}: there is no such field{_meant(str(key), by_name)}")
        elif field.name in seen:
            problems.append(f"{inner}: the field is there already as {seen[field.name]}")
        elif each is not None:
            seen[field.name] = str(key)
            _set(message, field, each, inner, problems)


def _meant(key: str, by_name: Mapping[str, FieldDescriptor]) -> str:
    close = get_close_matches(key, by_name, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _set(message: Message, field: FieldDescriptor, value: Any, place: str, problems: list[str]) -> None:
    try:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _set_map(getattr(message, field.name), field, value, place, problems)
        elif field.is_repeated:
            _set_list(getattr(message, field.name), field, value, place, problems)
        elif field.message_type is not None:
            target = getattr(message, field.name)
            target.SetInParent()
            _set_message(target, value, place, problems)
        else:
            setattr(message, field.name, _scalar(field, value))
    except _Unfit as error:
        problems.append(f"{place}: {error}")


def _set_list(target: Any, field: FieldDescriptor, value: Any, place: str, problems: list[str]) -> None:
    if not isinstance(value, list):
        message = f"{shown(value)} is no list"
        raise _Unfit(message)
    for index, each in enumerate(value):
        inner = f"{place}[{index}]"
        if field.message_type is not None:
            _set_message(target.add(), each, inner, problems)
            continue
        try:
            target.append(_scalar(field, each))
        except _Unfit as error:
            problems.append(f"{inner}: {error}")


def _set_map(target: Any, field: FieldDescriptor, value: Any, place: str, problems: list[str]) -> None:
    if not isinstance(value, dict):
        message = f"{shown(value)} is no object"
        raise _Unfit(message)
    value_field = cast(Descriptor, field.message_type).fields_by_name["value"]
    for key, each in value.items():
        inner = f"{place}.{key}"
        try:
            if value_field.message_type is not None:
                _set_message(target[key], each, inner, problems)
            else:
                target[key] = _scalar(value_field, each)
        except _Unfit as error:
            problems.append(f"{inner}: {error}")


def _set_message(target: Message, value: Any, place: str, problems: list[str]) -> None:
    try:
        match target:
            case Duration():
                target.CopyFrom(_duration(value))
            case Value() | Struct():
                _set_free(target, value)
            case _:
                fill(target, value, place, problems)
    except _Unfit as error:
        problems.append(f"{place}: {error}")


def _set_free(target: Message, value: Any) -> None:
    """Values of any shape: JSON is all there is to them."""
    try:
        json_format.ParseDict(value, target)
    except json_format.ParseError:
        message = f"{shown(value)} does not fit here"
        raise _Unfit(message) from None


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return _integer(value, *_INTEGERS[kind])
    match kind, value:
        case FieldDescriptor.CPPTYPE_STRING, str():
            if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
                message = "it holds half of a character (an unpaired surrogate)"
                raise _Unfit(message)
            return value
        case FieldDescriptor.CPPTYPE_STRING, bool() | int() | float():
            message = f"{shown(value)} is no text: put it in quotes"
            raise _Unfit(message)
        case FieldDescriptor.CPPTYPE_BOOL, bool():
            return value
        case FieldDescriptor.CPPTYPE_BOOL, _:
            message = f"{shown(value)} is neither true nor false"
            raise _Unfit(message)
        case FieldDescriptor.CPPTYPE_ENUM, str():
            return _enum(cast(EnumDescriptor, field.enum_type), value)
        case _:
            message = f"{shown(value)} does not belong here"
            raise _Unfit(message)


def _integer(value: Any, least: int, most: int) -> int:
    match value:
        case bool():
            number = None
        case int():
            number = value
        case float() if value.is_integer():
            number = int(value)
        case str() if re.fullmatch(r"-?[0-9]{1,20}", value):
            number = int(value)
        case _:
            number = None
    if number is None:
        message = f"{shown(value)} is no whole number"
        raise _Unfit(message)
    if not least <= number <= most:
        message = f"{number} is not between {least} and {most}"
        raise _Unfit(message)
    return number


def _enum(enum: EnumDescriptor, value: str) -> int:
    """Number of `DOWNLOAD`, `download` and `SYNC_DIRECTION_DOWNLOAD`."""
    names = {each.name: each.number for each in enum.values}
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    wanted = value.strip().upper().replace("-", "_")
    for name in (wanted, prefix + wanted):
        if name in names:
            return names[name]
    choices = ", ".join(name.removeprefix(prefix).lower() for name, number in names.items() if number)
    message = f"{shown(value)} is none of {choices}"
    raise _Unfit(message)


def _duration(value: Any) -> Duration:
    """From seconds, text, or hours, minutes and seconds."""
    match value:
        case bool():
            pass
        case int() | float():
            # Also keeps infinities and NaN out, which compare false.
            if 0 <= value <= _MAX_DURATION_S:
                return to_duration(round(value * 1_000_000))
            message = f"{shown(value)} seconds is no span of time"
            raise _Unfit(message)
        case str():
            return _duration_from_text(value)
        case dict():
            return _duration_from_parts(value)
        case _:
            pass
    message = f"{shown(value)} is no span of time: write seconds, 1h30m, or hours, minutes and seconds"
    raise _Unfit(message)


def _duration_from_text(value: str) -> Duration:
    try:
        span_us = parse_duration(value)
    except ValueError as error:
        raise _Unfit(str(error)) from None
    if span_us > _MAX_DURATION_S * 1_000_000:
        message = f"{value!r} is longer than 10,000 years"
        raise _Unfit(message)
    return to_duration(span_us)


def _duration_from_parts(value: Mapping[str, Any]) -> Duration:
    limits = {"hours": _MAX_DURATION_S // 3600, "minutes": 59, "seconds": 59}
    strange = next((key for key in value if key not in limits), None)
    if strange is not None or not value:
        message = f"{shown(value)} is no span of time: its fields are hours, minutes and seconds"
        raise _Unfit(message)
    parts = dict.fromkeys(limits, 0)
    for name, each in value.items():
        if each is None:
            continue
        if isinstance(each, bool) or not isinstance(each, int) or not 0 <= each <= limits[name]:
            message = f"{name} {shown(each)} is not a whole number from 0 to {limits[name]}"
            raise _Unfit(message)
        parts[name] = each
    return Duration(seconds=parts["hours"] * 3600 + parts["minutes"] * 60 + parts["seconds"])


def shown(value: Any) -> str:
    """A value as its writer knows it, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
