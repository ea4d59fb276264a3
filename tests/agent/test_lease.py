"""The fence: until when a holder may write, counted from the sending of what was acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tenure.agent.lease import Lease

NS = 1_000_000_000


def test_nothing_is_written_before_the_first_acknowledged_beat() -> None:
    lease = Lease(length_ns=60 * NS, now_ns=0)
    assert lease.write_left_ns(0) == 0
    lease.beat_sent(1 * NS)
    assert lease.write_left_ns(2 * NS) == 0
    lease.beat_acknowledged()
    assert lease.write_left_ns(2 * NS) == 47 * NS


def test_it_counts_from_the_sending_not_from_the_answer() -> None:
    lease = Lease(length_ns=10 * NS, now_ns=0)
    lease.beat_sent(0)
    lease.beat_sent(5 * NS)
    lease.beat_acknowledged()
    assert lease.write_left_ns(7 * NS) == 1 * NS
    lease.beat_acknowledged()
    assert lease.write_left_ns(7 * NS) == 6 * NS


def test_beats_of_a_broken_stream_renew_nothing() -> None:
    lease = Lease(length_ns=10 * NS, now_ns=0)
    lease.beat_sent(0)
    lease.forget_beats()
    lease.beat_sent(3 * NS)
    lease.beat_acknowledged()
    lease.beat_acknowledged()
    assert lease.write_left_ns(3 * NS) == 8 * NS


def test_keep_opens_it_again_with_the_length_that_was_said() -> None:
    lease = Lease(length_ns=2 * NS, now_ns=0)
    lease.kept(100 * NS, 60 * NS)
    assert lease.write_left_ns(101 * NS) == 47 * NS
    lease.kept(90 * NS, 0)
    assert (lease.heard_ns, lease.length_ns) == (100 * NS, 60 * NS)


def test_a_lost_lease_never_opens() -> None:
    lease = Lease(length_ns=10 * NS, now_ns=0)
    lease.beat_sent(0)
    lease.lose()
    lease.beat_acknowledged()
    lease.kept(1 * NS, 10 * NS)
    assert lease.write_left_ns(1 * NS) == 0


def test_the_command_goes_on_without_contact_for_as_long_as_its_job_says() -> None:
    lease = Lease(length_ns=10 * NS, now_ns=0)
    assert lease.disconnected_left_ns(4 * NS, 600 * NS) == 596 * NS
    assert lease.disconnected_left_ns(4 * NS, 0) == 6 * NS
    assert lease.disconnected_left_ns(11 * NS, 0) == 0


@given(
    st.lists(st.tuples(st.sampled_from(["send", "answer", "break", "wait"]), st.integers(0, 20))),
    st.integers(1, 50),
)
def test_the_holder_always_thinks_its_lease_shorter_than_the_server(steps: list[tuple[str, int]], length: int) -> None:
    """The server renews when it reads a beat, which is never before it was sent."""
    lease, now, on_the_way, server_ends = Lease(length_ns=length * NS, now_ns=0), 0, 0, length * NS
    for what, span in steps:
        now += span * NS
        match what:
            case "send":
                lease.beat_sent(now)
                on_the_way += 1
            case "answer" if on_the_way:
                on_the_way -= 1
                server_ends = max(server_ends, now + length * NS)
                lease.beat_acknowledged()
            case "break":
                lease.forget_beats()
                on_the_way = 0
        left = lease.write_left_ns(now)
        assert left == 0 or now + left <= server_ends - length * NS // 5
