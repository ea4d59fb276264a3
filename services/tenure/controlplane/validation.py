"""Bytes to messages: decoding, and the rules that stand in the protos.

Every broken rule of a message is reported, each with the path of its field as a caller would write it
(`items[7].specification.sync.before[0].prefix`). Descriptions name the rule and never repeat the value, which may be a
secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tenure.controlplane.status import MAX_VIOLATIONS, InvalidFields, Violation
from tenure.domain.errors import Reason, Refused

MessageT = TypeVar("MessageT", bound=Message)

# Finding every violation costs some 20 µs each, all of it on the event loop; a message of this size can hold enough of
# them to be felt by everybody else, so larger ones are looked through element by element until there are enough.
_SMALL_BYTES = 64 * 1024
_MAX_KEY_CHARACTERS = 64


class Validator:
    """Checks messages. One for all: rules are compiled at the first message of a type, or by `prepare`."""

    def __init__(self) -> None:
        self._engine = protovalidate.Validator()

    def prepare(self, message_classes: Iterable[type[Message]]) -> None:
        """Compile the rules of these messages now instead of in their first call."""
        for message_class in message_classes:
            self._engine.collect_violations(message_class())

    def decode(self, message_class: type[MessageT], raw: bytes) -> MessageT:
        """The message in these bytes, checked.

        Raises:
            InvalidFields: it breaks rules.
            Refused: MALFORMED_REQUEST, these bytes are no such message.
        """
        message = parse(message_class, raw)
        violations = self.violations(message, len(raw))
        if violations:
            raise InvalidFields(violations)
        return message

    def violations(self, message: Message, size: int) -> list[Violation]:
        """What rules the message (of so many bytes) breaks; of a large one at most about 50."""
        first = self._engine.collect_violations(message, fail_fast=True)
        if not first:
            return []
        if size <= _SMALL_BYTES:
            return _of_engine(self._engine.collect_violations(message))
        found = _of_engine(first)
        if "." in found[0].field:
            found = self._element_by_element(message) or found
        return found

    def _element_by_element(self, message: Message) -> list[Violation]:
        found: list[Violation] = []
        for field, value in message.ListFields():
            if field.message_type is None or not _is_list(field):
                continue
            for index, element in enumerate(value):
                large = element.ByteSize() > _SMALL_BYTES
                for violation in _of_engine(self._engine.collect_violations(element, fail_fast=large)):
                    path = f"{field.name}[{index}]"
                    if violation.field:
                        path += f".{violation.field}"
                    found.append(Violation(path, violation.description))
                if len(found) >= MAX_VIOLATIONS:
                    return found
        return found


def parse(message_class: type[MessageT], raw: bytes) -> MessageT:
    """The message in these bytes.

    Raises:
        Refused: MALFORMED_REQUEST.
    """
    message = message_class()
    try:
        message.ParseFromString(raw)
    except Exception:  # whatever a parser says of hostile bytes, it is the same to the caller
        raise Refused(
            Reason.MALFORMED_REQUEST, f"the bytes of the request are no {message.DESCRIPTOR.full_name}"
        ) from None
    return message


def _is_list(field: FieldDescriptor) -> bool:
    return field.is_repeated and not (field.message_type and field.message_type.GetOptions().map_entry)


def _of_engine(violations: Iterable[protovalidate.Violation]) -> list[Violation]:
    found = []
    for violation, _ in zip(violations, range(MAX_VIOLATIONS * 2), strict=False):
        proto = violation.proto
        description = proto.message or proto.rule_id
        if proto.for_key:
            description = f"the key {description.removeprefix('value ')}"
        found.append(Violation(_path(proto.field), description))
    return found


def _path(field: protovalidate.FieldPathPb | None) -> str:
    if field is None:
        return ""
    parts = []
    for element in field.elements:
        name = element.field_name
        match element.subscript:
            case None:
                pass
            case subscript if subscript.field == "index":
                name += f"[{subscript.value}]"
            case subscript:
                key = subscript.value
                if isinstance(key, str):
                    key = key[:_MAX_KEY_CHARACTERS]
                name += f"[{json.dumps(key, ensure_ascii=False)}]"
        parts.append(name)
    return ".".join(parts)
