"""Rows 1 to 20: bytes that are no message, messages that are too many or too few, metadata and deadlines."""

from __future__ import annotations

from google.protobuf import struct_pb2
from google.protobuf.descriptor import MethodDescriptor

from tenure.v1 import event_service_pb2, job_pb2, job_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.hosted import OURS
from tests.hostile.catalogue import Case, call, web, with_metadata
from tests.hostile.scene import STANDING, Outcome, Scene, Send

CREATE = "JobService.CreateJobs"
RETRIEVE = "JobService.RetrieveJob"
GOOD = job_service_pb2.RetrieveJobRequest(id=STANDING)

METHODS: list[MethodDescriptor] = [method for service in OURS for method in service.methods]


def rpc_of(method: MethodDescriptor) -> str:
    """`JobService.CreateJobs`"""
    return f"{method.containing_service.name}.{method.name}"


def caller_of(method: MethodDescriptor) -> str:
    """Who may call it."""
    return "worker" if rpc_of(method) in ("WorkerService.Connect", "WorkerService.ShipLogs") else "admin"


def field(number: int, wire_type: int, rest: bytes) -> bytes:
    """One field as bytes; numbers below 2048."""
    key = number << 3 | wire_type
    return (bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])) + rest


def text(number: int, value: bytes) -> bytes:
    """A field with a length, below 128 bytes."""
    return field(number, 2, bytes([len(value)]) + value)


# One job whose specification is these bytes.
def item(specification: bytes) -> bytes:
    return text(1, text(1, specification))


MALFORMED = {
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
BAD_UTF8 = {
    "lone-byte": b"\xff",
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "cut": b"\xe2\x82",
    "late": b"abc\x80",
}


def deep(levels: int) -> job_service_pb2.CreateJobsRequest:
    """A job with a parameter so many lists deep."""
    value = struct_pb2.Value(number_value=1)
    for _ in range(levels):
        outer = struct_pb2.Value()
        outer.list_value.values.add().CopyFrom(value)
        value = outer
    request = job_service_pb2.CreateJobsRequest(validate_only=True)
    request.items.add(specification=job_pb2.JobSpecification(command="true"))
    request.items[0].specification.parameters["x"].CopyFrom(value)
    return request


def deeper_than_a_parser(levels: int) -> bytes:
    """The same by hand, as no library would write it."""
    raw = b""
    for _ in range(levels):
        raw = _long(6, _long(1, raw))
    return _long(1, _long(1, _long(7, text(1, b"x") + _long(2, raw))))


def _long(number: int, value: bytes) -> bytes:
    length, size = b"", len(value)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return field(number, 2, length + bytes([size]) + value)


async def never_sends(scene: Scene) -> Outcome:
    assert scene.silent is not None
    return await scene.silent


async def retried_after_its_deadline(scene: Scene) -> Outcome:
    """A call whose deadline has passed writes nothing, and its request id is not used up."""
    request = job_service_pb2.CreateJobsRequest(request_id=scene.fresh("late"))
    request.items.add(specification=job_pb2.JobSpecification(command="true", queue="still"))
    return await scene.call(CREATE, request.SerializeToString(), within_s=0.0)


def _token(*values: str, who: str = "owner") -> Send:
    """RetrieveJob with several values of `authorization`; TOKEN stands for a good one."""

    async def send(scene: Scene) -> Outcome:
        given = tuple(("authorization", value.replace("TOKEN", scene.tokens[who])) for value in values)
        return await scene.call(RETRIEVE, GOOD.SerializeToString(), who="nobody", extra=given)

    return send


CASES: list[Case] = [
    *(
        Case(row=1, name=rpc_of(method), send=call(rpc_of(method), b"\xff\xff\xff\xff", who=caller_of(method)), reason="MALFORMED_REQUEST")
        for method in METHODS
    ),
    *(Case(row=1, name=name, send=call(CREATE, raw), reason="MALFORMED_REQUEST") for name, raw in MALFORMED.items()),
    *(
        Case(row=1, name=f"web-{name}", send=web("POST", "/v1/jobs", content=raw), reason="MALFORMED_REQUEST", http=400)
        for name, raw in {
            "text": b"hello", "cut-off": b'{"items": [', "two-values": b"{} {}", "one-quote": b"{'items': []}",
            "nan": b'{"items": NaN}', "infinity": b'{"items": -Infinity}', "key-twice": b'{"items": [], "items": []}',
            "long-number": b'{"validateOnly": ' + b"9" * 5000 + b"}", "byte-order-mark": b"\xef\xbb\xbf{}",
        }.items()
    ),
    Case(row=1, name="web-ucloud", send=web("POST", "/api/jobs", content=b"{"), reason="MALFORMED_REQUEST", http=400),
    Case(row=1, name="web-kelpie", send=web("POST", "/jobs", content=b"{"), reason="MALFORMED_REQUEST", http=400),
    *(
        Case(row=2, name=f"{name}-{rpc}", send=call(rpc, text(1, raw)), reason="MALFORMED_REQUEST")
        for name, raw in BAD_UTF8.items()
        for rpc in (RETRIEVE, "JobService.FollowLogs")
    ),
    *(
        Case(row=2, name=f"{name}-environment", send=call(CREATE, item(text(16, b"true") + text(18, text(1, b"A") + text(2, raw)))), reason="MALFORMED_REQUEST")
        for name, raw in BAD_UTF8.items()
    ),
    Case(row=2, name="worker-id", send=call("WorkerService.Connect", text(1, text(1, b"\xff")), who="worker"), reason="MALFORMED_REQUEST"),
    Case(row=2, name="web", send=web("POST", "/v1/jobs", content=b'{"project": "\xff"}'), reason="MALFORMED_REQUEST", http=400),
    *(
        Case(row=2, name=f"web-half-a-pair-{door}", send=web("POST", path, content=content), reason="INVALID_FIELD", http=400)
        for door, path, content in (
            ("native", "/v1/jobs", b'{"project": "\\ud800"}'),
            ("native-key", "/v1/jobs", b'{"items": [{"specification": {"command": "x", "labels": {"\\udfff": "a"}}}]}'),
            ("native-unknown-key", "/v1/jobs", b'{"\\ud800": 1}'),
            ("ucloud", "/api/jobs", b'{"items": [{"application": {"name": "\\ud800", "version": "1"}, "product": {"id": "a", "category": "a", "provider": "a"}}]}'),
            ("ucloud-id", "/api/jobs/terminate", b'{"items": [{"id": "\\ud800"}]}'),
            ("ucloud-unknown-key", "/api/jobs", b'{"\\ud800": 1}'),
            ("ucloud-parameter", "/api/jobs", b'{"items": [{"application": {"name": "a", "version": "1"}, "product": {"id": "a", "category": "a", "provider": "a"}, "parameters": {"a": "\\ud800"}}]}'),
            ("kelpie", "/jobs", b'{"command": "\\ud800", "container_group_id": "a"}'),
            ("kelpie-argument", "/jobs", b'{"command": "x", "arguments": ["\\ud800"], "container_group_id": "a"}'),
            ("kelpie-environment", "/jobs", b'{"command": "x", "environment": {"A": "\\ud800"}, "container_group_id": "a"}'),
            ("kelpie-machine", "/jobs/standing/heartbeat", b'{"machine_id": "\\ud800", "container_group_id": "a"}'),
        )
    ),
    *(
        Case(row=3, name=f"{levels}-levels", send=call(CREATE, deeper_than_a_parser(levels)), reason="MALFORMED_REQUEST")
        for levels in (60, 1000, 50_000)
    ),
    *(
        # What a server can read and its workers, who get it inside two messages more, could not.
        Case(row=3, name=f"{levels}-lists", send=call(CREATE, deep(levels)), reason="INVALID_FIELD", fields=('items[0].specification.parameters["x"]',))
        for levels in (33, 46, 47)
    ),
    Case(row=3, name="32-lists", send=call(CREATE, deep(32))),
    Case(row=3, name="web", send=web("POST", "/v1/jobs", content=b"[" * 100_000), reason="MALFORMED_REQUEST", http=400),
    Case(row=3, name="web-objects", send=web("POST", "/v1/jobs", content=b'{"items":' * 300 + b"1" + b"}" * 300), reason="INVALID_FIELD", http=400),
    Case(
        row=3,
        name="web-parameter",
        send=web("POST", "/v1/jobs", content=b'{"items": [{"specification": {"command": "x", "parameters": {"x": ' + b"[" * 80 + b"]" * 80 + b"}}}]}"),
        reason="INVALID_FIELD",
        http=400,
    ),
    Case(
        row=3,
        name="web-ucloud-parameter",
        send=web("POST", "/api/jobs", content=b'{"items": [{"application": {"name": "a", "version": "1"}, "product": {"id": "a", "category": "a", "provider": "a"}, "parameters": {"x": ' + b"[" * 80 + b"]" * 80 + b"}}]}"),
        reason="INVALID_FIELD",
        http=400,
    ),
    Case(row=4, name="unknown-field", send=call(RETRIEVE, GOOD.SerializeToString() + text(1999, b"what is this"))),
    Case(row=4, name="another-wire-type", send=call(RETRIEVE, GOOD.SerializeToString() + field(2, 0, b"\x07"))),
    Case(row=4, name="empty-group", send=call(RETRIEVE, GOOD.SerializeToString() + field(99, 3, field(99, 4, b"")))),
    Case(row=4, name="web-refuses-them", send=web("POST", "/v1/jobs", json={"itmes": []}), reason="INVALID_FIELD", fields=("itmes",), http=400),
    Case(row=5, name="5-MiB", send=call(RETRIEVE, bytes(5 << 20)), code="RESOURCE_EXHAUSTED"),
    Case(row=5, name="5-MiB-on-a-worker-stream", send=call("WorkerService.Connect", bytes(5 << 20), who="worker"), code="RESOURCE_EXHAUSTED"),
    Case(row=5, name="web", send=web("POST", "/v1/jobs", content=b" " * (5 << 20)), reason="LIMIT_EXCEEDED", http=413),
    Case(row=8, name="one-of-9-KB", send=with_metadata(RETRIEVE, GOOD, ("x", "y" * 9000), who="owner"), code="RESOURCE_EXHAUSTED"),
    Case(row=8, name="many", send=with_metadata(RETRIEVE, GOOD, *((f"x-{n}", "y" * 40) for n in range(200)), who="owner"), code="RESOURCE_EXHAUSTED"),
    Case(row=8, name="just-below", send=with_metadata(RETRIEVE, GOOD, ("x", "y" * 7000), who="owner")),
    Case(row=9, name="two-tokens", send=_token("Bearer TOKEN", "Bearer TOKEN"), reason="CREDENTIALS_AMBIGUOUS"),
    Case(row=9, name="a-good-and-a-bad-one", send=_token("Bearer TOKEN", "Bearer tnr_no"), reason="CREDENTIALS_AMBIGUOUS"),
    Case(row=9, name="an-empty-one-first", send=_token("", "Bearer TOKEN"), reason="CREDENTIALS_AMBIGUOUS"),
    Case(row=9, name="binary-junk", send=with_metadata(RETRIEVE, GOOD, ("junk-bin", bytes(range(256))), who="owner")),
    Case(row=9, name="binary-authorization", send=with_metadata(RETRIEVE, GOOD, ("authorization-bin", b"Bearer x")), reason="CREDENTIALS_MISSING"),
    Case(row=9, name="trace-that-is-none", send=with_metadata(RETRIEVE, GOOD, ("traceparent", "00-" + "z" * 300), who="owner")),
    Case(row=9, name="a-line-break", send=with_metadata(RETRIEVE, GOOD, ("x", "a\r\nauthorization: Bearer b")), code="UNSENT"),
    *(
        Case(row=10, name=name, send=call(path, GOOD), reason="NOT_IMPLEMENTED")
        for name, path in {
            "method": "/tenure.v1.JobService/DropJobs",
            "service": "/tenure.v2.JobService/CreateJobs",
            "lower-case": "/tenure.v1.jobservice/createjobs",
            "dots": "/tenure.v1.JobService/../AdminService/CreateToken",
            "private": "/tenure.v1.JobService/__init__",
            "empty": "/",
            "long": "/" + "x" * 2000,
        }.items()
    ),
    Case(row=10, name="web", send=web("GET", "/v1/nothing"), reason="NOT_IMPLEMENTED", http=404),
    Case(row=10, name="web-verb", send=web("DELETE", "/v1/jobs"), reason="NOT_IMPLEMENTED", http=405),
    *(
        Case(row=11, name=f"none-{rpc_of(method)}", send=call(rpc_of(method), who=caller_of(method)), reason="HELLO_REQUIRED" if method.name == "Connect" else "REQUEST_MISSING")
        for method in METHODS
    ),
    Case(row=11, name="never", send=never_sends, reason="REQUEST_NOT_RECEIVED"),
    Case(row=12, name="two-messages", send=call(RETRIEVE, GOOD, job_service_pb2.RetrieveJobRequest(id="another"))),
    Case(row=12, name="the-first-is-bad", send=call(RETRIEVE, b"\xff", GOOD), reason="MALFORMED_REQUEST"),
    Case(row=13, name="no-deadline", send=with_metadata(RETRIEVE, GOOD, who="owner", within_s=None)),
    Case(row=13, name="ten-years", send=with_metadata(RETRIEVE, GOOD, who="owner", within_s=10 * 365.25 * 86400)),
    Case(row=14, name="past", send=retried_after_its_deadline, code="DEADLINE_EXCEEDED"),
]  # fmt: skip

# What is only here to be complete: messages that need no case of their own.
_ = (event_service_pb2, pb)
