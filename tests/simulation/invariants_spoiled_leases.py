"""Histories in which leases run out wrongly, or something never ends."""

from __future__ import annotations

from tenure.domain import events as e
from tenure.v1 import job_service_pb2
from tests.simulation import invariants_lives as made
from tests.simulation.history import Span
from tests.simulation.invariants_lives import Example, ns
from tests.simulation.invariants_spoiled import breaks, change, lost, many, pause, restarted
from tests.simulation.invariants_state import STATE


@breaks("no-early-expiry")
def a_lease_expires_early() -> Example:
    return lost(31)


@breaks("no-early-expiry")
def a_lease_expires_early_after_a_reconnect() -> Example:
    return restarted(45, named_s=25, heard_s=30)


@breaks("grace-after-restart")
def a_restart_costs_a_lease() -> Example:
    return restarted(45)


@breaks("grace-after-restart")
def a_reconnect_takes_the_grace_away() -> Example:
    return restarted(79, named_s=25)


@breaks("grace-after-restart")
def a_lease_expires_early_after_a_late_reconnect() -> Example:
    return restarted(70 + made.LEASE_S - 1, named_s=70)


@breaks("lost-is-noticed")
def a_lost_worker_is_noticed_late() -> Example:
    return lost(70)


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
