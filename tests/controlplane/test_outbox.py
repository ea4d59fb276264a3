from __future__ import annotations

from tenure.controlplane.outbox import ASSIGNMENTS_BYTES, Outbox
from tenure.v1 import worker_service_pb2 as pb

HELD, LOST = pb.LEASE_STATE_HELD, pb.LEASE_STATE_LOST


def kinds(messages: list[pb.ConnectResponse]) -> list[str | None]:
    return [message.WhichOneof("message") for message in messages]


def test_what_gathers_leaves_as_one_message_of_each_kind() -> None:
    box = Outbox()
    for name in ("a", "b"):
        box.stop(pb.Stop.Item(lease_id=name))
        box.reported(pb.ReportAck.Item(lease_id=name, kind=pb.REPORT_KIND_STARTED))
        box.heard([pb.HeartbeatAck.Item(lease_id=name)])
        box.accepted(pb.AcceptAck.Item(lease_id=name))
        box.deadline(pb.DeadlineChanged.Item(lease_id=name))
        box.assign(pb.Assignment(lease_id=name), 100)
        box.follow(name)
        box.follow(name)
    box.direct(pb.ConnectResponse(welcome=pb.Welcome()))
    assert len(box) == 1 + 7 * 2 + 1
    messages = list(box.take())
    assert kinds(messages) == [
        "welcome", "assignments", "accept_ack", "heartbeat_ack", "report_ack", "deadline_changed", "stop",
        "follow_output",
    ]  # fmt: skip
    assert [item.lease_id for item in messages[1].assignments.items] == ["a", "b"]
    assert [item.lease_id for item in messages[3].heartbeat_ack.items] == ["a", "b"]
    assert list(messages[7].follow_output.lease_ids) == ["a", "b"]
    assert (len(box), list(box.take())) == (0, [])


def test_a_heartbeat_without_leases_is_answered() -> None:
    box = Outbox()
    box.heard([])
    assert len(box) == 1
    assert kinds(list(box.take())) == ["heartbeat_ack"]


def test_large_assignments_go_in_several_messages() -> None:
    box = Outbox()
    for index in range(5):
        box.assign(pb.Assignment(lease_id=str(index)), ASSIGNMENTS_BYTES // 2)
    assert [len(message.assignments.items) for message in box.take()] == [2, 2, 1]


def test_one_that_is_larger_than_a_message_goes_alone() -> None:
    box = Outbox()
    for index in range(2):
        box.assign(pb.Assignment(lease_id=str(index)), 2 * ASSIGNMENTS_BYTES)
    assert [len(message.assignments.items) for message in box.take()] == [1, 1]


def test_held_is_taken_back_while_it_waits() -> None:
    box = Outbox()
    box.accepted(pb.AcceptAck.Item(lease_id="a", state=HELD))
    box.reported(pb.ReportAck.Item(lease_id="a", state=HELD, kind=pb.REPORT_KIND_STARTED))
    box.reported(pb.ReportAck.Item(lease_id="b", state=HELD, kind=pb.REPORT_KIND_SUCCEEDED))
    box.deadline(pb.DeadlineChanged.Item(lease_id="a"))
    assert box.take_back_held("a")
    assert not box.take_back_held("b")
    accepts, reports = box.take()
    assert accepts.accept_ack.items[0].state == LOST
    assert [item.state for item in reports.report_ack.items] == [LOST, HELD]


def test_a_beat_that_was_answered_with_held_is_taken_back_while_the_answer_waits() -> None:
    box = Outbox()
    box.heard([pb.HeartbeatAck.Item(lease_id=name, state=HELD) for name in ("a", "b")])
    assert not box.take_back_held("a")
    (beats,) = box.take()
    assert [(item.lease_id, item.state) for item in beats.heartbeat_ack.items] == [("a", LOST), ("b", HELD)]


def test_what_waits_behind_a_message_that_is_on_its_way_can_still_be_taken_back() -> None:
    box = Outbox()
    for name in ("a", "b"):
        box.assign(pb.Assignment(lease_id=name), ASSIGNMENTS_BYTES)
    box.accepted(pb.AcceptAck.Item(lease_id="c", state=HELD))
    messages = box.take()
    assert next(messages).assignments.items[0].lease_id == "a"
    assert not box.take_back_assignment("a")
    assert box.take_back_assignment("b")
    assert box.take_back_held("c")
    box.stop(pb.Stop.Item(lease_id="a"))
    accepts, stops = messages
    assert accepts.accept_ack.items[0].state == LOST
    assert (stops.stop.items[0].lease_id, len(box)) == ("a", 0)


def test_an_assignment_is_taken_back_while_it_waits() -> None:
    box = Outbox()
    box.assign(pb.Assignment(lease_id="a"), 10)
    assert box.take_back_assignment("a")
    assert not box.take_back_assignment("a")
    assert list(box.take()) == []


def test_a_new_deadline_voids_the_warning_of_the_old_one() -> None:
    box = Outbox()
    box.stop(pb.Stop.Item(lease_id="a", reason=pb.STOP_REASON_EXPIRING))
    box.stop(pb.Stop.Item(lease_id="b", reason=pb.STOP_REASON_CANCEL_REQUESTED))
    box.deadline(pb.DeadlineChanged.Item(lease_id="a"))
    box.deadline(pb.DeadlineChanged.Item(lease_id="b"))
    assert [item.lease_id for item in list(box.take())[1].stop.items] == ["b"]
