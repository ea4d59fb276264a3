from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.controlplane.leases import Leases, Live, accept_within_us
from tenure.controlplane.workers import Worker
from tenure.domain import commands as c
from tenure.domain.decide import decide
from tenure.domain.job import Job, create, evolve
from tests.controlplane.fleet import job_created
from tests.fakes import FakeClock

WORKER = Worker(("fleet", "a"))


class Table:
    """Leases on a clock of their own, made as a dispatcher makes them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.leases = Leases(self.clock)
        self.made = 0

    def job(self, seconds: int = 30) -> Job:
        self.made += 1
        event = job_created(heartbeat_interval_us=seconds * 1_000_000)
        job = create(f"job-{self.made}", event, self.clock.wall_us())
        assign = c.Assign(lease_id=f"lease-{self.made}", worker_id=WORKER.id)
        for time_us, one in decide(job, assign, self.clock.wall_us()):
            job = evolve(job, one, time_us)
        return job

    def add(self, seconds: int = 30) -> Live:
        """An accepted lease of twice that length."""
        live = self.waiting(seconds)
        self.leases.accept(live)
        return live

    def waiting(self, seconds: int = 30) -> Live:
        job = self.job(seconds)
        assert job.lease is not None
        return self.leases.add(job, job.lease, WORKER, None)

    def adopted(self, seconds: int = 30) -> Live:
        job = self.job(seconds)
        assert job.lease is not None
        return self.leases.adopt(job, job.lease)

    def wait(self, seconds: float) -> None:
        self.clock.freeze(seconds)

    def silent(self) -> list[str]:
        return [live.lease_id for live in self.leases.sweep().silent]


def test_a_lease_lasts_its_length_from_when_it_was_last_heard_of() -> None:
    table = Table()
    live = table.add(seconds=30)
    table.wait(59.999999)
    assert table.silent() == []
    table.leases.heard(live)
    assert table.leases.next_ns() == table.clock.monotonic_ns() + 60_000_000_000
    table.wait(60)
    assert table.silent() == [live.lease_id]


def test_what_nobody_accepts_is_taken_back_and_not_expired() -> None:
    table = Table()
    live = table.waiting(seconds=30)
    table.wait(10)
    sweep = table.leases.sweep()
    assert (sweep.unaccepted, sweep.silent) == ([live], [])
    short = table.waiting(seconds=1)
    table.wait(1)
    assert table.leases.sweep().unaccepted[-1] is short


@pytest.mark.parametrize(("length_s", "within_s"), [(60, 10), (20, 10), (4, 2), (2, 1)])
def test_the_accept_window(length_s: int, within_s: int) -> None:
    assert accept_within_us(length_s * 1_000_000) == within_s * 1_000_000


def test_beats_do_not_prolong_what_was_not_accepted() -> None:
    table = Table()
    live = table.waiting()
    table.wait(9)
    table.leases.heard(live)
    table.wait(1)
    assert table.leases.sweep().unaccepted == [live]


def test_what_could_not_be_ended_is_swept_again_a_second_later() -> None:
    table = Table()
    live = table.add()
    table.wait(60)
    assert table.silent() == [live.lease_id]
    assert table.silent() == []
    table.wait(1)
    assert table.silent() == [live.lease_id]
    table.leases.heard(live)
    table.wait(59)
    assert table.silent() == []


@pytest.mark.parametrize(("seconds", "grace_s"), [(5, 60), (60, 120)])
def test_an_adopted_lease_gets_a_minute_at_least(seconds: int, grace_s: float) -> None:
    table = Table()
    live = table.adopted(seconds)
    table.wait(grace_s - 0.001)
    assert table.silent() == []
    table.wait(0.001)
    assert table.silent() == [live.lease_id]


def test_an_adopted_lease_that_was_heard_of_is_like_any_other() -> None:
    table = Table()
    live = table.adopted(5)
    table.leases.claim(live, WORKER)
    table.leases.heard(live)
    table.wait(10)
    assert table.silent() == [live.lease_id]
    assert table.leases.unclaimed(WORKER.id) == []


def test_a_worker_that_names_its_lease_again_takes_nothing_off_the_grace_of_a_restart() -> None:
    table = Table()
    live = table.adopted(5)
    table.leases.claim(live, WORKER)
    table.wait(20)
    table.leases.named(live)
    assert live.heard_ns == table.clock.monotonic_ns()
    table.wait(39.999)
    assert table.silent() == []
    table.wait(0.001)
    assert table.silent() == [live.lease_id]


@pytest.mark.parametrize("named_s", [52, 59])
def test_a_lease_that_is_named_again_lasts_for_its_length_from_then_on(named_s: float) -> None:
    table = Table()
    live = table.adopted(5)
    table.wait(named_s)
    table.leases.claim(live, WORKER)
    table.leases.named(live)
    table.wait(9.999)
    assert table.silent() == []
    table.wait(0.001)
    assert table.silent() == [live.lease_id]


def test_a_late_sweep_expires_nothing_for_one_more_length() -> None:
    table = Table()
    due, other = table.add(30), table.add(30)
    table.wait(50)
    table.leases.heard(other)
    table.wait(10 + 15.001)  # more than a quarter of the lease late
    assert table.silent() == []
    table.wait(59.9)
    assert table.silent() == []
    table.wait(0.1)
    assert table.silent() == [due.lease_id, other.lease_id]


def test_a_sweep_that_is_a_little_late_is_none() -> None:
    table = Table()
    live = table.add(30)
    table.wait(60 + 15)
    assert table.silent() == [live.lease_id]


def test_three_may_expire_at_once_and_four_are_held_once() -> None:
    table = Table()
    three = [table.add() for _ in range(3)]
    table.wait(60)
    assert table.silent() == [live.lease_id for live in three]
    for live in three:
        table.leases.remove(live)
    four = [table.add() for _ in range(4)]
    table.wait(60)
    assert table.silent() == []
    table.wait(59.999)
    assert table.silent() == []
    table.wait(0.001)
    assert table.silent() == [live.lease_id for live in four]
    assert all(live.braked for live in four)


def test_what_runs_out_within_a_second_runs_out_together() -> None:
    table = Table()
    for _ in range(4):
        table.add()
        table.wait(0.3)
    table.wait(60 - 1.2)
    assert table.silent() == []
    table.wait(1)
    assert table.silent() == []


def test_a_third_of_many_is_a_mass() -> None:
    table = Table()
    silent = [table.add() for _ in range(30)]
    heard = [table.add() for _ in range(70)]
    table.wait(59)
    for live in heard:
        table.leases.heard(live)
    table.wait(1)
    assert len(table.silent()) == len(silent)  # 30 of 100 are not more than 30 %
    for live in silent:
        table.leases.remove(live)
    table.wait(59)
    assert table.silent() == []  # 70 of 70 are


def test_a_beat_during_the_brake_ends_it() -> None:
    table = Table()
    leases = [table.add() for _ in range(4)]
    table.wait(60)
    assert table.silent() == []
    table.leases.heard(leases[0])
    assert not leases[0].braked
    table.wait(60)
    assert table.silent() == [live.lease_id for live in leases[1:]] + [leases[0].lease_id]


def test_leases_of_different_lengths_run_out_each_at_its_time() -> None:
    table = Table()
    long, short = table.add(30), table.add(5)
    assert table.leases.next_ns() == 10_000_000_000
    table.wait(10)
    assert table.silent() == [short.lease_id]
    table.leases.remove(short)
    assert table.leases.next_ns() == 60_000_000_000
    table.leases.remove(long)
    assert table.leases.next_ns() is None
    assert len(table.leases) == 0


def test_the_last_beat_is_that_of_the_live_attempt() -> None:
    table = Table()
    job = table.job()
    assert job.lease is not None
    live = table.leases.add(job, job.lease, WORKER, None)
    assert table.leases.beat_of(job) is None
    live.beat = c.Beat(count=3, at_us=1)
    assert table.leases.beat_of(job) == c.Beat(count=3, at_us=1)
    assert table.leases.beat_of(replace(job, lease=replace(job.lease, lease_id="another"))) is None
    assert table.leases.beat_of(replace(job, lease=None)) is None
