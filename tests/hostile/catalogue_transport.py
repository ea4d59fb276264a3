"""Rows 1 to 14: bytes that are no message, messages that are too many or too few, metadata and deadlines."""

from __future__ import annotations

import gzip

from google.protobuf import struct_pb2

from tenure.v1 import job_service_pb2
from tests.hostile.catalogue import CONNECT, CREATE, EVENTS, FOLLOW, RETRIEVE, Case, bad, bad_web, call, good, job, web
from tests.hostile.outcome import Outcome
from tests.hostile.raw_wire import raw_call
from tests.hostile.scene import METHODS, NOBODY, STANDING, Scene, Send, Sent, raw_of

GOOD = {"id": STANDING}
RAW = job_service_pb2.RetrieveJobRequest(id=STANDING).SerializeToString()
MALFORMED, MISSING = "MALFORMED_REQUEST", "REQUEST_MISSING"
AMBIGUOUS, NOT_THERE = "CREDENTIALS_AMBIGUOUS", "NOT_IMPLEMENTED"


def field(number: int, wire_type: int, rest: bytes) -> bytes:
    """One field as bytes; numbers below 2048."""
    key = number << 3 | wire_type
    return (bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])) + rest


def text(number: int, value: bytes) -> bytes:
    """A field that begins with its length."""
    length, size = b"", len(value)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return field(number, 2, length + bytes([size]) + value)


def job_of(specification: bytes) -> bytes:
    """The request for a job whose specification is these bytes."""
    return text(1, text(1, specification))


def nested(levels: int) -> struct_pb2.Value:
    """A number in so many lists."""
    value = struct_pb2.Value(number_value=1)
    for _ in range(levels):
        outer = struct_pb2.Value()
        outer.list_value.values.add().CopyFrom(value)
        value = outer
    return value


def deep(levels: int) -> job_service_pb2.CreateJobsRequest:
    """A job with a parameter so many lists deep; nothing is created."""
    request = job_service_pb2.CreateJobsRequest(validate_only=True)
    specification = request.items.add().specification
    specification.command = "true"
    specification.parameters["x"].CopyFrom(nested(levels))
    return request


def deeper(levels: int) -> bytes:
    """The same by hand, as no library would write it."""
    raw = b""
    for _ in range(levels):
        raw = text(6, text(1, raw))
    return job_of(text(7, text(1, b"x") + text(2, raw)))


NO_MESSAGE = {
    "no-varint": b"\xff" * 11,
    "cut-off": b"\x0a\x7fabc",
    "field-zero": b"\x02\x00",
    "group-without-begin": field(1, 4, b""),
    "group-without-end": field(99, 3, b""),
    "wire-type-6": field(1, 6, b"\x00"),
    "wire-type-7": field(1, 7, b"\x00"),
    "huge-length": b"\x0a\xff\xff\xff\xff\x0f",
    "negative-length": b"\x0a" + b"\xff" * 9 + b"\x01",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "json": b'{"items": []}',
}
NO_JSON = {
    "text": b"hello",
    "cut-off": b'{"items": [',
    "two-values": b"{} {}",
    "one-quote": b"{'items': []}",
    "nan": b'{"items": NaN}',
    "infinity": b'{"items": -Infinity}',
    "key-twice": b'{"items": [], "items": []}',
    "long-number": b'{"validateOnly": ' + b"9" * 5000 + b"}",
    "byte-order-mark": b"\xef\xbb\xbf{}",
    "too-deep": b"[" * 100_000,
}
NO_UTF8 = {
    "lone-byte": b"\xff",
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "cut": b"\xe2\x82",
    "late": b"abc\x80",
}
# Half of a surrogate pair, which JSON can say and UTF-8 cannot, in a value and in a key of every door.
HALVES = {
    "native": ("/v1/jobs", b'{"project": "\\ud800"}'),
    "native-key": ("/v1/jobs", b'{"\\udfff": 1}'),
    "native-label": ("/v1/jobs", b'{"items": [{"specification": {"labels": {"\\uDFFF": "a"}}}]}'),
    "ucloud": ("/api/jobs/terminate", b'{"items": [{"id": "\\ud800"}]}'),
    "ucloud-key": ("/api/jobs", b'{"\\ud800": 1}'),
    "ucloud-parameter": ("/api/jobs", b'{"items": [{"parameters": {"a": "\\ud800"}}]}'),
    "kelpie": ("/jobs", b'{"command": "\\ud800", "container_group_id": "a"}'),
    "kelpie-key": ("/jobs", b'{"environment": {"\\ud800": ""}}'),
    "kelpie-machine": ("/jobs/standing/heartbeat", b'{"machine_id": "\\ud800", "container_group_id": "a"}'),
}
NOWHERE = {
    "method": "/tenure.v1.JobService/DropJobs",
    "service": "/tenure.v2.JobService/CreateJobs",
    "lower-case": "/tenure.v1.jobservice/createjobs",
    "dots": "/tenure.v1.JobService/../AdminService/CreateToken",
    "private": "/tenure.v1.JobService/__init__",
    "empty": "/",
    "long": "/" + "x" * 2000,
}
DEEP_JSON = b"[" * 80 + b"]" * 80
DEEP_UCLOUD = b'{"items": [{"parameters": {"x": ' + DEEP_JSON + b"}}]}"
DEEP_NATIVE = b'{"items": [{"specification": {"command": "x", "parameters": {"x": ' + DEEP_JSON + b"}}}]}"


async def never_sends(scene: Scene) -> Outcome:
    """The call that was begun with the scene."""
    assert scene.silent is not None
    return await scene.silent


def expired(timeout: bytes) -> Send:
    """A job that is to be created by an instant that is over when the call arrives."""

    async def send(scene: Scene) -> Outcome:
        path, given = "/tenure.v1.JobService/CreateJobs", ("grpc-timeout", timeout)
        return await raw_call(scene, path, raw_of(CREATE, job()), given, token=scene.tokens["owner"])

    return send


def credentials(*values: str) -> Send:
    """RetrieveJob with several values of `authorization`; TOKEN stands for a good one."""

    async def send(scene: Scene) -> Outcome:
        given = tuple(("authorization", value.replace("TOKEN", scene.tokens["owner"])) for value in values)
        return await scene.call(RETRIEVE, GOOD, who=NOBODY, extra=given)

    return send


def metadata(*pairs: tuple[str, str | bytes], who: str = "owner", within_s: float | None = 20.0) -> Send:
    """RetrieveJob with metadata of the case's own."""

    async def send(scene: Scene) -> Outcome:
        return await scene.call(RETRIEVE, GOOD, who=who, extra=pairs, within_s=within_s)

    return send


def core(row: int, name: str, send: Send, code: str) -> Case:
    """Refused by gRPC itself, which gives no reason."""
    return Case(row=row, name=name, send=send, code=code)


def cut(row: int, name: str, rpc: str, *sent: Sent, reason: str = MALFORMED) -> Case:
    """Bytes that are refused before anything is known of fields."""
    return Case(row=row, name=name, send=call(rpc, *sent), reason=reason)


BYTES = [
    *(cut(1, rpc, rpc, b"\xff\xff\xff\xff") for rpc in METHODS),
    *(cut(1, name, CREATE, raw) for name, raw in NO_MESSAGE.items()),
    *(bad_web(1, name, web("POST", "/v1/jobs", raw), reason=MALFORMED) for name, raw in NO_JSON.items()),
    bad_web(1, "ucloud", web("POST", "/api/jobs", b"{"), reason=MALFORMED),
    bad_web(1, "kelpie", web("POST", "/jobs", b"{"), reason=MALFORMED),
    *(cut(2, f"{name}-{rpc}", rpc, text(1, raw)) for name, raw in NO_UTF8.items() for rpc in (RETRIEVE, FOLLOW)),
    *(cut(2, f"environment-{name}", CREATE, job_of(text(18, text(2, raw)))) for name, raw in NO_UTF8.items()),
    cut(2, "worker-id", CONNECT, text(1, text(1, b"\xff"))),
    bad_web(2, "body", web("POST", "/v1/jobs", b'{"project": "\xff"}'), reason=MALFORMED),
    *(bad_web(2, f"half-{name}", web("POST", *request), reason=MALFORMED) for name, request in HALVES.items()),
    *(cut(3, f"{levels}-levels", CREATE, deeper(levels)) for levels in (60, 1000, 5000)),
    # What a server can read, and its workers, who get it one message deeper, could not.
    *(bad(3, f"{n}-lists", CREATE, deep(n), 'items[0].specification.parameters["x"]') for n in (33, 47, 48)),
    good(3, "32-lists", CREATE, deep(32)),
    bad_web(3, "objects", web("POST", "/v1/jobs", b'{"items":' * 300 + b"1" + b"}" * 300)),
    bad_web(3, "parameter", web("POST", "/v1/jobs", DEEP_NATIVE)),
    bad_web(3, "ucloud-parameter", web("POST", "/api/jobs", DEEP_UCLOUD)),
    good(4, "unknown-field", RETRIEVE, RAW + text(1999, b"what is this")),
    good(4, "another-wire-type", RETRIEVE, RAW + field(2, 0, b"\x07")),
    good(4, "empty-group", RETRIEVE, RAW + field(99, 3, field(99, 4, b""))),
    bad_web(4, "refuses-them", web("POST", "/v1/jobs", {"itmes": []}), "itmes"),
    core(5, "5-MiB", call(RETRIEVE, bytes(5 << 20)), "RESOURCE_EXHAUSTED"),
    core(5, "5-MiB-of-a-worker", call(CONNECT, bytes(5 << 20)), "RESOURCE_EXHAUSTED"),
    bad_web(5, "5-MiB", web("POST", "/v1/jobs", b" " * (5 << 20)), reason="LIMIT_EXCEEDED", http=413),
]


def by_hand(
    row: int, name: str, code: str, *more: tuple[str, bytes], raw: bytes = RAW, compressed: bool = False
) -> Case:
    """RetrieveJob in frames of HTTP/2, with header fields that no library would write."""

    async def send(scene: Scene) -> Outcome:
        token = scene.tokens["owner"]
        return await raw_call(
            scene, "/tenure.v1.JobService/RetrieveJob", raw, *more, token=token, compressed=compressed
        )

    return Case(row=row, name=name, send=send, code=code, below=True)


GZIP = ("grpc-encoding", b"gzip")
CALLS = [
    by_hand(7, "unknown-compression", "INTERNAL", ("grpc-encoding", b"nonsense"), compressed=True),
    by_hand(7, "compressed-by-nothing", "INTERNAL", compressed=True),
    by_hand(7, "compressed-garbage", "INTERNAL", GZIP, compressed=True),
    by_hand(7, "compressed", "OK", GZIP, raw=gzip.compress(RAW), compressed=True),
    core(8, "one-of-9-KB", metadata(("x", "y" * 9000)), "RESOURCE_EXHAUSTED"),
    core(8, "many", metadata(*((f"x-{n}", "y" * 40) for n in range(200))), "RESOURCE_EXHAUSTED"),
    core(8, "just-below", metadata(("x", "y" * 7000)), "OK"),
    Case(row=9, name="two-tokens", send=credentials("Bearer TOKEN", "Bearer TOKEN"), reason=AMBIGUOUS),
    Case(row=9, name="a-good-and-a-bad-one", send=credentials("Bearer TOKEN", "Bearer tnr_no"), reason=AMBIGUOUS),
    Case(row=9, name="an-empty-one-first", send=credentials("", "Bearer TOKEN"), reason=AMBIGUOUS),
    bad_web(9, "two", web("GET", "/v1/jobs", headers=[("authorization", "Bearer x")]), reason=AMBIGUOUS, http=401),
    by_hand(9, "no-base64", "INTERNAL", ("x-bin", b"!!! not base64 !!!")),
    by_hand(9, "a-line-break-in-a-value", "OK", ("x", b"a\r\nauthorization: Bearer b")),
    by_hand(9, "a-byte-in-a-value", "OK", ("x", b"\xff\xfe\0")),
    core(9, "binary-junk", metadata(("junk-bin", bytes(range(256)))), "OK"),
    core(9, "no-trace", metadata(("traceparent", "00-" + "z" * 300)), "OK"),
    Case(
        row=9,
        name="binary-authorization",
        send=metadata(("authorization-bin", b"Bearer x"), who=NOBODY),
        reason="CREDENTIALS_MISSING",
    ),
    *(cut(10, name, path, RAW, reason=NOT_THERE) for name, path in NOWHERE.items()),
    bad_web(10, "address", web("GET", "/v1/nothing"), reason=NOT_THERE, http=404),
    bad_web(10, "verb", web("DELETE", "/v1/jobs"), reason=NOT_THERE, http=405),
    *(cut(11, f"none-{rpc}", rpc, reason="HELLO_REQUIRED" if rpc == CONNECT else MISSING) for rpc in METHODS),
    cut(12, "the-first-is-bad", RETRIEVE, b"\xff", RAW),
    Case(row=12, name="the-first-counts", send=call(RETRIEVE, RAW, {"id": "another"})),
    Case(row=12, name="the-first-counts-of-a-log", send=call(EVENTS, b"", b"\xff")),
    core(13, "no-deadline", metadata(within_s=None), "OK"),
    core(13, "ten-years", metadata(within_s=10 * 365.25 * 86400), "OK"),
    core(14, "no-time", expired(b"0n"), "DEADLINE_EXCEEDED"),
]
LAST = [Case(row=11, name="never", send=never_sends, reason="REQUEST_NOT_RECEIVED")]

CASES: list[Case] = [*BYTES, *CALLS]
