from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tenure.controlplane.feeds import LOW_BYTES, WINDOW_BYTES, Bell, Feed, Window
from tenure.v1 import worker_service_pb2 as pb


def piece(offset: int, data: bytes = b"", *, printed: int = 0, end: bool = False) -> pb.ShipLogsRequest:
    return pb.ShipLogsRequest(lease_id="l", offset=offset, data=data, printed=printed, end=end)


def feed() -> Feed:
    return Feed("l", 1, Bell())


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=20)), max_size=20), st.integers(1, 30))
def test_a_window_holds_the_newest_bytes_without_gaps(pieces: list[tuple[int, bytes]], capacity: int) -> None:
    window, known, end = Window(capacity), dict[int, int](), 0
    for offset, data in pieces:
        if offset > end:
            known.clear()
        # What was there stays as it is, whatever a worker says of it later.
        known.update({at: byte for at, byte in enumerate(data, offset) if at >= end})
        end = max(end, offset + len(data))
        window.put(offset, data)
        assert window.end == end
        assert window.end - window.start <= capacity
        first, read = window.read(0, 1000)
        assert (first, len(read)) == (window.start, window.end - window.start)
        assert all(known[at] == byte for at, byte in enumerate(read, first))


def test_the_first_who_follows_decides_where_it_begins() -> None:
    one = feed()
    follower, ask = one.join(500)
    assert (ask, one.cursor) == (True, 500)
    assert one.take(follower) == (500, b"")
    one.begin()
    one.put(piece(500, b"abc", printed=503))
    assert one.take(follower) == (500, b"abc")
    assert (one.cursor, one.printed) == (503, 503)


def test_who_wants_earlier_output_asks_for_it_once() -> None:
    one = feed()
    first, _ = one.join(500)
    shipment = one.begin()
    one.put(piece(500, b"abc"))
    second, ask = one.join(0)
    assert ask
    assert one.shipment is not shipment
    assert one.cursor == 0
    one.begin()
    one.put(piece(100, b"x" * 400))
    one.put(piece(500, b"abc"))
    assert one.take(second) == (100, b"x" * 400 + b"abc")
    assert one.take(first) == (500, b"abc")
    # The worker has nothing from before.
    assert one.join(0)[1] is False
    assert one.join(200)[1] is False


def test_a_full_window_has_what_the_worker_has() -> None:
    one = feed()
    one.join(0)
    for number in range(2 * WINDOW_BYTES // 65_536):
        one.put(piece(number * 65_536, b"x" * 65_536))
    late, ask = one.join(10)
    assert not ask
    assert one.take(late)[0] == WINDOW_BYTES


def test_the_fastest_reader_decides_how_fast_more_is_taken() -> None:
    one = feed()
    slow, fast = one.join(0)[0], one.join(0)[0]
    roomy = []
    for offset in (0, 65_536, 2 * 65_536):
        one.put(piece(offset, b"x" * 65_536))
        roomy.append(one.roomy)
    assert roomy == [True, True, False]
    one.take(fast)
    assert (one.roomy, one.take(slow)[0]) == (True, 0)


def test_who_waits_for_what_is_far_ahead_holds_nobody_up_and_hurries_nobody() -> None:
    one = feed()
    one.join(0)
    one.join(2**62)
    one.put(piece(0, b"x" * (LOW_BYTES + 1)))
    assert not one.roomy


def test_the_end_is_reached_when_everything_was_taken() -> None:
    one = feed()
    follower, _ = one.join(0)
    one.put(piece(0, b"abc", end=True))
    assert not one.drained(follower)
    one.take(follower)
    assert one.drained(follower)


async def test_a_bell_wakes_who_listens_and_nobody_later() -> None:
    bell = Bell()
    before = bell.listen()
    bell.ring()
    assert before.is_set()
    assert not bell.listen().is_set()
