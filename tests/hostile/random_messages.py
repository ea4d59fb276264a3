"""Random messages, made from the descriptors of the protos: of the right shape, with values at the edges of every type;
and bytes that were such a message once.

What a server knows (ids of jobs, names of queues) is among the values, so that not everything ends at the rules of the
message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from tests.hostile.catalogue_values import (
    INFINITY,
    MAX_INT32,
    MAX_INT64,
    MIN_INT32,
    MIN_INT64,
    NAN,
    NO_IDS,
    NO_INSTANTS,
    NO_PRINT,
    NO_SPANS,
)

DEPTH = 7
LEASE = "LEASE"

_KNOWN: list[str] = [
    *("standing", "ended", "endless", "fixed", "capped", "still", "plain", "nowhere", LEASE),
    *(
        "true",
        "a",
        "bucket",
        "data/",
        "/no-such-root/data",
        "http://127.0.0.1:9/",
        "JobCreated",
        "job.created",
        "1.0.0",
    ),
]
_SPECIAL: list[str] = [text for text in (*NO_IDS.values(), *NO_PRINT.values()) if len(text) < 100]
_LONG = st.builds(
    lambda text, count: text * count,
    st.sampled_from(["x", "\u20ac", "\0", "{}", "a/"]),
    st.sampled_from([64, 257, 1025, 5000]),
)
TEXTS = st.one_of(
    st.sampled_from(_KNOWN), st.sampled_from(_KNOWN), st.sampled_from(_SPECIAL), st.text(max_size=20), _LONG
)  # fmt: skip
BYTES = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\0" * 65_536, b"x" * 65_537]))

_INT32 = st.one_of(
    st.sampled_from([0, 1, 2, 3, 1000, 1001, 1024, 1025, -1, MAX_INT32, MIN_INT32]), st.integers(MIN_INT32, MAX_INT32)
)
_INT64 = st.one_of(
    st.sampled_from([0, 1, 2**31, 2**40, 2**62, -1, MAX_INT64, MIN_INT64, MAX_INT64 - 1]),
    st.integers(MIN_INT64, MAX_INT64),
)
_DOUBLES = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 1.0000001, NAN, INFINITY, -INFINITY, 1e308, 5e-324]), st.floats()
)
_SPANS = st.one_of(
    st.sampled_from([Duration(seconds=s) for s in (1, 30, 3600, 86_400, 31_622_400)]),
    st.sampled_from(list(NO_SPANS.values())),
    st.builds(Duration, seconds=_INT64, nanos=_INT32),
)
_INSTANTS = st.one_of(
    st.sampled_from([Timestamp(), Timestamp(seconds=1_633_329_776)]),
    st.sampled_from(list(NO_INSTANTS.values())),
    st.builds(Timestamp, seconds=_INT64, nanos=_INT32),
)


def _value(kind: Any) -> struct_pb2.Value:
    match kind:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=kind)
        case float():
            return struct_pb2.Value(number_value=kind)
        case str():
            return struct_pb2.Value(string_value=kind)
        case list():
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_value(each) for each in kind]))
        case _:
            fields = {name: _value(each) for name, each in kind.items()}
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))


def _levels(count: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(count):
        value = [value]
    return value


_JSON = st.recursive(
    st.none() | st.booleans() | _DOUBLES | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
) | st.sampled_from([5, 31, 32, 33, 45]).map(_levels)
_VALUES = _JSON.map(_value)
_STRUCTS = st.dictionaries(st.text(max_size=3), _VALUES, max_size=2).map(lambda f: struct_pb2.Struct(fields=f))

_WELL_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "google.protobuf.Duration": _SPANS,
    "google.protobuf.Timestamp": _INSTANTS,
    "google.protobuf.Value": _VALUES,
    "google.protobuf.Struct": _STRUCTS,
}
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: TEXTS,
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_DOUBLE: _DOUBLES,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type."""
    return _messages(descriptor, DEPTH)


def _messages(descriptor: Descriptor, depth: int) -> st.SearchStrategy[Any]:
    known = _WELL_KNOWN.get(descriptor.full_name)
    if known is not None:
        return known
    fields = [(each, _of_field(each, depth)) for each in descriptor.fields if depth or each.message_type is None]

    @st.composite
    def made(draw: st.DrawFn) -> Message:
        message = GetMessageClass(descriptor)()
        # Full ones reach further, empty ones find what is missing.
        share = draw(st.sampled_from([2, 5, 9]))
        for each, strategy in fields:
            if draw(st.integers(0, 9)) < share:
                _set(message, each, draw(strategy))
        return message

    return made()


def _of_field(each: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    message = each.message_type
    if message is not None and message.GetOptions().map_entry:
        keys, values = message.fields_by_name["key"], message.fields_by_name["value"]
        return st.lists(st.tuples(_of_one(keys, depth), _of_one(values, depth)), max_size=3)
    one = st.deferred(lambda: _of_one(each, depth))
    if not each.is_repeated:
        return one
    many = st.tuples(one, st.sampled_from([33, 65, 1001])).map(lambda pair: [pair[0]] * pair[1])
    return st.one_of(st.lists(one, min_size=1, max_size=3), st.lists(one, min_size=1, max_size=2), many)


def _of_one(each: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if each.message_type is not None:
        return _messages(each.message_type, depth - 1)
    if each.enum_type is not None:
        defined = [value.number for value in each.enum_type.values]
        return st.one_of(st.sampled_from(defined), st.sampled_from([99, -1, MAX_INT32, MIN_INT32]))
    return BYTES if each.type == FieldDescriptor.TYPE_BYTES else _SCALARS[each.cpp_type]


def _set(message: Message, each: FieldDescriptor, value: Any) -> None:
    target = getattr(message, each.name)
    if each.message_type is not None and each.message_type.GetOptions().map_entry:
        for key, one in value:
            if isinstance(one, Message):
                target[key].CopyFrom(one)
            else:
                target[key] = one
    elif each.is_repeated:
        target.extend(value)
    elif each.message_type is not None:
        target.CopyFrom(value)
    else:
        setattr(message, each.name, value)


# --- bytes ------------------------------------------------------------------------------------------------------------


def mutated(raw: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes with some of them changed, gone, doubled, or put in between."""

    @st.composite
    def made(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(raw)[:20_000])
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(data)))
            length = draw(st.integers(1, 8))
            match draw(st.sampled_from(["flip", "cut", "double", "insert", "end", "number"])):
                case "flip" if at < len(data):
                    data[at] ^= 1 << draw(st.integers(0, 7))
                case "cut":
                    del data[at : at + length]
                case "double":
                    data[at:at] = data[at : at + length]
                case "insert":
                    data[at:at] = draw(st.binary(min_size=1, max_size=8))
                case "end":
                    del data[at:]
                case "number":
                    data[at:at] = b"\xff" * 9 + b"\x01"
                case _:
                    pass
        return bytes(data)

    return made()


# --- streams ----------------------------------------------------------------------------------------------------------


def with_lease(message: Message, lease_id: str) -> Message:
    """The message with a lease that is held where it names any."""
    for each, value in message.ListFields():
        if each.name in ("lease_id", "lease_ids"):
            if isinstance(value, str):
                setattr(message, each.name, lease_id if value == LEASE else value)
            else:
                value[:] = [lease_id if one == LEASE else one for one in value]
        elif each.message_type is not None and not each.message_type.GetOptions().map_entry:
            for one in _each(value):
                with_lease(one, lease_id)
    return message


def _each(value: Any) -> Iterable[Message]:
    return (value,) if isinstance(value, Message) else (one for one in value if isinstance(one, Message))
