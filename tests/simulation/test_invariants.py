"""The checker can fail: for each invariant a small history that breaks it is noticed, and a good one passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tenure.domain import events as e
from tenure.domain.job import Job, create, evolve
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation import invariants_lives as made
from tests.simulation import (
    invariants_spoiled_calls,
    invariants_spoiled_leases,
    invariants_spoiled_log,
    invariants_spoiled_workers,
)
from tests.simulation.history import Fault, Refusal, Span
from tests.simulation.invariants import CHECKS, LOG_RULES, NAMES, StateJudge, check
from tests.simulation.invariants_lives import Example, ns
from tests.simulation.invariants_spoiled import SPOILED, Spoil, lost, many

# Each of them adds what it has to SPOILED.
SPOILERS = (
    invariants_spoiled_calls,
    invariants_spoiled_leases,
    invariants_spoiled_log,
    invariants_spoiled_workers,
)

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


def test_a_stream_may_speak_until_a_newer_one_is_welcomed() -> None:
    example, _ = made.running()
    held = pb.HeldLease(lease_id=made.LEASE, job_id=made.JOB, attempt=1)
    example.up(14, pb.ConnectRequest(hello=pb.Hello(worker_id=made.WORKER, slots=1, leases=[held])), stream=1)
    example.beats(15, 3)
    verdict = pb.LeaseVerdict(lease_id=made.LEASE, keep=True)
    example.down(16, pb.ConnectResponse(welcome=pb.Welcome(session_id="1", leases=[verdict])), stream=1)
    example.beats(17, 4, stream=1)
    assert "one-stream-a-worker" not in {violation.invariant for violation in check(example.finish())}


def test_of_streams_that_are_welcomed_together_the_one_that_began_last_goes_on() -> None:
    example, _ = made.running()
    example.hello(14, made.LEASE, stream=2)
    example.hello(14, made.LEASE, stream=1)
    example.beats(16, 3, stream=2)
    assert "one-stream-a-worker" not in {violation.invariant for violation in check(example.finish())}


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


@pytest.mark.parametrize("seen", [0, 60])
def test_of_a_refused_call_a_copy_that_nobody_heard_of_may_have_happened_or_not(seen: int) -> None:
    example, _ = made.running()
    request = made.extension(60, "extend-1")
    read_only = Refusal(code="UNAVAILABLE", reason="STORAGE_READ_ONLY", message="")
    example.call(19, "ExtendJobs", request, read_only, operation=9)
    if seen:
        example.write(20, e.JobExtended(requested_us=60_000_000), request_id="extend-1", actor="client-0")
    example.call(20, "ExtendJobs", request, None, operation=9, answered_ns=None, twice=True)
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
