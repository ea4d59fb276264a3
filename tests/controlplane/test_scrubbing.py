"""The log is read again while the server serves: when, how fast, and what follows from damage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from tenure.controlplane.config import Configuration
from tenure.controlplane.scrubbing import DAY_US, FIRST_S, PIECE, RETRY_S, Scrubbing, ScrubSettings
from tenure.store.memory import MemoryStore
from tenure.store.store import Scrubbed, StoreError
from tests.acceptance.callers import Caller, refusal
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import eventually
from tests.controlplane.harness import running_server
from tests.fakes import FakeClock
from tests.store.making import add_jobs

DAY_S = 86_400


class Log(MemoryStore):
    """A store whose pieces are wrong as often as `wrong` says."""

    wrong = 0
    fails = False
    looks = 0
    turn = -1

    async def scrub(self, after: Scrubbed, limit: int) -> Scrubbed:
        self.looks += 1
        self.turn = after.turn
        if self.fails:
            raise StoreError("it cannot be read now")
        if self.wrong:
            self.wrong -= 1
            return after.wrong("positions 1 to 3 are not what was committed")
        return await super().scrub(after, limit)


@contextmanager
def scrubbing_of(store: MemoryStore, clock: FakeClock, settings: ScrubSettings) -> Iterator[Scrubbing]:
    scrubbing = Scrubbing(store, clock, settings)
    task = asyncio.get_running_loop().create_task(scrubbing.run())
    try:
        yield scrubbing
    finally:
        task.cancel()


async def test_a_server_that_is_started_every_day_looks_at_other_rows_each_time() -> None:
    turns = []
    for day in range(3):
        store, clock = Log(), FakeClock(1_729_433_317_000_000 + day * DAY_US)
        await add_jobs(store, "a")
        with scrubbing_of(store, clock, ScrubSettings()):
            await clock.advance(FIRST_S + 0.1)
        turns.append(store.turn)
    assert [turn - turns[0] for turn in turns] == [0, 1, 2]


async def test_a_pass_begins_a_minute_after_the_start_and_then_every_day() -> None:
    store, clock = Log(), FakeClock()
    await add_jobs(store, "a", "b", "c")
    with scrubbing_of(store, clock, ScrubSettings()) as scrubbing:
        await clock.advance(FIRST_S - 1)
        assert (store.looks, scrubbing.passes) == (0, 0)
        await clock.advance(1.1)
        assert (scrubbing.position, scrubbing.passes, scrubbing.errors) == (3, 1, 0)
        await clock.advance(DAY_S - 60)
        assert scrubbing.passes == 1
        await clock.advance(60)
        assert scrubbing.passes == 2


async def test_none_is_made_where_the_interval_is_nothing() -> None:
    store, clock = Log(), FakeClock()
    await add_jobs(store, "a")
    with scrubbing_of(store, clock, ScrubSettings(interval_us=0)) as scrubbing:
        await clock.advance(10 * DAY_S)
        assert (store.looks, scrubbing.passes) == (0, 0)


async def test_it_takes_its_time() -> None:
    store, clock = Log(), FakeClock()
    for number in range(4):
        await add_jobs(store, *(f"j{number}-{each}" for each in range(PIECE)))
    with scrubbing_of(store, clock, ScrubSettings(events_per_second=PIECE)) as scrubbing:
        await clock.advance(FIRST_S)
        for piece in range(1, 5):
            assert scrubbing.position == piece * PIECE
            await clock.advance(1)
        assert (scrubbing.position, scrubbing.passes) == (4 * PIECE, 1)


async def test_what_is_wrong_once_is_counted_and_read_again() -> None:
    store, clock = Log(), FakeClock()
    await add_jobs(store, "a")
    store.wrong = 1
    with capture_logs() as logs, scrubbing_of(store, clock, ScrubSettings()) as scrubbing:
        await clock.advance(FIRST_S)
        await clock.advance(2)
        assert (scrubbing.errors, scrubbing.passes, scrubbing.damage) == (1, 1, "")
    assert [one["event"] for one in logs] == ["log_read_wrong_once"]
    await add_jobs(store, "b")


async def test_damage_that_stays_ends_changes_and_is_said_in_words() -> None:
    store, clock = Log(), FakeClock()
    await add_jobs(store, "a")
    store.wrong = 2
    with capture_logs() as logs, scrubbing_of(store, clock, ScrubSettings()) as scrubbing:
        await clock.advance(FIRST_S)
        await clock.advance(2 * DAY_S)
        assert (scrubbing.errors, scrubbing.passes) == (1, 0)
    assert store.looks == 2
    assert store.read_only_reason == "the log is damaged: positions 1 to 3 are not what was committed"
    (said,) = logs
    assert (said["event"], said["log_level"], said["good_up_to"]) == ("log_damaged", "error", 0)
    assert "tenure log restore" in said["remedy"]


async def test_a_store_that_cannot_be_read_now_is_read_on_in_a_minute() -> None:
    store, clock = Log(), FakeClock()
    await add_jobs(store, "a")
    store.fails = True
    with scrubbing_of(store, clock, ScrubSettings()) as scrubbing:
        await clock.advance(FIRST_S)
        assert (scrubbing.passes, scrubbing.damage) == (0, "")
        await clock.advance(RETRY_S)
        store.fails = False
        await clock.advance(RETRY_S + 1)
        assert scrubbing.passes == 1


async def test_a_server_on_a_damaged_log_goes_on_without_changes() -> None:
    configuration = Configuration(scrub=ScrubSettings(interval_us=50_000))
    async with running_server(configuration=configuration) as server:
        caller = Caller(server.address, server.admin_secret)
        job_id = await caller.create(simple())
        store = server.plane.store
        assert isinstance(store, MemoryStore)
        store._commits[-1] = store._commits[-1][0], b"x" * 32

        async def found() -> str:
            return server.plane.scrubbing.damage

        assert "are not what was committed" in await eventually(found)
        refused = await refusal(caller.create(simple()))
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "STORAGE_READ_ONLY")
        assert (await caller.job(job_id)).id == job_id
        # It takes calls: whoever sends them elsewhere would cut off the workers that it keeps.
        assert server.plane.health.serving
        await caller.close()


@pytest.mark.parametrize("interval", [1, 100_000_000])
def test_an_interval_is_never_rounded_to_none(interval: int) -> None:
    assert Scrubbing(MemoryStore(), FakeClock(), ScrubSettings(interval_us=interval))._interval_s > 0
