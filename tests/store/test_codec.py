from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.domain import events as e
from tenure.events.v1 import event_pb2 as pb
from tenure.store import codec, encoding

TIMES = st.integers(0, 253_402_300_799_000_000)
SPANS = st.integers(0, 10**15)
TEXTS = st.text(max_size=20)
COUNTS = st.integers(0, 2**31 - 1)
LARGE = st.integers(0, 2**63 - 1)


def build(kind: type[e.Payload], **fields: st.SearchStrategy[object]) -> st.SearchStrategy[e.Payload]:
    return st.builds(kind, **fields)


LEASE = {"lease_id": TEXTS, "attempt": COUNTS, "worker_id": TEXTS}
FEATURES = st.builds(e.Features, **dict.fromkeys(e.Features.__slots__, st.booleans()))
TERMS = st.builds(
    e.Terms,
    time_allocation_us=st.none() | SPANS,
    basis=st.sampled_from(e.Basis),
    max_time_allocation_us=st.none() | SPANS,
    features=FEATURES,
    heartbeat_interval_us=SPANS,
    max_failures=COUNTS,
    retry_initial_us=SPANS,
    retry_maximum_us=SPANS,
    termination_grace_period_us=SPANS,
    ban_us=SPANS,
    max_lost_leases=COUNTS,
    lost_lease_window_us=SPANS,
)
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=5).map(lambda labels: tuple(sorted(labels.items())))
FACETS = st.builds(
    e.Facets,
    labels=LABELS,
    **dict.fromkeys((name for name in e.Facets.__slots__ if name != "labels"), TEXTS),
)
PRODUCT = st.builds(
    e.Product,
    id=TEXTS,
    category=TEXTS,
    provider=TEXTS,
    basis=st.sampled_from(e.Basis),
    time_extension=st.none() | st.booleans(),
)
PAYLOADS: dict[type[e.Payload], st.SearchStrategy[e.Payload]] = {
    e.JobCreated: build(
        e.JobCreated,
        specification=st.binary(max_size=50),
        specification_digest=st.binary(max_size=32),
        allow_duplicate=st.booleans(),
        created_by=TEXTS,
        project=TEXTS,
        queue=TEXTS,
        priority=st.integers(-(2**31), 2**31 - 1),
        terms=TERMS,
        command=TEXTS,
        arguments=st.lists(TEXTS, max_size=3).map(tuple),
        absolute_paths=st.lists(TEXTS, max_size=3).map(tuple),
        facets=FACETS,
    ),
    e.JobAssigned: build(e.JobAssigned, lease_us=SPANS, subject=TEXTS, **{**LEASE, "lease_id": st.just("event-id")}),
    e.AssignmentDeclined: build(e.AssignmentDeclined, reason=TEXTS, passed_over_until_us=TIMES, **LEASE),
    e.JobStarted: build(e.JobStarted, deadline_us=st.none() | TIMES, **LEASE),
    e.JobHeartbeat: build(
        e.JobHeartbeat,
        lease_id=TEXTS,
        attempt=COUNTS,
        count=LARGE,
        last_beat_us=TIMES,
        stage=st.sampled_from(e.Stage),
        progress=st.none() | st.floats(0, 1),
        progress_message=TEXTS,
        transfer=st.builds(e.Transfer, **dict.fromkeys(e.Transfer.__slots__, LARGE)),
    ),
    e.JobExtended: build(e.JobExtended, requested_us=SPANS),
    e.AttemptFailed: build(
        e.AttemptFailed,
        stage=st.sampled_from(e.Stage),
        exit_code=st.none() | st.integers(-(2**31), 2**31 - 1),
        signal=st.none() | st.integers(0, 64),
        oom=st.booleans(),
        message=TEXTS,
        **LEASE,
    ),
    e.AttemptReleased: build(e.AttemptReleased, reason=TEXTS, **LEASE),
    e.LeaseExpired: build(e.LeaseExpired, silence_us=SPANS, suspicious=st.booleans(), **LEASE),
    e.JobRequeued: build(
        e.JobRequeued,
        cause=st.sampled_from(e.RequeueCause),
        attempt=COUNTS,
        worker_id=TEXTS,
        reason=TEXTS,
        not_before_us=st.none() | TIMES,
        banned_until_us=st.none() | TIMES,
    ),
    e.CancelRequested: build(e.CancelRequested, reason=TEXTS, until_us=TIMES),
    e.JobTerminated: build(e.JobTerminated, outcome=st.sampled_from(e.Outcome), reason=TEXTS, attempt=COUNTS),
    e.QueueConfigured: build(
        e.QueueConfigured,
        features=FEATURES,
        max_time_allocation_us=st.none() | SPANS,
        default_time_allocation_us=st.none() | SPANS,
        basis=st.sampled_from(e.Basis),
        products=st.lists(PRODUCT, max_size=3).map(tuple),
        read_only=st.booleans(),
    ),
    e.QueuePaused: build(e.QueuePaused, reason=TEXTS),
    e.QueueResumed: st.just(e.QueueResumed()),
}


def test_every_type_is_tried() -> None:
    assert set(PAYLOADS) == set(codec.TYPE_OF)


@given(
    payload=st.one_of(*PAYLOADS.values()),
    time_us=TIMES,
    actor=TEXTS,
    request_id=TEXTS.filter(bool),
    version=st.integers(1, 3),
)
def test_what_is_stored_is_read_again(
    payload: e.Payload, time_us: int, actor: str, request_id: str, version: int
) -> None:
    new = e.NewEvent(event_id="event-id", time_us=time_us, actor=actor, payload=payload)
    stream = "job/j" if version == 1 else ""
    data = codec.encode(new, stream=stream, request_id=request_id, request_digest=b"d")
    event = codec.decode(data, position=4, stream="job/j", version=version, time_us=time_us)
    assert event == e.RecordedEvent(
        position=4,
        stream="job/j",
        version=version,
        event_id="event-id",
        time_us=time_us,
        actor=actor,
        request_id=request_id,
        request_digest=b"d",
        payload=payload,
    )
    assert codec.encode(new, stream=stream, request_id=request_id, request_digest=b"d") == data
    message = codec.to_message(event)
    assert message.time.ToMicroseconds() == time_us
    again = codec.decode(message.SerializeToString(), position=4, stream="job/j", version=version, time_us=time_us)
    assert again == event


@given(
    payload=st.one_of(*(PAYLOADS[kind] for kind in encoding.BODIES)),
    event_id=TEXTS.filter(bool),
    actor=TEXTS,
    request_id=TEXTS,
    stream=TEXTS,
)
def test_what_is_encoded_by_hand_is_what_the_message_says(
    payload: e.Payload, event_id: str, actor: str, request_id: str, stream: str
) -> None:
    event = e.RecordedEvent(
        position=0,
        stream=stream,
        version=0,
        event_id=event_id,
        time_us=0,
        actor=actor,
        request_id=request_id,
        request_digest=b"d" if request_id else b"",
        payload=payload,
    )
    message = codec.to_message(event)
    message.ClearField("time")
    new = e.NewEvent(event_id=event_id, time_us=0, actor=actor, payload=payload)
    data = codec.encode(new, stream=stream, request_id=request_id, request_digest=b"d")
    # Entries of a map may come in any order; ours is that of the keys.
    assert pb.Event.FromString(data) == message
    assert len(data) == message.ByteSize()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16_383, 16_384, 2**31 - 1, 2**63 - 1, -1, -(2**31), -(2**63)])
def test_numbers_are_written_as_protobuf_writes_them(value: int) -> None:
    message = pb.JobHeartbeat(count=value).SerializeToString()
    assert message == (b"\x18" + encoding.varint(value) if value else b"")


def test_only_the_first_event_of_a_stream_names_it() -> None:
    new = e.NewEvent(event_id="x", time_us=1, actor="a", payload=e.QueueResumed())
    assert codec.stream_named(codec.encode(new, stream="queue/q"), 1) == "queue/q"
    with pytest.raises(codec.DecodeError, match="position 7"):
        codec.stream_named(codec.encode(new), 7)


def test_the_public_form_says_everything() -> None:
    event = e.RecordedEvent(
        position=9,
        stream="job/j",
        version=3,
        event_id="x",
        time_us=1_500_000,
        actor="server",
        request_id="r",
        request_digest=b"d",
        payload=e.JobExtended(requested_us=2_500_000),
    )
    message = codec.to_message(event)
    assert (message.position, message.stream, message.stream_version, message.event_id) == (9, "job/j", 3, "x")
    assert (message.actor, message.request_id, message.request_digest) == ("server", "r", b"d")
    assert (message.time.seconds, message.time.nanos) == (1, 500_000_000)
    assert message.job_extended.requested_time.ToMicroseconds() == 2_500_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xff", "the stored bytes are damaged"),
        (b"", "a type that this version does not know"),
        # Field 113, which no version has yet.
        (b"\x8a\x07\x00", "a type that this version does not know"),
        (pb.Event(job_terminated=pb.JobTerminated(outcome=99)).SerializeToString(), "job_terminated: 99"),  # type: ignore[arg-type]
        (pb.Event(job_terminated=pb.JobTerminated()).SerializeToString(), "job_terminated: 0"),
    ],
)
def test_what_cannot_be_read_is_said_loudly(data: bytes, words: str) -> None:
    with pytest.raises(codec.DecodeError, match=f"position 12: .*{words}"):
        codec.decode(data, position=12, stream="job/j", version=1, time_us=0)


def test_types_have_the_numbers_of_their_fields() -> None:
    fields = {field.number for field in pb.Event.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert set(codec.CLASS_OF) == fields
    assert codec.TYPE_NAMED["JobCreated"] == 16
