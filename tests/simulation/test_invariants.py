"""The checker can fail: for each invariant a small history that breaks it is noticed, and a good one passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tenure.domain import events as e
from tenure.domain.job import Job, create, evolve
from tenure.v1 import job_service_pb2, queue_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation import invariants_examples as made
from tests.simulation.history import Fault, Refusal, Span
from tests.simulation.invariants import CHECKS, LOG_RULES, NAMES, STATE, StateJudge, check
from tests.simulation.invariants_examples import Example, ns

HOLDER = f"worker:{made.WORKER}"
Spoil = Callable[[], Example]
SPOILED: dict[str, list[Spoil]] = {}


def breaks(name: str) -> Callable[[Spoil], Spoil]:
    """The history that this makes breaks that invariant."""

    def note(spoil: Spoil) -> Spoil:
        SPOILED.setdefault(name, []).append(spoil)
        return spoil

    return note


def change(example: Example, position: int, **fields: Any) -> None:
    """Change an event of the log."""
    example.history.log[position - 1] = dataclasses.replace(example.history.log[position - 1], **fields)


# --- the log ----------------------------------------------------------------------------------------------------------


@breaks("positions-are-dense")
def a_version_is_missing() -> Example:
    example = made.good()
    change(example, 3, version=4)
    return example


@breaks("positions-are-dense")
def an_id_is_there_twice() -> Example:
    example = made.good()
    change(example, 4, event_id="event-3")
    return example


@breaks("chain-is-valid")
def an_event_was_changed() -> Example:
    example = made.good()
    head = example.finish().head
    change(example, 3, time_us=example.history.log[2].time_us + 1)
    example.finish = lambda: example.history  # type: ignore[method-assign]
    assert head is not None
    return example


@breaks("log-only-grows")
def the_log_was_another() -> Example:
    example = made.good()
    example.finish()
    checkpoint = example.history.checkpoints[1]
    example.history.checkpoints[1] = dataclasses.replace(checkpoint, digest="00" * 32)
    example.finish = lambda: example.history  # type: ignore[method-assign]
    return example


@breaks("nothing-after-a-failed-fsync")
def a_process_goes_on_after_a_failed_fsync() -> Example:
    example = made.good()
    example.history.committed[2].told_ns = None
    return example


@breaks("secrets-stay-out")
def a_secret_is_in_the_log() -> Example:
    example = made.good()
    change(example, 3, actor="a-secret-token")
    return example


@breaks("secrets-stay-out")
def a_secret_is_in_an_answer() -> Example:
    example = made.good()
    refusal = Refusal(code="INVALID_ARGUMENT", reason="INVALID_FIELD", message="not a-secret-token")
    example.call(40, "RetrieveJob", job_service_pb2.RetrieveJobRequest(id="x"), refusal)
    return example


@breaks("events-are-legal")
def something_comes_after_the_end() -> Example:
    example = made.good()
    example.write(40, e.JobExtended(requested_us=1))
    return example


@breaks("events-are-legal")
def a_failed_attempt_has_no_consequence() -> Example:
    example, _ = made.running()
    example.write(20, made.failed(), actor=HOLDER)
    example.write(21, e.JobExtended(requested_us=1))
    return example


@breaks("times-are-in-order")
def time_runs_backwards() -> Example:
    example, _ = made.running()
    example.write(20, e.JobExtended(requested_us=1), time_s=1.5)
    return example


@breaks("one-lease-a-job")
def an_old_attempt_has_an_outcome() -> Example:
    example, _ = made.running()
    example.write(40, made.expired(28), made.requeued(e.RequeueCause.LOST, 40))
    example.write(41, made.assigned(2, "worker-2", "lease-2"))
    example.write(42, made.failed(), made.requeued(e.RequeueCause.FAILED, 42), actor=HOLDER)
    return example


@breaks("one-lease-a-job")
def an_attempt_is_left_out() -> Example:
    example, _ = made.running()
    example.write(40, made.expired(28), made.requeued(e.RequeueCause.LOST, 40))
    example.write(41, made.assigned(3, "worker-2", "lease-2"))
    return example


@breaks("only-the-holder-counts")
def another_worker_ends_the_attempt() -> Example:
    example, _ = made.running()
    example.write(20, made.failed(), made.requeued(e.RequeueCause.FAILED, 20), actor="worker:worker-2")
    return example


@breaks("only-the-holder-counts")
def a_job_completes_that_was_not_started() -> Example:
    example = Example()
    made.create(example)
    made.take(example)
    example.write(5, made.terminated(e.Outcome.COMPLETED), actor=HOLDER)
    return example


@breaks("bans-are-kept")
def a_banned_worker_gets_the_job() -> Example:
    example, _ = made.running()
    example.write(20, made.failed(), made.requeued(e.RequeueCause.FAILED, 20), actor=HOLDER)
    example.write(30, made.assigned(2, lease_id="lease-2"))
    return example


@breaks("a-failure-bans")
def a_failure_does_not_ban() -> Example:
    example, _ = made.running()
    example.write(20, made.failed(), made.requeued(e.RequeueCause.FAILED, 19), actor=HOLDER)
    return example


@breaks("waits-are-kept")
def the_wait_is_not_over() -> Example:
    example, _ = made.running()
    waits = dataclasses.replace(made.requeued(e.RequeueCause.FAILED, 20), not_before_us=made.us(60))
    example.write(20, made.failed(), waits, actor=HOLDER)
    example.write(30, made.assigned(2, "worker-2", "lease-2"))
    return example


@breaks("failures-are-counted")
def the_first_failure_ends_the_job() -> Example:
    example, _ = made.running()
    example.write(20, made.failed(), made.terminated(e.Outcome.FAILED), actor=HOLDER)
    return example


@breaks("failures-are-counted")
def the_job_is_lost_at_once() -> Example:
    example, _ = made.running()
    example.write(40, made.expired(28), made.terminated(e.Outcome.LOST))
    return example


@breaks("nothing-after-the-deadline")
def an_extension_after_the_deadline() -> Example:
    example, _ = made.running()
    made.extend(example, 3 + made.ALLOCATION_S + 0.5, 3 + made.ALLOCATION_S + 60)
    return example


@breaks("expires-at-the-deadline")
def expired_when_it_was_noticed() -> Example:
    example, _ = made.running()
    example.write(3 + made.ALLOCATION_S + 0.5, made.terminated(e.Outcome.EXPIRED))
    return example


@breaks("expires-at-the-deadline")
def expired_before_the_deadline() -> Example:
    example, _ = made.running()
    example.write(100, made.terminated(e.Outcome.EXPIRED))
    return example


@breaks("the-deadline-is-right")
def the_start_forgets_the_extension() -> Example:
    example = Example()
    made.create(example)
    made.extend(example, 1.5, None)
    made.take(example)
    made.start(example)
    return example


@breaks("extensions-are-allowed")
def an_extension_beyond_the_cap() -> Example:
    example, _ = made.running()
    made.extend(example, 20, 3 + made.ALLOCATION_S + 3600, seconds=3600)
    return example


@breaks("counts-never-fall")
def a_count_falls() -> Example:
    example, _ = made.running()
    example.write(20, made.beat(2, 20))
    example.write(21, made.beat(1, 21))
    return example


@breaks("no-duplicates")
def two_equal_jobs_live() -> Example:
    example = Example()
    made.create(example, allow_duplicate=False)
    made.create(example, 2, "create-2", "job-2", allow_duplicate=False)
    return example


# --- calls ------------------------------------------------------------------------------------------------------------


@breaks("acknowledged-is-durable")
def a_created_job_is_not_there() -> Example:
    example = made.good()
    answer = job_service_pb2.CreateJobsResponse(responses=[made.CreatedItem(id="job-2")])
    example.call(40, "CreateJobs", job_service_pb2.CreateJobsRequest(request_id="create-2"), answer)
    return example


@breaks("acknowledged-is-durable")
def a_job_was_acknowledged_before_it_was_durable() -> Example:
    example = made.good()
    example.history.calls[0].durable_at_answer = 0
    return example


@breaks("acknowledged-is-durable")
def an_acknowledged_extension_is_not_there() -> Example:
    example, _ = made.running()
    example.call(20, "ExtendJobs", made.extension(60, "extend-9"), job_service_pb2.ExtendJobsResponse())
    return example


@breaks("acknowledged-is-durable")
def an_acknowledged_cancellation_is_not_there() -> Example:
    example, _ = made.running()
    made.terminate(example, 20)
    return example


@breaks("acknowledged-is-durable")
def an_acknowledged_pause_is_not_there() -> Example:
    example, _ = made.running()
    pause(example, 20)
    return example


@breaks("one-outcome-a-request")
def a_repeat_makes_another_job() -> Example:
    example = Example()
    made.create(example)
    made.create(example, 50, "create-1", "job-2")
    return example


@breaks("one-outcome-a-request")
def a_repeat_is_answered_differently() -> Example:
    example = made.good()
    answer = job_service_pb2.ExtendJobsResponse(
        responses=[job_service_pb2.ExtendJobsResponse.Item(expires_at=made.instant(3))]
    )
    example.call(28, "ExtendJobs", made.extension(60, "extend-1"), answer)
    return example


@breaks("one-outcome-a-request")
def a_refusal_uses_up_the_id() -> Example:
    example, _ = made.running()
    cap = Refusal(code="FAILED_PRECONDITION", reason="EXTENSION_CAP", message="")
    reused = Refusal(code="FAILED_PRECONDITION", reason="REQUEST_ID_REUSED", message="")
    for at_s, answer in ((20, cap), (21, reused)):
        example.call(at_s, "ExtendJobs", made.extension(9999, "extend-9"), answer)
    return example


@breaks("refusals-are-right")
def a_live_job_is_called_final() -> Example:
    example, _ = made.running()
    refusal = Refusal(code="FAILED_PRECONDITION", reason="JOB_FINAL", message="")
    example.call(20, "ExtendJobs", made.extension(60, "extend-9"), refusal)
    return example


@breaks("refusals-are-right")
def a_job_that_is_there_is_not_found() -> Example:
    example, _ = made.running()
    refusal = Refusal(code="NOT_FOUND", reason="JOB_NOT_FOUND", message="")
    example.call(20, "RetrieveJob", job_service_pb2.RetrieveJobRequest(id=made.JOB), refusal)
    return example


@breaks("refusals-are-right")
def an_ended_job_is_called_a_live_twin() -> Example:
    example = made.good()
    refusal = Refusal(code="ALREADY_EXISTS", reason="DUPLICATE_JOB", message="", subject=made.JOB)
    example.call(40, "CreateJobs", job_service_pb2.CreateJobsRequest(request_id="create-2"), refusal)
    return example


@breaks("refusals-are-right")
def an_internal_error() -> Example:
    example = made.good()
    refusal = Refusal(code="INTERNAL", reason="INTERNAL", message="")
    example.call(40, "RetrieveJob", job_service_pb2.RetrieveJobRequest(id=made.JOB), refusal)
    return example


@breaks("extensions-are-kept")
def an_extension_is_shorter_than_asked() -> Example:
    example, _ = made.running()
    made.extend(example, 20, 3 + made.ALLOCATION_S + 60).request.items[0].requested_time.seconds = 90  # type: ignore[attr-defined]
    return example


@breaks("extensions-are-kept")
def the_answer_promises_more_than_the_log() -> Example:
    example, _ = made.running()
    made.extend(example, 20, 3 + made.ALLOCATION_S + 90)
    return example


@breaks("answers-are-of-the-log")
def an_old_version_is_shown() -> Example:
    example, _ = made.running()
    made.retrieve(example, 20, 1, "IN_QUEUE", "Your job is now waiting in the queue!")
    return example


@breaks("answers-are-of-the-log")
def an_update_is_missing() -> Example:
    example, _ = made.running()
    made.retrieve(example, 20, 4, "RUNNING", "Your job is now running!", expires_at=made.instant(3 + made.ALLOCATION_S))
    return example


@breaks("nothing-unflushed-is-visible")
def an_answer_is_ahead_of_the_disk() -> Example:
    example = made.good()
    example.history.calls[1].durable_at_answer = 2
    return example


@breaks("nothing-unflushed-is-visible")
def an_assignment_is_ahead_of_the_disk() -> Example:
    example = made.good()
    example.history.sent[0].durable = 1
    return example


@breaks("nothing-unflushed-is-visible")
def a_watch_is_ahead_of_the_disk() -> Example:
    example = made.good()
    example.history.watches[0].connections[0].deliveries[0].durable = 0
    return example


@breaks("history-is-linearizable")
def an_answered_extension_is_not_seen_by_a_later_read() -> Example:
    example, _ = made.running()
    made.extend(example, 20, 3 + made.ALLOCATION_S + 60)
    made.retrieve(example, 21, 5, "RUNNING", granted_extension=made.span(0))
    return example


@breaks("history-is-linearizable")
def an_extension_is_seen_twice() -> Example:
    example, _ = made.running()
    made.extend(example, 20, 3 + made.ALLOCATION_S + 60)
    made.retrieve(example, 21, 5, "RUNNING", granted_extension=made.span(120))
    return example


# --- watches ----------------------------------------------------------------------------------------------------------


@breaks("watches-are-slices")
def a_watch_leaves_an_event_out() -> Example:
    example = made.good()
    del example.history.watches[0].connections[1].deliveries[0]
    return example


@breaks("watches-are-slices")
def a_watch_repeats_an_event() -> Example:
    example = made.good()
    first, second = example.history.watches[0].connections
    second.deliveries.insert(0, first.deliveries[-1])
    return example


@breaks("watches-are-slices")
def a_watch_stops_short() -> Example:
    example = made.good()
    del example.history.watches[0].connections[1].deliveries[-1]
    return example


@breaks("watches-are-slices")
def a_reader_of_the_log_misses_an_event() -> Example:
    example = made.good()
    del example.history.watches[1].connections[0].deliveries[1]
    return example


@breaks("watches-are-slices")
def a_mark_runs_ahead() -> Example:
    example = made.good()
    deliveries = example.history.watches[0].connections[0].deliveries
    mark = job_service_pb2.WatchJobsResponse(progress_mark=job_service_pb2.ProgressMark(position=9))
    deliveries.append(dataclasses.replace(deliveries[-1], message=mark))
    return example


# --- leases -----------------------------------------------------------------------------------------------------------


def lost(at_s: float, last_beat_s: float = 12) -> Example:
    """The attempt of the good history is lost; it was last heard of 12 s after the begin."""
    example, run = made.running()
    if last_beat_s > 12:
        example.beats(last_beat_s, 3)
    example.write(at_s, made.expired(at_s - last_beat_s), made.requeued(e.RequeueCause.LOST, at_s))
    run.ended_ns = ns(at_s)
    return example


def restarted(heard_s: float | None, at_s: float) -> Example:
    """The server is started again at 20 s, and the lease expires."""
    example, run = made.running()
    example.begin(20)
    if heard_s is not None:
        example.hello(heard_s, made.LEASE, stream=1)
    example.write(at_s, made.expired(1), made.requeued(e.RequeueCause.LOST, at_s))
    run.ended_ns = ns(at_s)
    return example


@breaks("no-early-expiry")
def a_lease_expires_early() -> Example:
    return lost(31)


@breaks("no-early-expiry")
def a_lease_expires_early_after_a_reconnect() -> Example:
    return restarted(30, 45)


@breaks("grace-after-restart")
def a_restart_costs_a_lease() -> Example:
    return restarted(None, 45)


@breaks("lost-is-noticed")
def a_lost_worker_is_noticed_late() -> Example:
    return lost(70)


def many(count: int, together_s: float) -> Example:
    """Many jobs are given out at 10 s, and all leases expire without having been heard of."""
    example = Example()
    for number in range(count):
        example.write(1, made.created(), stream=f"job/job-{number}")
    for number in range(count):
        example.write(10, made.assigned(1, f"worker-{number}", f"lease-{number}"), stream=f"job/job-{number}")
        example.beats(10 + number * 0.01, 1, f"lease-{number}", stream=number)
    for number in range(count):
        at_s = together_s + number * 0.01
        expired = made.expired(at_s - 10, lease_id=f"lease-{number}", worker_id=f"worker-{number}")
        requeued = made.requeued(e.RequeueCause.LOST, at_s, worker_id=f"worker-{number}")
        example.write(at_s, expired, requeued, stream=f"job/job-{number}")
    return example


@breaks("masses-are-held")
def a_mass_of_leases_ends_at_once() -> Example:
    return many(8, 30)


@breaks("late-sweeps-are-held")
def a_standstill_costs_a_lease() -> Example:
    example = lost(45.1)
    example.boot.pauses.append(Span(begin_ns=ns(20), end_ns=ns(45)))
    return example


@breaks("beats-add-up")
def beats_are_lost_at_the_end() -> Example:
    example = made.good()
    log = example.history.log
    position = next(event.position for event in log if event.payload == made.beat(3, 30))
    change(example, position, payload=made.beat(2, 30))
    return example


def pause(example: Example, at_s: float) -> None:
    """The acknowledgement of a pause."""
    request = queue_service_pb2.PauseQueuesRequest(
        items=[queue_service_pb2.PauseQueuesRequest.Item(name="default", paused=True)], request_id="pause-1"
    )
    example.call(at_s, "PauseQueues", request, queue_service_pb2.PauseQueuesResponse())


@breaks("paused-gives-nothing")
def a_paused_queue_gives_out() -> Example:
    example = Example()
    made.create(example)
    example.write(1.5, e.QueuePaused(reason=""), stream="queue/default", request_id="pause-1")
    pause(example, 1.6)
    made.take(example)
    return example


@breaks("ended-jobs-are-not-given-out")
def a_cancelled_job_is_sent() -> Example:
    example = Example()
    made.create(example)
    example.hello(2)
    example.write(2.1, made.assigned())
    example.write(2.2, made.terminated(e.Outcome.CANCELLED))
    example.offer(2.5)
    return example


@breaks("deadlines-are-kept")
def a_deadline_is_forgotten_for_a_while() -> Example:
    example, _ = made.running()
    deadline_s = 3 + made.ALLOCATION_S
    example.write(deadline_s + 60, made.terminated(e.Outcome.EXPIRED), time_s=deadline_s)
    return example


# --- workers ----------------------------------------------------------------------------------------------------------


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


# --- liveness ---------------------------------------------------------------------------------------------------------


@breaks("ends-or-is-explained")
def a_job_runs_for_ever() -> Example:
    return made.running()[0]


@breaks("ends-or-is-explained")
def a_job_waits_for_ever() -> Example:
    example = Example()
    made.create(example)
    return example


@breaks("ends-or-is-explained")
def a_job_waits_though_a_worker_is_free() -> Example:
    example = Example()
    made.create(example)
    answer = job_service_pb2.ExplainJobResponse(summary="It waits.", workers_connected=1, workers_free=1)
    example.call(950, "ExplainJob", job_service_pb2.ExplainJobRequest(id=made.JOB), answer)
    return example


@breaks("no-orphans")
def a_lease_is_never_ended() -> Example:
    return made.running()[0]


@breaks("executions-end")
def a_command_outlives_its_attempt() -> Example:
    example = lost(32.5)
    example.history.executions[0].ended_ns = None
    return example


@breaks("the-log-comes-to-rest")
def the_log_goes_on() -> Example:
    example = made.good()
    example.write(950, e.JobExtended(requested_us=1))
    return example


@breaks("the-log-comes-to-rest")
def a_job_is_offered_again_and_again() -> Example:
    example = Example()
    made.create(example)
    for attempt in range(1, 12):
        at_s = 900 + attempt
        declined = e.AssignmentDeclined(
            lease_id=f"l{attempt}", attempt=attempt, worker_id="w", reason="", passed_over_until_us=0
        )
        example.write(at_s, made.assigned(attempt, "w", f"l{attempt}"))
        example.write(at_s + 0.5, declined)
    return example


@breaks("nothing-is-left")
def a_task_is_left() -> Example:
    example = made.good()
    example.history.leftovers.append("a task")
    return example


@breaks("nothing-went-wrong-unseen")
def an_error_reached_the_loop() -> Example:
    example = made.good()
    example.history.errors.append("KeyError")
    return example


@breaks("calls-are-answered")
def a_call_is_not_answered_though_all_is_well() -> Example:
    example = made.good()
    request = job_service_pb2.RetrieveJobRequest(id=made.JOB)
    example.call(1050, "RetrieveJob", request, None, unknown_code="DEADLINE_EXCEEDED")
    return example


@breaks(STATE)
def memory_is_not_the_fold() -> Example:
    example = made.good()
    example.history.step_violations.append("the row of job-1 is not what its events make of it")
    return example


# --- the tests --------------------------------------------------------------------------------------------------------

CASES = [(name, spoil) for name, spoils in SPOILED.items() for spoil in spoils]


def test_a_good_history_passes() -> None:
    assert check(made.good().finish()) == []


@pytest.mark.parametrize(("name", "spoil"), CASES, ids=[f"{name}-{spoil.__name__}" for name, spoil in CASES])
def test_a_broken_promise_is_noticed(name: str, spoil: Spoil) -> None:
    found = check(spoil().finish())
    assert name in {violation.invariant for violation in found}, [str(violation) for violation in found]
    assert all(violation.sentence for violation in found)


def test_each_invariant_has_been_seen_to_fail() -> None:
    assert set(SPOILED) == NAMES


def test_each_invariant_says_what_it_promises() -> None:
    assert all((judge.__doc__ or "").strip() for judge in CHECKS.values())
    assert LOG_RULES <= NAMES


@pytest.mark.parametrize("at_s", [32, 33, 52.5, 54])
def test_a_lease_that_expires_in_time_is_fine(at_s: float) -> None:
    example = lost(at_s)
    made.take(example, 800)
    names = {violation.invariant for violation in check(example.finish())}
    assert not names & {"no-early-expiry", "lost-is-noticed", "grace-after-restart", "masses-are-held"}


def test_a_process_that_comes_back_with_empty_hands_ends_its_leases_at_once() -> None:
    example, run = made.running()
    run.ended_ns = ns(13)
    example.agent("b")
    example.hello(14, stream=1, incarnation="b")
    example.write(14.1, made.expired(2), made.requeued(e.RequeueCause.LOST, 14.1))
    names = {violation.invariant for violation in check(example.finish())}
    assert not names & {"no-early-expiry", "hello-names-what-runs"}


def test_a_mass_that_was_held_once_may_end() -> None:
    names = {violation.invariant for violation in check(many(8, 50).finish())}
    assert not names & {"masses-are-held", "no-early-expiry"}


def test_a_machine_that_stood_still_may_write_late() -> None:
    example = lost(32.5)
    example.stores(example.history.executions[0], 27, 40)
    example.history.agents[0].pauses.append(Span(begin_ns=ns(27.1), end_ns=ns(39.9)))
    names = {violation.invariant for violation in check(example.finish())}
    assert not names & {"no-write-after-the-fence", "no-write-of-a-lost-attempt"}


def test_trouble_of_the_disk_excuses_a_late_end() -> None:
    example = lost(70)
    example.history.faults.append(Fault(kind="disk.full", who="server", begin_ns=ns(30), end_ns=ns(69)))
    assert "lost-is-noticed" not in {violation.invariant for violation in check(example.finish())}


def test_an_unanswered_call_may_have_happened_or_not() -> None:
    for seen in (0, 60):
        example, _ = made.running()
        made.extend(example, 20, 3 + made.ALLOCATION_S + 60).answer = None
        made.retrieve(example, 21, 5, "RUNNING", granted_extension=made.span(seen))
        assert "history-is-linearizable" not in {violation.invariant for violation in check(example.finish())}


# --- the judge of the inside ------------------------------------------------------------------------------------------


def inside(example: Example) -> tuple[Any, Any]:
    """A server whose memory is the fold of the log, as far as its judge looks."""
    job: Job | None = None
    for event in example.history.log:
        payload: Any = event.payload
        job = create(made.JOB, payload, event.time_us) if job is None else evolve(job, payload, event.time_us)
    assert job is not None
    assert job.lease is not None
    live = SimpleNamespace(
        lease_id=job.lease.lease_id, job_id=job.id, started=True, stopping=False, expires_us=job.expires_us
    )
    loaded = SimpleNamespace(is_set=lambda: True)
    services = SimpleNamespace(
        handler=SimpleNamespace(_cache={job.id: job}, _running=set(), _locks={}),
        workers=SimpleNamespace(_leases=[live], loaded=loaded),
    )
    row = SimpleNamespace(stored=SimpleNamespace(job=job))
    position = example.position
    store = SimpleNamespace(
        idle=True, head=lambda: SimpleNamespace(position=position), _rows=SimpleNamespace(jobs={job.id: row})
    )
    return services, store


def judged(services: Any, store: Any, example: Example) -> list[str]:
    judge = StateJudge()
    judge.look(services, store, example.history.log)
    assert judge.looks == 1
    return [violation.sentence for violation in judge.violations]


def test_a_memory_that_is_the_fold_passes() -> None:
    example, _ = made.running()
    assert judged(*inside(example), example) == []


def _put(services: Any, job_id: str, *, stale: bool = False) -> None:
    cache = services.handler._cache
    job: Job = cache[made.JOB]
    cache[job_id] = dataclasses.replace(job, version=job.version - 1) if stale else job


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda services, store: _put(services, made.JOB, stale=True), "has job"),
        (lambda services, store: _put(services, "job-9"), "not in the log"),
        (lambda services, store: services.workers._leases.clear(), "nobody times it"),
        (lambda services, store: setattr(services.workers._leases[0], "lease_id", "lease-9"), "which is over"),
        (lambda services, store: setattr(services.workers._leases[0], "expires_us", None), "is not what the log says"),
        (lambda services, store: store._rows.jobs.clear(), "the row of job"),
        (lambda services, store: setattr(store, "head", lambda: SimpleNamespace(position=1)), "the store is at"),
    ],
)
def test_a_memory_that_is_not_the_fold_is_noticed(spoil: Callable[[Any, Any], object], says: str) -> None:
    example, _ = made.running()
    services, store = inside(example)
    spoil(services, store)
    assert any(says in sentence for sentence in judged(services, store, example))


def test_a_server_that_is_writing_is_left_alone() -> None:
    example, _ = made.running()
    services, store = inside(example)
    store.idle = False
    judge = StateJudge()
    judge.look(services, store, example.history.log)
    assert judge.looks == 0
