"""Which workers that have gone are remembered, and for how long."""

from __future__ import annotations

import pytest

from tenure.controlplane import gone as module
from tenure.controlplane.session import Session
from tenure.controlplane.workers import Slot, Worker, Workers
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import FakeCall, worker_identity
from tests.fakes import FakeClock

DAY_S = 24 * 3600


def connect(workers: Workers, name: str) -> Worker:
    worker = workers.get(("fleet", name))
    session = Session(name, worker, FakeCall(worker_identity()))
    workers.connected(worker, pb.Hello(worker_id=name, incarnation="one", slots=1), ("q",), session)
    workers.ready(worker)
    return worker


def leave(workers: Workers, worker: Worker) -> None:
    assert worker.session is not None
    workers.disconnected(worker, worker.session)


def names(workers: Workers) -> list[str]:
    return [worker.id for worker in workers]


def test_one_that_went_a_day_ago_is_forgotten() -> None:
    clock = FakeClock()
    workers = Workers(clock)
    connect(workers, "here")
    leave(workers, connect(workers, "early"))
    clock.freeze(1)
    leave(workers, connect(workers, "late"))
    clock.freeze(DAY_S - 1.001)
    workers.forget()
    assert names(workers) == ["here", "early", "late"]
    clock.freeze(0.001)
    workers.forget()
    assert names(workers) == ["here", "late"]


def test_one_that_came_back_counts_from_when_it_went_again() -> None:
    clock = FakeClock()
    workers = Workers(clock)
    leave(workers, connect(workers, "a"))
    clock.freeze(DAY_S - 1)
    worker = connect(workers, "a")
    clock.freeze(DAY_S)
    workers.forget()
    assert names(workers) == ["a"]
    leave(workers, worker)
    assert names(workers) == ["a"]
    clock.freeze(DAY_S)
    leave(workers, connect(workers, "b"))
    assert names(workers) == ["b"]


def test_one_with_a_live_lease_is_kept_however_long_it_is_away() -> None:
    clock = FakeClock()
    workers = Workers(clock)
    worker = connect(workers, "a")
    workers.occupy(worker, "lease", Slot("job", confirmed=True))
    leave(workers, worker)
    leave(workers, connect(workers, "b"))
    clock.freeze(2 * DAY_S)
    workers.forget()
    assert names(workers) == ["a"]
    worker.remember("lease", "job")
    workers.forget()
    assert names(workers) == []


def test_workers_without_a_stream_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GONE", 3)
    workers = Workers(FakeClock())
    for index in range(6):
        worker = connect(workers, f"w{index}")
        if index == 0:
            workers.occupy(worker, "lease", Slot("job"))
        leave(workers, worker)
    connect(workers, "here")
    assert [worker.id for worker in workers] == ["w0", "w4", "w5", "here"]


def test_a_worker_that_was_lost_with_its_jobs_is_forgotten_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its leases have ended, and it never came back to say that nothing runs any more."""
    monkeypatch.setattr(module, "MAX_GONE", 3)
    workers = Workers(FakeClock())
    for index in range(6):
        worker = connect(workers, f"w{index}")
        workers.occupy(worker, f"lease-{index}", Slot("job", confirmed=True))
        leave(workers, worker)
        if index:
            worker.remember(f"lease-{index}", "job")
    connect(workers, "here")
    assert [worker.id for worker in workers] == ["w0", "w4", "w5", "here"]
