from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tenure.controlplane.times import from_duration, from_timestamp, to_duration, to_timestamp
from tenure.domain.errors import Reason, Refused

MAX_US = 253_402_300_799_999_999


@given(st.integers(-62_135_596_800_000_000, MAX_US))
def test_instants_survive_both_ways(at_us: int) -> None:
    assert from_timestamp(to_timestamp(at_us)) == at_us


@given(st.integers(-315_576_000_000_000_000, 315_576_000_000_000_000))
def test_spans_survive_both_ways(span_us: int) -> None:
    message = to_duration(span_us)
    assert from_duration(message) == span_us
    assert message.seconds * message.nanos >= 0


@pytest.mark.parametrize(
    ("seconds", "nanos", "micros"),
    [(1, 1_999, 1_000_001), (-1, -1_999, -1_000_001), (0, 999, 0), (0, -999, 0), (0, -1_000, -1)],
)
def test_what_is_finer_than_a_microsecond_is_cut_off(seconds: int, nanos: int, micros: int) -> None:
    assert from_duration(Duration(seconds=seconds, nanos=nanos)) == micros


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (1, -1),
        (-1, 1),
        (0, 1_000_000_000),
        (0, -1_000_000_000),
        (315_576_000_001, 0),
        (-315_576_000_001, 0),
        (2**62, 0),
    ],
)
def test_durations_that_are_none_are_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(Refused) as refused:
        from_duration(Duration(seconds=seconds, nanos=nanos), "items[0].requested_time")
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_FIELD, "items[0].requested_time")


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(0, -1), (0, 1_000_000_000), (253_402_300_800, 0), (-62_135_596_801, 0)]
)
def test_instants_that_are_none_are_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(Refused) as refused:
        from_timestamp(Timestamp(seconds=seconds, nanos=nanos), "after")
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_FIELD, "after")
