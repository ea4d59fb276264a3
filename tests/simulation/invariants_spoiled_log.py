"""Histories whose log is wrong."""

from __future__ import annotations

import dataclasses

from tenure.domain import events as e
from tenure.v1 import job_service_pb2
from tests.simulation import invariants_lives as made
from tests.simulation.history import Refusal
from tests.simulation.invariants_lives import Example
from tests.simulation.invariants_spoiled import HOLDER, breaks, change


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
