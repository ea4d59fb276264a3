"""The judge of the mixed load: each kind of acknowledged change that is not in the log is missed, in words."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tenure.events.v1 import event_pb2
from tests.acceptance.mixed_load import Ledger, MixedLoad

JOB, LEASE = "7", "lease-1"

LOSSES: dict[str, Callable[[Ledger], None]] = {
    "a creation": lambda ledger: ledger.created.update({"create-1": [JOB]}),
    "an extension": lambda ledger: ledger.extended.update({"extend-1": (JOB, 5)}),
    "a termination": lambda ledger: ledger.terminated.add(JOB),
    "a start": lambda ledger: ledger.started.add(LEASE),
    "a success": lambda ledger: ledger.ended.update({LEASE: "succeeded"}),
    "a failure": lambda ledger: ledger.ended.update({LEASE: "failed"}),
    "a release": lambda ledger: ledger.ended.update({LEASE: "released"}),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_what_is_not_in_the_log_is_missed(lost: str) -> None:
    load = MixedLoad(random.Random(1), "token")
    load.check([], {})
    LOSSES[lost](load.ledger)
    with pytest.raises(AssertionError):
        load.check([], {})


@pytest.mark.parametrize("kind", ["succeeded", "failed", "released"])
def test_the_end_of_an_attempt_is_missed_although_its_start_is_there(kind: str) -> None:
    load = MixedLoad(random.Random(1), "token")
    load.ledger.ended[LEASE] = kind
    assigned = event_pb2.Event(stream=f"job/{JOB}", event_id=LEASE, job_assigned=event_pb2.JobAssigned())
    with pytest.raises(AssertionError, match=LEASE):
        load.check([assigned], {})


def test_an_extension_made_twice_is_noticed() -> None:
    load = MixedLoad(random.Random(1), "token")
    load.ledger.extended["extend-1"] = JOB, 5
    extended = event_pb2.Event(stream=f"job/{JOB}", request_id="extend-1", job_extended=event_pb2.JobExtended())
    extended.job_extended.requested_time.seconds = 5
    load.check([extended], {})
    with pytest.raises(AssertionError, match="extend-1"):
        load.check([extended, extended], {})
