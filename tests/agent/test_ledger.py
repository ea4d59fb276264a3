"""The worker's side of the protocol, message by message, without a stream and on instants that the test names."""

from __future__ import annotations

from tenure.agent.assignment import decode
from tenure.agent.holding import Standing
from tenure.agent.ledger import IDLE_BEAT_NS, NS, RESEND_NS
from tenure.agent.outcome import Failed, Released, StopCause, Stopped, Succeeded
from tenure.v1 import errors_pb2, job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.book import Book
from tests.agent.fake_server import HELD, LOST, assignment, instant, span


def test_the_first_beat_follows_the_acknowledged_accept_at_once() -> None:
    book = Book()
    holding = book.offer()
    assert book.take() == {}
    book.ledger.accept(holding)
    assert list(book.take()["accept"].lease_ids) == ["a"]
    assert book.take() == {}
    book.accept_ack("a")
    assert holding.standing is Standing.HELD
    beat = book.take()["heartbeat"].beats[0]
    assert (beat.lease_id, beat.count, beat.stage) == ("a", 1, job_pb2.ATTEMPT_STAGE_SYNC_BEFORE)


def test_beats_come_at_their_interval_and_count_up() -> None:
    book = Book()
    book.held()
    times = []
    for second in range(95):
        book.now = second * NS
        for beat in book.take().get("heartbeat", pb.Heartbeat()).beats:
            times.append((second, beat.count))
            book.beat_ack("a")
    assert times == [(0, 1), (30, 2), (60, 3), (90, 4)]


def test_the_server_names_the_next_interval() -> None:
    book = Book()
    book.held()
    book.take()
    book.now = 1 * NS
    book.beat_ack("a", next_s=5)
    assert book.ledger.due_ns() == 5 * NS
    book.now = 5 * NS
    assert book.take()["heartbeat"].beats[0].count == 2
    # Never so slow that one late beat ends the lease.
    book.beat_ack("a", next_s=500)
    assert book.ledger.due_ns() == 5 * NS + IDLE_BEAT_NS
    book.now = 34 * NS
    assert not book.take()["heartbeat"].beats
    book.now = 35 * NS
    assert book.take()["heartbeat"].beats[0].count == 3


def test_an_idle_worker_beats_for_itself_alone() -> None:
    book = Book()
    book.now = IDLE_BEAT_NS
    assert book.take() == {"heartbeat": pb.Heartbeat()}
    assert book.ledger.unanswered_ns == IDLE_BEAT_NS
    book.beat_ack()
    assert book.ledger.unanswered_ns is None


def test_many_leases_share_messages() -> None:
    book = Book()
    holdings = [book.offer(f"l{number}") for number in range(50)]
    for holding in holdings:
        book.ledger.accept(holding)
    assert len(book.take()["accept"].lease_ids) == 50
    for number in range(50):
        book.now = number * NS // 1000
        book.accept_ack(f"l{number}")
    assert len(book.take()["heartbeat"].beats) == 50
    for holding in holdings:
        book.ledger.finish(holding, Succeeded())
    assert len(book.take()["report"].items) == 50


def test_a_repeated_assignment_is_accepted_again_and_not_run_again() -> None:
    book = Book()
    book.ledger.accept(book.offer())
    book.take()
    assert book.ledger.add(decode(assignment("a")), book.now) is None
    assert list(book.take()["accept"].lease_ids) == ["a"]


def test_a_decline_is_said_once() -> None:
    book = Book()
    book.offer()
    book.ledger.decline("a", "no room")
    assert book.take()["decline"].items[0].reason == "no room"
    assert book.take() == {}
    assert book.ledger.held_leases() == []


def test_started_counts_when_it_is_acknowledged() -> None:
    book = Book()
    holding = book.held()
    book.take()
    book.ledger.announce_started(holding)
    assert book.take()["report"].items[0].WhichOneof("outcome") == "started"
    states = [holding.started]
    book.report_ack("started")
    assert [*states, holding.started, holding.over] == [False, True, False]


def test_a_start_that_is_refused_for_whatever_reason_never_happens() -> None:
    for state, error in ((LOST, 0), (HELD, errors_pb2.ERROR_REASON_JOB_STOPPING)):
        book = Book()
        holding = book.held()
        book.ledger.announce_started(holding)
        book.take()
        book.report_ack("started", state, error)
        assert not holding.started
        assert holding.over
        assert StopCause.LOST in holding.orders


def test_an_outcome_is_repeated_until_it_is_acknowledged() -> None:
    book = Book()
    holding = book.held()
    book.take()
    book.beat_ack("a")
    book.ledger.finish(holding, Failed(stage=job_pb2.ATTEMPT_STAGE_RUN, message="x", exit_code=1))
    item = book.take()["report"].items[0]
    assert (item.failed.exit_code, item.last_beat.count) == (1, 1)
    assert "report" not in book.take()
    book.now = RESEND_NS
    assert "report" in book.take()
    book.ledger.reset(book.now)
    assert "report" in book.take()
    states = []
    for kind in ("succeeded", "failed"):
        book.report_ack(kind)
        states.append(holding.settled)
    assert states == [False, True]
    book.now = 100 * NS
    assert "report" not in book.take()


def test_beats_go_on_until_the_outcome_is_acknowledged_and_a_lost_one_then_says_nothing() -> None:
    book = Book()
    holding = book.held()
    book.take()
    book.ledger.finish(holding, Succeeded())
    book.now = 30 * NS
    assert [beat.count for beat in book.take()["heartbeat"].beats] == [2]
    book.beat_ack("a", state=LOST)
    assert not holding.over
    book.report_ack("succeeded")
    assert holding.settled


def test_an_outcome_that_does_not_count_is_followed_by_stopped() -> None:
    book = Book()
    holding = book.held()
    book.ledger.finish(holding, Succeeded())
    book.take()
    book.report_ack("succeeded", LOST)
    assert book.take()["report"].items[0].WhichOneof("outcome") == "stopped"
    book.report_ack("stopped", LOST)
    assert holding.settled


def test_a_lost_lease_owes_stopped_once_the_attempt_is_quiet() -> None:
    book = Book()
    holding = book.held()
    book.take()
    book.ledger.announce_started(holding)
    book.beat_ack("a", state=LOST)
    assert holding.over
    assert holding.lease.lost
    assert book.take() == {}
    # Whatever the attempt came to: only this counts any more.
    book.ledger.finish(holding, Released(reason="x"))
    assert holding.outcome == Stopped()
    assert book.take()["report"].items[0].WhichOneof("outcome") == "stopped"
    book.now = 30 * NS
    assert not book.take()["heartbeat"].beats


def test_an_assignment_that_was_taken_back_owes_nothing() -> None:
    book = Book()
    holding = book.offer()
    book.ledger.accept(holding)
    book.take()
    book.accept_ack("a", LOST)
    assert holding.over
    assert holding.settled
    assert book.ledger.held_leases() == []
    assert book.take() == {}


def test_what_was_revoked_before_it_was_taken_is_reported_as_stopped_until_that_is_acknowledged() -> None:
    """A server that was started anew takes the assignment for accepted, and its slot for busy until it hears this."""
    book = Book()
    holding = book.offer()
    book.stop()
    assert holding.over
    assert holding.settled
    assert book.ledger.held_leases() == []
    assert [item.WhichOneof("outcome") for item in book.take()["report"].items] == ["stopped"]
    assert book.take() == {}
    assert book.ledger.due_ns() == RESEND_NS
    book.now = RESEND_NS
    assert [item.lease_id for item in book.take()["report"].items] == ["a"]
    book.report_ack("stopped")
    book.now = 2 * RESEND_NS
    assert "report" not in book.take()


def test_an_assignment_that_was_not_taken_and_not_kept_is_reported_as_stopped() -> None:
    book = Book()
    book.offer()
    book.ledger.reset(book.now)
    book.ledger.welcome(pb.Welcome(leases=[pb.LeaseVerdict(lease_id="a", keep=False)]), book.now, book.now)
    assert [item.WhichOneof("outcome") for item in book.take()["report"].items] == ["stopped"]


def test_what_is_revoked_after_it_was_taken_back_is_reported_as_stopped() -> None:
    """The server told an earlier stream that it is held, and so waits for that."""
    book = Book()
    book.ledger.accept(book.offer())
    book.take()
    book.accept_ack("a", LOST)
    book.stop()
    assert [item.WhichOneof("outcome") for item in book.take()["report"].items] == ["stopped"]


def test_of_what_is_not_in_hand_only_the_end_of_its_lease_is_answered() -> None:
    book = Book()
    book.stop("x", pb.STOP_REASON_CANCEL_REQUESTED)
    book.stop("y", pb.STOP_REASON_EXPIRING)
    assert book.take() == {}
    book.stop("z")
    # A new stream does not name it: that says the same.
    book.ledger.reset(book.now)
    assert book.take() == {}


def test_hello_names_everything_and_the_verdict_decides() -> None:
    book = Book()
    kept, lost, offered = book.held("a"), book.held("b"), book.offer("c")
    book.now = 100 * NS
    book.ledger.reset(book.now)
    assert [lease.lease_id for lease in book.ledger.held_leases()] == ["a", "b", "c"]
    book.now = 101 * NS
    verdicts = [
        pb.LeaseVerdict(lease_id="a", keep=True, lease=span(60), expires_at=instant(7)),
        pb.LeaseVerdict(lease_id="b", keep=False, message="given to another worker"),
        pb.LeaseVerdict(lease_id="c", keep=False),
    ]
    book.ledger.welcome(pb.Welcome(leases=verdicts), 100 * NS, book.now)
    assert kept.lease.write_left_ns(book.now) == 47 * NS
    assert kept.deadline_us == 7
    assert lost.orders[StopCause.LOST].reason == "given to another worker"
    assert offered.settled
    assert [beat.lease_id for beat in book.take()["heartbeat"].beats] == ["a"]


def test_stop_orders_are_told_apart() -> None:
    book = Book()
    cancelled, expiring, revoked, unknown = (book.held(each) for each in "abcd")
    book.now = 5 * NS
    reasons = [
        pb.STOP_REASON_CANCEL_REQUESTED,
        pb.STOP_REASON_EXPIRING,
        pb.STOP_REASON_LEASE_REVOKED,
        pb.STOP_REASON_UNSPECIFIED,
    ]
    items = [
        pb.Stop.Item(lease_id=each, reason=reason, grace=span(9)) for each, reason in zip("abcd", reasons, strict=True)
    ]
    book.ledger.stop(pb.Stop(items=[*items, pb.Stop.Item(lease_id="other")]), book.now)
    order = cancelled.orders[StopCause.CANCEL]
    assert (order.at_ns, order.grace_ns) == (5 * NS, 9 * NS)
    assert set(expiring.orders) == {StopCause.EXPIRE}
    assert revoked.over
    assert unknown.over
    assert not cancelled.over


def test_deadlines_move_and_the_listener_is_told() -> None:
    book = Book()
    holding = book.held()
    told: list[int | None] = []
    holding.listener = lambda: told.append(holding.deadline_us)
    items = [pb.DeadlineChanged.Item(lease_id="a", expires_at=instant(9))]
    book.ledger.deadlines_changed(pb.DeadlineChanged(items=items))
    assert told == [9]


def test_the_deadline_is_measured_by_the_servers_clock() -> None:
    book = Book()
    holding = book.held()
    assert book.ledger.deadline_ns(holding) is None
    book.now = 10 * NS
    book.ledger.welcome(pb.Welcome(server_time=instant(1_000_000_000)), 9 * NS, book.now)
    holding.move_deadline(1_003_000_000)
    assert book.ledger.deadline_ns(holding) == 13 * NS


def test_what_is_not_known_changes_nothing() -> None:
    book = Book()
    book.accept_ack("x")
    book.beat_ack("x", state=LOST)
    book.report_ack("failed", LOST, lease_id="x")
    book.ledger.welcome(pb.Welcome(leases=[pb.LeaseVerdict(lease_id="x", keep=True)]), 0, 0)
    assert book.take() == {}
