from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.domain import events as e
from tenure.store import tail
from tenure.store.store import Committed, EventFilter, Unit
from tenure.store.tail import Tail
from tests.store.making import creation, queue_append, request


def unit(number: int, size: int) -> Unit:
    appends = [creation(f"j{number}-{item}") for item in range(size - 1)]
    return Unit(
        appends=(*appends, queue_append(f"q{number}", None, e.QueueConfigured())), request=request(f"r{number}")
    )


@given(sizes=st.lists(st.integers(1, 5), max_size=40), after=st.integers(0, 120), limit=st.integers(1, 50))
def test_it_reads_as_a_log_does_or_not_at_all(sizes: list[int], after: int, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tail, "MOST_EVENTS", 30)
        patched.setattr(tail, "SLACK", 3)
        kept = Tail(0)
        position, streams = 0, []
        for number, size in enumerate(sizes):
            made = unit(number, size)
            kept.add(made, Committed(first=position + 1, last=position + size), 10 * size)
            position += size
            streams += [append.stream for append in made.appends]
        assert position - kept.start <= 30
        found = kept.read(after, limit, None)
        if after < kept.start:
            assert found is None
            return
        assert found is not None
        events, reached = found
        expected = list(range(after + 1, min(position, after + limit) + 1))
        assert [event.position for event in events] == expected
        assert [event.stream for event in events] == [streams[one - 1] for one in expected]
        assert reached == max(after, min(position, after + limit))
        queues = kept.read(after, 1000, EventFilter(types=frozenset({"QueueConfigured"})))
        assert queues is not None
        assert [event.stream for event in queues[0]] == [name for name in streams[after:] if name.startswith("queue/")]
        assert queues[1] == max(after, position)


def test_large_units_push_out_small_ones() -> None:
    kept = Tail(0)
    kept.add(unit(0, 3), Committed(first=1, last=3), 100)
    kept.add(unit(1, 2), Committed(first=4, last=5), tail.MOST_BYTES)
    assert kept.start == 3
    assert kept.read(2, 10, None) is None
    found = kept.read(3, 10, None)
    assert found is not None
    assert [event.position for event in found[0]] == [4, 5]


def test_what_was_pushed_out_is_not_held_any_more() -> None:
    def units() -> int:
        gc.collect()
        return sum(type(each) is Unit for each in gc.get_objects())

    before, kept = units(), Tail(0)
    for number in range(20):
        kept.add(unit(number, 1), Committed(first=number + 1, last=number + 1), tail.MOST_BYTES // 4)
    assert kept.start == 16
    assert units() - before == 4


def test_a_unit_without_events_changes_nothing() -> None:
    kept = Tail(7)
    kept.add(Unit(appends=(), request=request("r")), Committed(first=8, last=7), 0)
    assert kept.read(7, 10, None) == ([], 7)


def test_events_say_which_request_made_them() -> None:
    kept = Tail(0)
    kept.add(unit(5, 1), Committed(first=1, last=1), 10)
    found = kept.read(0, 10, None)
    assert found is not None
    assert (found[0][0].request_id, found[0][0].request_digest) == ("r5", b"d" * 32)
