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

# Good values of texts, by the names of their fields; of all others "a".
MILD: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("id", "ids", "job_id", "job_ids"), ("standing", "standing", "ended", "nowhere")),
    **dict.fromkeys(("lease_id", "lease_ids"), (LEASE,)),
    **dict.fromkeys(("queue", "queues"), ("random", "still")),
    **dict.fromkeys(("page_token", "resume_token", "project", "pattern", "commit_marker"), ("",)),
    **dict.fromkeys(("url", "webhook"), ("http://127.0.0.1:9/",)),
    "request_id": ("", "", "again"),
    "command": ("true",),
    "bucket": ("bucket",),
    "prefix": ("data/",),
    "local_path": ("a", "b/c"),
    "path": ("relative",),
    "types": ("JobCreated",),
    "event_types": ("job.created",),
    "worker_id": ("w",),
    "incarnation": ("i",),
    "name": ("a", "random"),
    "key": ("a", "B"),
}
# What is refused whenever it is set to anything, and what is refused when it is left out.
UNBUILT = {"suspension", "ssh_enabled", "restart_on_exit", "resources", "application", "product"}
REQUIRED = {
    "items",
    "specification",
    "id",
    "ids",
    "job_id",
    "requested_time",
    "command",
    "url",
    "role",
    "subject",
    "name",
}

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

# Of each kind good ones, and all.
_WELL_KNOWN: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "google.protobuf.Duration": (st.sampled_from([Duration(seconds=s) for s in (1, 30, 3600)]), _SPANS),
    "google.protobuf.Timestamp": (st.just(Timestamp(seconds=1_633_329_776)), _INSTANTS),
    "google.protobuf.Value": (st.just(struct_pb2.Value(number_value=1)), _VALUES),
    "google.protobuf.Struct": (st.just(struct_pb2.Struct()), _STRUCTS),
}
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_DOUBLE: _DOUBLES,
}


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type: good ones, such with one bad value here and there, and such that are bad all over.

    The rules of a message refuse the last kind at once; what lies behind them is reached by the others.
    """
    return st.one_of(*(_messages(descriptor, DEPTH, heat) for heat in (0, 10, 20, 50)))


def _messages(descriptor: Descriptor, depth: int, heat: int) -> st.SearchStrategy[Any]:
    """`heat` is how many of a hundred values are bad."""
    known = _WELL_KNOWN.get(descriptor.full_name)
    if known is not None:
        return _either(heat, *known)
    fields = [(each, _of_field(each, depth, heat)) for each in descriptor.fields if depth or each.message_type is None]

    @st.composite
    def made(draw: st.DrawFn) -> Message:
        message = GetMessageClass(descriptor)()
        share = draw(st.sampled_from([3, 6, 9]))
        chosen: set[str] = set()
        for each, strategy in fields:
            several = each.containing_oneof is not None and each.containing_oneof.name in chosen
            if several or draw(st.integers(0, 9)) >= max(share, 9 * (each.name in REQUIRED)):
                continue
            _set(message, each, draw(strategy))
            if each.containing_oneof is not None:
                chosen.add(each.containing_oneof.name)
        return message

    return made()


def _of_field(each: FieldDescriptor, depth: int, heat: int) -> st.SearchStrategy[Any]:
    message = each.message_type
    if message is not None and message.GetOptions().map_entry:
        keys, values = message.fields_by_name["key"], message.fields_by_name["value"]
        return st.lists(st.tuples(_of_one(keys, depth, heat), _of_one(values, depth, heat)), max_size=3)
    one = st.deferred(lambda: _of_one(each, depth, heat))
    if not each.is_repeated:
        return one
    many = st.tuples(one, st.sampled_from([33, 65, 1001])).map(lambda pair: [pair[0]] * pair[1])
    few = st.lists(one, min_size=0 if each.name in UNBUILT else 1, max_size=0 if each.name in UNBUILT else 2)
    return _either(heat // 2, few, many if each.name not in UNBUILT else st.lists(one, max_size=2))


def _of_one(each: FieldDescriptor, depth: int, heat: int) -> st.SearchStrategy[Any]:
    if each.message_type is not None:
        return _messages(each.message_type, depth - 1, heat)
    if each.enum_type is not None:
        defined = [value.number for value in each.enum_type.values]
        return _either(heat, st.sampled_from(defined), st.sampled_from([99, -1, MAX_INT32, MIN_INT32]))
    if each.type == FieldDescriptor.TYPE_BYTES:
        return _either(heat, st.binary(max_size=40), BYTES)
    if each.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _either(heat, st.sampled_from(MILD.get(each.name, ("a",))), TEXTS)
    if each.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _either(heat, st.just(False) if each.name in UNBUILT else st.booleans(), st.booleans())
    mild: dict[int, st.SearchStrategy[Any]] = {FieldDescriptor.CPPTYPE_DOUBLE: st.sampled_from([0.0, 0.5, 1.0])}
    return _either(heat, mild.get(each.cpp_type, st.sampled_from([1, 1, 2])), _SCALARS[each.cpp_type])


def _either(heat: int, mild: st.SearchStrategy[Any], hostile: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    if not heat:
        return mild
    return st.integers(0, 99).flatmap(lambda number: hostile if number >= 100 - heat else mild)


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
