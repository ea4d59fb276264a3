"""Histories in which clients or watchers were told something wrong."""

from __future__ import annotations

import dataclasses

from tenure.v1 import job_service_pb2
from tests.simulation import invariants_lives as made
from tests.simulation.history import Refusal
from tests.simulation.invariants_lives import Example
from tests.simulation.invariants_spoiled import breaks, pause


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


@breaks("history-is-linearizable")
def a_refused_extension_is_seen() -> Example:
    example, _ = made.running()
    refusal = Refusal(code="UNAVAILABLE", reason="STORAGE_READ_ONLY", message="")
    for at_s in (19, 20):
        example.call(at_s, "ExtendJobs", made.extension(60, "extend-1"), refusal, operation=9)
    made.retrieve(example, 21, 5, "RUNNING", granted_extension=made.span(60))
    return example


@breaks("history-is-linearizable")
def a_job_that_was_said_to_be_over_is_seen_alive() -> Example:
    example, _ = made.running()
    final = Refusal(code="FAILED_PRECONDITION", reason="JOB_FINAL", message="")
    for at_s, answer in ((19, None), (20, final)):
        example.call(at_s, "ExtendJobs", made.extension(60, "extend-1"), answer, operation=9)
    made.retrieve(example, 21, 5, "RUNNING", granted_extension=made.span(0))
    return example


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
