"""Words that nobody else uses, put into every text that a request has, and the places where they may be found again.

Each field has words of its own, so that what is found somewhere says where it came from.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.hostile.scene import METHODS

CANARY = re.compile(r"canary(\d+)z")
DEPTH = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where a word was put: `JobSpecification.environment`, and what it looked like there."""

    rpc: str
    field: str
    good: bool


@dataclass
class Flock:
    """All words that were given out, by number."""

    places: dict[int, Place] = field(default_factory=dict)
    _next: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    def word(self, rpc: str, name: str, *, good: bool) -> str:
        """A word for a field; a bad one has what no id, name, URL or token has."""
        number = next(self._next)
        self.places[number] = Place(rpc, name, good)
        return f"canary{number}z" if good else f"canary{number}z \n\0"

    def found_in(self, text: str) -> set[Place]:
        """The places whose words are in a text."""
        return {self.places[int(number)] for number in CANARY.findall(text) if int(number) in self.places}


def text_fields(
    descriptor: Descriptor, path: tuple[FieldDescriptor, ...] = ()
) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The ways to every text, and to all bytes, in a message; maps as a whole, the same message once on a way."""
    for each in descriptor.fields:
        if is_map(each) or each.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            yield (*path, each)
        elif each.message_type is not None and len(path) < DEPTH and each not in path:
            yield from text_fields(each.message_type, (*path, each))


def is_map(one: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    return one.message_type is not None and one.message_type.GetOptions().map_entry


def name_of(one: FieldDescriptor) -> str:
    """`JobSpecification.environment`; nested messages with the one around them."""
    return one.full_name.removeprefix("tenure.v1.").removeprefix("google.protobuf.")


def requests(flock: Flock, rpc: str, base: Message | None = None) -> Iterator[Message]:
    """Requests with one word each, over a good request where there is one: every text field, good and bad."""
    descriptor = METHODS[rpc].input_type
    for path in text_fields(descriptor):
        for good in (True, False):
            message = GetMessageClass(descriptor)()
            if base is not None:
                message.CopyFrom(base)
            _put(message, path, flock, rpc, good)
            yield message


def _put(message: Message, path: tuple[FieldDescriptor, ...], flock: Flock, rpc: str, good: bool) -> None:
    target: Any = message
    for each in path[:-1]:
        child = getattr(target, each.name)
        if each.is_repeated:
            target = child[0] if len(child) else child.add()
        else:
            child.SetInParent()
            target = child
    last = path[-1]
    name = name_of(last)
    word = flock.word(rpc, name, good=good)
    if is_map(last):
        _put_pair(getattr(target, last.name), last, word, flock.word(rpc, name + " key", good=good))
        return
    value: str | bytes = word
    if last.type == FieldDescriptor.TYPE_BYTES:
        value = word.encode()
    elif last.name in ("url", "webhook"):
        value = f"https://user:{word}@127.0.0.1/" if not good else f"https://127.0.0.1:9/?token={word}"
    if last.is_repeated:
        getattr(target, last.name).append(value)
    else:
        setattr(target, last.name, value)


def _put_pair(pairs: Any, one: FieldDescriptor, word: str, key: str) -> None:
    """Keys are names, which may be shown: only in the first of the two pairs is it a word."""
    assert one.message_type is not None
    if one.message_type.fields_by_name["value"].message_type is not None:
        pairs[key].string_value = "x"
        pairs["NAME"].string_value = word
    else:
        pairs[key] = "x"
        pairs["NAME"] = word


def files_below(folders: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Every file below folders with what is in it."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes().decode("latin-1")
