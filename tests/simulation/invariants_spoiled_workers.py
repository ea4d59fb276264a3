"""Histories in which workers, or what is said to them, go wrong."""

from __future__ import annotations

from tenure.domain import events as e
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation import invariants_lives as made
from tests.simulation.invariants_lives import Example, ns
from tests.simulation.invariants_spoiled import breaks, lost


@breaks("starts-after-confirmation")
def a_command_starts_before_its_start_is_written() -> Example:
    example = made.good()
    example.history.executions[0].started_ns = ns(2.9)
    return example


@breaks("starts-after-confirmation")
def a_command_starts_before_the_worker_is_told() -> Example:
    example = made.good()
    example.history.executions[0].acknowledged = False
    return example


@breaks("input-is-complete")
def a_command_starts_on_partial_input() -> Example:
    example = made.good()
    example.history.executions[0].inputs_complete = False
    return example


@breaks("completed-means-stored")
def a_success_without_its_output() -> Example:
    example = made.good()
    example.history.executions[0].promised["out/b"] = "x"
    return example


@breaks("no-write-after-the-fence")
def a_silent_worker_writes() -> Example:
    example, run = made.running()
    example.stores(run, 28, 29)
    return example


@breaks("no-write-after-the-fence")
def a_worker_writes_before_it_is_known_to_be_heard() -> Example:
    example, run = made.running()
    example.stores(run, 2.4, 2.5)
    return example


@breaks("no-write-of-a-lost-attempt")
def a_lost_attempt_writes() -> Example:
    example = lost(32.5)
    example.stores(example.history.executions[0], 32.6, 33)
    return example


@breaks("lost-stops")
def a_worker_goes_on_though_it_was_told() -> Example:
    example = lost(32.5)
    example.hello(40, made.LEASE, stream=1, keep=False)
    example.history.executions[0].ended_ns = ns(50)
    return example


@breaks("disconnected-ends")
def a_command_goes_on_without_contact() -> Example:
    example, run = made.running()
    run.ended_ns = ns(80)
    return example


@breaks("one-stream-a-worker")
def an_older_stream_speaks() -> Example:
    example, _ = made.running()
    example.hello(14, made.LEASE, stream=1)
    example.beats(16, 3, stream=0)
    return example


@breaks("one-stream-a-worker")
def the_older_of_two_streams_that_are_welcomed_together_speaks() -> Example:
    example, _ = made.running()
    example.hello(14, made.LEASE, stream=2)
    example.hello(14, made.LEASE, stream=1)
    example.beats(16, 3, stream=1)
    return example


@breaks("hello-names-what-runs")
def a_hello_leaves_out_what_runs() -> Example:
    example, _ = made.running()
    example.hello(14, stream=1)
    return example


@breaks("live-leases-are-kept")
def a_live_lease_is_called_lost() -> Example:
    example, _ = made.running()
    example.hello(14, made.LEASE, stream=1, keep=False)
    return example


@breaks("held-means-held")
def a_lost_lease_is_called_held() -> Example:
    example = lost(32.5)
    example.beats(40, 4)
    return example


@breaks("held-means-held")
def a_lease_is_called_held_by_the_second_of_two_answers() -> Example:
    example, _ = made.running()
    for at_s, count in ((31, 3), (33, 4)):
        beat = pb.Beat(lease_id=made.LEASE, count=count)
        example.up(at_s, pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[beat])), 0)
    example.write(32, made.expired(20), made.requeued(e.RequeueCause.LOST, 32))
    item = pb.HeartbeatAck.Item(lease_id=made.LEASE, state=made.HELD)
    example.down(34, pb.ConnectResponse(heartbeat_ack=pb.HeartbeatAck(items=[item, item])), 0)
    return example


@breaks("held-means-held")
def a_lease_is_called_held_that_nobody_has_written() -> Example:
    example, _ = made.running()
    example.accept(14, lease_id="lease-9")
    return example


@breaks("reports-are-answered-rightly")
def a_report_is_acknowledged_and_not_written() -> Example:
    example, _ = made.running()
    example.report(20, "failed", count=2)
    example.reported(20.1, pb.REPORT_KIND_FAILED)
    return example


@breaks("reports-are-answered-rightly")
def a_repeated_report_is_called_lost() -> Example:
    example = made.good()
    example.report(40, "succeeded", count=3)
    example.reported(40.1, pb.REPORT_KIND_SUCCEEDED, made.LOST)
    return example


@breaks("credit-is-kept")
def a_worker_is_given_more_than_it_has_slots() -> Example:
    example, _ = made.running()
    example.write(20, made.created(), stream="job/job-2")
    example.write(21, made.assigned(1, lease_id="lease-2"), stream="job/job-2")
    example.offer(21, "lease-2")
    return example


@breaks("credit-is-kept")
def a_slot_is_given_again_before_it_is_free() -> Example:
    example = lost(32.5)
    example.write(33, made.created(), stream="job/job-2")
    example.write(33, made.assigned(1, lease_id="lease-2"), stream="job/job-2")
    example.offer(33, "lease-2")
    return example


@breaks("deadlines-are-told")
def a_deadline_is_not_told_on_connecting() -> Example:
    example, _ = made.running()
    example.hello(14, made.LEASE, stream=1)
    return example


@breaks("cancels-are-told")
def a_cancellation_is_not_told_on_connecting() -> Example:
    example, _ = made.running()
    example.write(14, e.CancelRequested(reason="", until_us=made.us(60)))
    example.hello(15, made.LEASE, stream=1)
    example.beats(20, 4, stream=1)
    return example


@breaks("revoked-is-told")
def a_worker_is_not_told_that_its_lease_was_taken() -> Example:
    example, _ = made.running()
    example.write(14, made.terminated(e.Outcome.CANCELLED))
    example.up(20, pb.ConnectRequest(heartbeat=pb.Heartbeat()))
    return example
