from __future__ import annotations

import pytest

from tenure.controlplane import workers as module
from tenure.controlplane.session import Session
from tenure.controlplane.workers import Slot, Worker, Workers
from tenure.domain.job import Job, create
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import FakeCall, job_created, worker_identity
from tests.fakes import FakeClock

SECOND_NS = 1_000_000_000


def job(*paths: str) -> Job:
    return create("job", job_created(absolute_paths=paths), 1)


def connect(workers: Workers, name: str, *, slots: int = 1, queues: tuple[str, ...] = ("q",)) -> Worker:
    worker = workers.get(("fleet", name))
    session = Session(name, worker, FakeCall(worker_identity()))
    workers.connected(worker, pb.Hello(worker_id=name, incarnation="one", slots=slots), queues, session)
    workers.ready(worker)
    return worker


@pytest.mark.parametrize(
    ("roots", "path", "fits"),
    [
        ([], "/app", False),
        (["/app"], "/app", True),
        (["/app/"], "/app/data", True),
        (["/app"], "/application", False),
        (["/"], "/anything", True),
        (["/other", "/app"], "/app/data", True),
    ],
)
def test_a_path_must_lie_below_a_root(roots: list[str], path: str, fits: bool) -> None:
    worker = Worker(("fleet", "a"))
    worker.introduce(pb.Hello(allowed_roots=roots, slots=1), ("q",), 1)
    assert worker.fits(job(path)) is fits
    assert worker.fits(job())


def test_a_path_in_use_blocks_what_lies_above_and_below_it() -> None:
    worker = Worker(("fleet", "a"))
    worker.introduce(pb.Hello(allowed_roots=["/"], slots=4), ("q",), 1)
    worker.occupy("lease", Slot("other", ("/app/data",)))
    assert not worker.fits(job("/app"))
    assert not worker.fits(job("/app/data"))
    assert not worker.fits(job("/app/data/deep"))
    assert worker.fits(job("/app/database"))
    worker.release("lease")
    assert worker.fits(job("/app"))


def test_paths_of_hello_are_in_use_until_all_that_was_held_then_is_over() -> None:
    worker = Worker(("fleet", "a"))
    hello = pb.Hello(allowed_roots=["/"], slots=4, paths_in_use=["/app/../data/"])
    hello.leases.add(lease_id="one")
    hello.leases.add(lease_id="two")
    worker.introduce(hello, ("q",), 1)
    for lease_id in ("one", "two"):
        worker.occupy(lease_id, Slot("job"))
    worker.release("one")
    assert not worker.fits(job("/data"))
    worker.release("two")
    assert worker.fits(job("/data"))


def test_the_worker_used_least_recently_comes_first() -> None:
    workers = Workers(FakeClock())
    a, b, d = (connect(workers, name, slots=2) for name in "abd")
    assert list(workers.pools["q"]) == [a, b, d]
    workers.used(a, "q")
    workers.occupy(a, "lease", Slot("job"))
    assert list(workers.pools["q"]) == [b, d, a]
    workers.occupy(a, "lease-2", Slot("job"))
    assert list(workers.pools["q"]) == [b, d]
    assert workers.of_queue("q") == (3, 4)


def test_only_workers_with_room_are_in_the_pools() -> None:
    clock = FakeClock()
    workers = Workers(clock)
    worker = connect(workers, "a")
    assert list(workers.pools) == ["q"]
    workers.occupy(worker, "lease", Slot("job"))
    assert workers.pools == {}
    workers.release(worker, "lease")
    assert list(workers.pools) == ["q"]
    workers.suspect(worker)
    assert workers.pools == {}
    workers.cleared(worker)
    assert workers.pools == {}
    clock.freeze(600)
    workers.cleared(worker)
    assert list(workers.pools) == ["q"]
    workers.drain(worker)
    assert workers.pools == {}


def test_a_new_hello_changes_the_queues() -> None:
    workers = Workers(FakeClock())
    connect(workers, "a", queues=("x", "y"))
    connect(workers, "a", queues=("y", "z"))
    assert sorted(workers.pools) == ["y", "z"]
    assert [workers.of_queue(queue)[0] for queue in "xyz"] == [0, 1, 1]


def test_two_that_alternate_are_clones_and_restarts_are_not() -> None:
    worker = Worker(("fleet", "a"))

    def hello(incarnation: str, seconds: float) -> bool:
        if worker.cloned(incarnation, round(seconds * SECOND_NS)):
            return True
        worker.incarnation = incarnation
        return False

    assert not any(hello(str(index), index) for index in range(20))
    assert [hello(name, 100 + index) for index, name in enumerate("abababab")] == [False] * 4 + [
        True, False, True, False,
    ]  # fmt: skip
    assert not hello("b", 105)
    assert [hello("a", 160), hello("a", 221)] == [True, False]


def test_alternating_slowly_is_no_matter() -> None:
    worker = Worker(("fleet", "a"))
    for index in range(20):
        name = "ab"[index % 2]
        assert not worker.cloned(name, index * 30 * SECOND_NS)
        worker.incarnation = name


def test_ended_leases_are_remembered_for_a_while() -> None:
    worker = Worker(("fleet", "a"))
    worker.introduce(pb.Hello(slots=2), ("q",), 1)
    for index in range(1000):
        worker.remember(f"lease-{index}", "job")
    assert len(worker.past) == module.PAST_LEASES + 8
    assert "lease-999" in worker.past


def test_failures_in_a_row_count_by_job() -> None:
    worker = Worker(("fleet", "a"))
    assert not any(worker.failed("same") for _ in range(10))
    worker.succeeded()
    assert [worker.failed(f"job-{index}") for index in range(6)] == [False] * 4 + [True, False]
