"""Reports are taken one after the other, each behind the commits of those before it, and count when they are taken: the
judges of leases reckon with that, and with no more than that.
"""

from __future__ import annotations

import pytest

from tenure.domain import events as e
from tenure.v1 import worker_service_pb2 as pb
from tests.simulation import invariants_lives as made
from tests.simulation.history import Span
from tests.simulation.invariants import check
from tests.simulation.invariants_lives import Example, ns
from tests.simulation.invariants_spoiled import restarted


def started_and_lost(*taken_s: float, ended_s: float | None = None) -> Example:
    """Workers report their starts together, at 12 s, and are never heard of again; each lease runs out its length after
    the report was taken."""
    example = Example()
    for number in range(len(taken_s)):
        example.write(1, made.created(), stream=f"job/job-{number}")
    for number in range(len(taken_s)):
        example.write(10, made.assigned(1, f"worker-{number}", f"lease-{number}"), stream=f"job/job-{number}")
    for number in range(len(taken_s)):
        example.report(12, "started", f"lease-{number}", stream=number)
    for number, at_s in enumerate(taken_s):
        names = {"lease_id": f"lease-{number}", "worker_id": f"worker-{number}"}
        example.write(at_s, made.started(at_s, **names), stream=f"job/job-{number}", actor=f"worker:worker-{number}")
        example.reported(at_s, pb.REPORT_KIND_STARTED, lease_id=f"lease-{number}", stream=number)
    for number, taken in enumerate(taken_s):
        at_s = ended_s or taken + made.LEASE_S
        names = {"lease_id": f"lease-{number}", "worker_id": f"worker-{number}"}
        requeued = made.requeued(e.RequeueCause.LOST, at_s, worker_id=f"worker-{number}")
        example.write(at_s, made.expired(made.LEASE_S, **names), requeued, stream=f"job/job-{number}")
    return example


def broken(example: Example) -> set[str]:
    """Invariants of leases that are broken."""
    judged = {"masses-are-held", "late-sweeps-are-held", "no-early-expiry", "lost-is-noticed", "grace-after-restart"}
    return judged & {violation.invariant for violation in check(example.finish())}


@pytest.mark.parametrize(
    ("taken_s", "says"),
    [
        ((12.1, 12.2, 12.3, 12.4), {"masses-are-held"}),
        ((12.1, 12.6, 13.1, 13.6, 14.1), set()),
        ((12.1, 12.2, 12.3, 14.4), set()),
    ],
)
def test_reports_that_come_together_are_a_mass_if_they_are_taken_together(
    taken_s: tuple[float, ...], says: set[str]
) -> None:
    assert broken(started_and_lost(*taken_s)) == says


@pytest.mark.parametrize(("taken_s", "says"), [(12.05, {"late-sweeps-are-held"}), (16.9, set())])
def test_a_sweep_is_late_by_when_the_report_was_taken(taken_s: float, says: set[str]) -> None:
    example = started_and_lost(taken_s, ended_s=37.2)
    example.boot.pauses.append(Span(begin_ns=ns(31), end_ns=ns(37.1)))
    assert broken(example) == says


@pytest.mark.parametrize(
    ("named_s", "heard_s", "at_s", "says"),
    [
        (None, None, 79.9, {"grace-after-restart"}),
        (None, None, 80.1, set()),
        (25, None, 79.9, {"grace-after-restart"}),
        (25, None, 80.1, set()),
        (70, None, 70 + made.LEASE_S - 0.1, {"grace-after-restart"}),
        (70, None, 70 + made.LEASE_S + 0.1, set()),
        (25, 30, 30 + made.LEASE_S - 0.1, {"no-early-expiry"}),
        (25, 30, 30 + made.LEASE_S + 0.1, set()),
        (25, None, 80 + made.LEASE_S + 2.9, set()),
        (25, None, 80 + made.LEASE_S + 3.1, {"lost-is-noticed"}),
        (25, 30, 30 + 2 * made.LEASE_S + 3.1, {"lost-is-noticed"}),
    ],
)
def test_a_restart_gives_time_until_the_worker_goes_on(
    named_s: float | None, heard_s: float | None, at_s: float, says: set[str]
) -> None:
    assert broken(restarted(at_s, named_s=named_s, heard_s=heard_s)) == says


def test_a_beat_whose_answer_was_lost_may_have_ended_the_grace_of_a_restart() -> None:
    for at_s, says in [(49.9, {"no-early-expiry"}), (50.1, set()), (80 + made.LEASE_S + 3.1, {"lost-is-noticed"})]:
        example = restarted(at_s, named_s=30)
        unanswered = pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[pb.Beat(lease_id=made.LEASE, count=3)]))
        example.up(31, unanswered, 1)
        assert broken(example) == says, at_s
