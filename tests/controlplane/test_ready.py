from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tenure.controlplane import ready as module
from tenure.controlplane.ready import QueueHead, Ready
from tenure.domain.job import Job, create
from tenure.domain.states import Phase
from tenure.store.store import Candidate
from tests.controlplane.fleet import job_created


def job(name: str, priority: int = 0) -> Job:
    return create(name, job_created(priority=priority), 1)


def candidate(position: int, priority: int = 0) -> Candidate:
    return Candidate(job=job(f"job-{position}", priority), place=(-priority, position))


def taken(head: QueueHead) -> list[str]:
    names = []
    while head.first() is not None:
        names.append(head.take().job.id)
    return names


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every limit is met by a handful of jobs."""
    for name, value in (("PAGE", 8), ("LOW", 2), ("MOST", 32), ("MOST_PARKED", 8)):
        monkeypatch.setattr(module, name, value)


def test_priority_first_then_age() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(5, 9), candidate(2), candidate(7)])
    head.put(Ready(job("new", 5), (-5, 9)))
    assert taken(head) == ["job-5", "new", "job-2", "job-7"]


def test_before_anything_was_read_nothing_is_taken_for_known() -> None:
    head = QueueHead("q")
    head.put(Ready(job("new"), (0, 9)))
    assert (head.low, head.first(), head.begin_page()) == (True, None, None)
    head.add_page([candidate(3), candidate(9)])
    assert (head.low, taken(head)) == (False, ["job-3", "job-9"])


def test_what_comes_while_a_page_is_read_is_not_lost() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.put(Ready(job("new"), (0, 9)))
    head.add_page([candidate(3)])
    assert taken(head) == ["job-3", "new"]


def test_behind_what_was_read_jobs_are_left_to_the_store() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(position) for position in range(1, 9)])
    head.put(Ready(job("behind"), (0, 99)))
    head.put(Ready(job("again"), (0, 3)))
    assert taken(head)[:4] == ["job-1", "job-2", "job-3", "again"]
    assert head.low
    assert head.begin_page() == (0, 8)


def test_what_was_terminated_is_not_given_out() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(1), candidate(2)])
    head.drop("job-1")
    assert taken(head) == ["job-2"]


def test_a_job_that_comes_back_takes_the_place_of_its_old_self() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(1), candidate(2)])
    again = replace(job("job-2"), version=9)
    head.put(Ready(again, (0, 2)))
    assert taken(head) == ["job-1", "job-2"]


def test_parked_jobs_hide_nothing_and_come_back_to_their_place() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(1), candidate(2), candidate(3)])
    assert head.first() is not None
    parked = head.park()
    assert parked is not None
    first = head.first()
    assert first is not None
    assert first.job.id == "job-2"
    head.reconsider(parked)
    assert taken(head) == ["job-1", "job-2", "job-3"]


def test_an_older_place_of_a_job_does_not_take_the_newer_one_away() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(1)])
    older = head.park()
    newer = Ready(job("job-1"), (0, 1))
    head.put(newer)
    assert (head.first(), head.park()) == (newer, newer)
    assert older is not None
    head.reconsider(older)
    assert (head.first(), list(head.parked)) == (None, [newer])
    head.reconsider(newer)
    assert head.first() is newer


def test_what_had_no_room_to_be_parked_is_read_again_when_a_worker_comes() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(position) for position in range(1, 8)])
    for position in range(8, 12):
        head.put(Ready(job(f"job-{position}"), (0, position)))
    while head.first() is not None:
        head.park()
    assert (len(list(head.parked)), head.low) == (8, False)
    head.start_over()
    assert (head.low, head.begin_page()) == (True, None)
    head.add_page([candidate(position) for position in range(1, 9)])
    head.begin_page()
    head.add_page([candidate(position) for position in range(9, 12)])
    assert taken(head) == ["job-9", "job-10", "job-11"]


def _with_a_page_passed_over() -> QueueHead:
    """Jobs 1 to 8 are parked, 9 to 16 were passed over, and what follows is being read."""
    head = QueueHead("q")
    for first in (1, 9):
        head.begin_page()
        head.add_page([candidate(position) for position in range(first, first + 8)])
        while head.first() is not None:
            head.park()
    assert head.begin_page() == (0, 16)
    return head


def test_a_page_on_its_way_does_not_undo_that_reading_starts_over() -> None:
    head = _with_a_page_passed_over()
    head.start_over()
    head.add_page([candidate(17)])
    assert taken(head) == ["job-17"]
    assert (head.low, head.begin_page()) == (True, None)
    head.add_page([candidate(position) for position in range(1, 9)])
    assert head.begin_page() == (0, 8)
    head.add_page([candidate(position) for position in range(9, 17)])
    assert taken(head) == [f"job-{position}" for position in range(9, 17)]
    head.begin_page()
    head.add_page([])
    assert not head.low


def test_however_often_it_starts_over_meanwhile_reading_gets_to_the_end() -> None:
    head = _with_a_page_passed_over()
    head.start_over()
    head.add_page([candidate(position) for position in range(17, 25)])
    assert len(taken(head)) == 8
    assert head.begin_page() == (0, 24)
    head.start_over()
    head.add_page([candidate(25)])
    assert taken(head) == ["job-25"]
    assert (head.low, head.begin_page()) == (True, None)


def test_what_comes_around_a_page_that_cannot_be_read_is_not_lost() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([candidate(position, 1) for position in range(1, 9)])
    assert len(taken(head)) == 8
    head.begin_page()
    head.put(Ready(job("during", 2), (-2, 20)))
    head.no_page()
    head.put(Ready(job("after", 3), (-3, 21)))
    head.put(Ready(job("behind"), (0, 22)))
    assert len(list(head)) == 2
    assert (head.low, head.begin_page()) == (True, (-1, 8))
    head.add_page([candidate(9), candidate(22)])
    assert taken(head) == ["after", "during", "job-9", "job-22"]


def test_a_page_that_cannot_be_read_does_not_undo_that_reading_starts_over() -> None:
    head = _with_a_page_passed_over()
    head.start_over()
    head.no_page()
    assert (head.low, head.begin_page()) == (True, (0, 16))
    head.add_page([])
    assert (head.low, head.begin_page()) == (True, None)


def test_more_than_fits_is_left_to_the_store_and_none_overtakes_it() -> None:
    head = QueueHead("q")
    head.begin_page()
    head.add_page([])
    for position in range(1, 51):
        head.put(Ready(job(f"job-{position}"), (0, position)))
    head.put(Ready(job("urgent", 1), (-1, 51)))
    assert len(list(head)) == 16 + 1
    names = []
    for _ in range(15):
        assert head.first() is not None
        names.append(head.take().job.id)
    head.put(Ready(job("job-52"), (0, 52)))
    assert head.low
    assert head.begin_page() == (0, 16)
    head.add_page([candidate(position) for position in range(17, 25)])
    names += taken(head)
    assert names == ["urgent", *(f"job-{position}" for position in range(1, 25))]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_waiting_job_is_found_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    head = QueueHead("q")
    waiting: dict[str, tuple[int, int]] = {}
    jobs: dict[str, Job] = {}
    position = 0

    def read() -> None:
        after = head.begin_page()
        page = sorted((place, name) for name, place in waiting.items() if after is None or place > after)[:8]
        if chance.random() < 0.5:
            arrive()
        head.add_page([Candidate(job=jobs[name], place=place) for place, name in page])

    def arrive() -> None:
        nonlocal position
        for _ in range(chance.choice([1, 1, 3, 20])):
            position += 1
            name, priority = f"job-{position}", chance.choice([0, 0, 0, 5])
            waiting[name] = (-priority, position)
            jobs[name] = job(name, priority)
            head.put(Ready(jobs[name], waiting[name]))

    def give_out() -> None:
        for _ in range(chance.choice([1, 5, 40])):
            while head.low:
                read()
            first = head.first()
            if first is None:
                assert not waiting
                return
            head.take()
            assert first.place == waiting.pop(first.job.id)
            assert all(first.place < place for place in waiting.values())
            if chance.random() < 0.2:  # its worker was lost
                waiting[first.job.id] = first.place
                head.put(Ready(first.job, first.place))

    for _ in range(200):
        chance.choice([arrive, give_out])()
    while waiting:
        give_out()
    assert all(one.phase is Phase.QUEUED for one in jobs.values())


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_passed_over_is_found_once_it_fits(seed: int) -> None:
    chance = random.Random(seed)
    head = QueueHead("q")
    waiting: dict[str, tuple[int, int]] = {}
    position = 0

    def arrive() -> None:
        nonlocal position
        for _ in range(chance.choice([1, 3, 20])):
            position += 1
            waiting[f"job-{position}"] = (0, position)
            head.put(Ready(job(f"job-{position}"), (0, position)))

    def room() -> None:
        head.room(1)

    def end() -> None:
        for one in list(head.parked):
            head.drop(one.job.id)
            waiting.pop(one.job.id, None)

    def read(*meanwhile: Callable[[], None]) -> None:
        after = head.begin_page()
        page = sorted((place, name) for name, place in waiting.items() if after is None or place > after)[:8]
        for happens in meanwhile:
            happens()
        if chance.random() < 0.2:
            head.no_page()
        else:
            head.add_page([Candidate(job=job(name), place=place) for place, name in page])

    def give_out() -> None:
        waiting.pop(head.take().job.id, None)  # none, if it ended while its page was on the way

    def serve(steps: int, fits: float, *meanwhile: Callable[[], None]) -> None:
        for _ in range(steps):
            if head.low:
                read(*chance.sample(meanwhile, chance.randint(0, min(1, len(meanwhile)))))
            elif head.first() is not None and chance.random() < fits:
                give_out()
            elif head.first() is not None:
                head.park()

    def serve_some() -> None:
        serve(chance.choice([1, 5, 40]), 0.05, arrive, room, end)

    for _ in range(40):
        chance.choice([arrive, arrive, serve_some, serve_some])()
    while not head.low and head.first() is not None:
        head.park()
    if head.low:
        read(room)
    else:
        room()
    serve(5 * position + 100, 1.0)
    assert not waiting
