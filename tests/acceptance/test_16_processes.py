"""Scenario 16 with a real server that is killed and started again under a hundred workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.callers import Caller, duration
from tests.acceptance.invariants import assert_dense, assert_one_owner
from tests.acceptance.processes import ServerProcess, run_tenure
from tests.acceptance.scripted_worker import HELD, ScriptedWorker
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import eventually

pytestmark = pytest.mark.processes

WORKERS = 100
JOBS = 10
KILLS = 3


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server that this test may kill."""
    process = ServerProcess(tmp_path)
    try:
        await process.up()
        yield process
    finally:
        process.close()


def _now_us() -> int:
    return time.time_ns() // 1000


async def test_scenario_16_kill_and_restart_under_a_hundred_workers(own_server: ServerProcess) -> None:
    token = own_server.admin_token()
    user = Caller(own_server.address, token)
    specification = simple(heartbeat_interval=duration(600))
    created = await user.create_many([specification] * JOBS)
    workers = [ScriptedWorker(own_server.address, token, f"w{n:03}", _now_us) for n in range(WORKERS)]
    try:
        await _connect(workers)
        await _all_given(workers)
        for worker in workers:
            for _ in list(worker.assigned):
                await worker.run()
        for _ in range(KILLS):
            own_server.kill()
            await user.close()
            await own_server.up()
            user = Caller(own_server.address, token)
            await _connect(workers)
            await asyncio.gather(*(worker.round_trip() for worker in workers))
            assert [a for worker in workers for a in worker.untouched()] == []
        for worker in workers:
            for held in list(worker.held.values()):
                assert (await worker.beat(held.assignment)).state == HELD
        events = await user.events()
        assert_dense(events)
        assert_one_owner(events)
        assigned = [event for event in events if event.HasField("job_assigned")]
        assert len(assigned) == JOBS
        assert {event.stream for event in assigned} == {f"job/{item.id}" for item in created.responses}
    finally:
        await asyncio.gather(*(worker.close() for worker in workers))
        await user.close()


async def test_scenario_16_killed_while_it_gives_out(own_server: ServerProcess) -> None:
    """Killed in the middle of giving jobs out: what was said is what the log says, and nobody else gets it."""
    token = own_server.admin_token()
    user = Caller(own_server.address, token)
    workers = [ScriptedWorker(own_server.address, token, f"w{n}", _now_us) for n in range(20)]
    try:
        await _connect(workers)
        for round_number in range(KILLS):
            creating = asyncio.ensure_future(user.create_many([simple(heartbeat_interval=duration(600))] * 5))
            await asyncio.sleep(0.003 * round_number)
            own_server.kill()
            await asyncio.gather(creating, return_exceptions=True)
            await user.close()
            await own_server.up()
            user = Caller(own_server.address, token)
            await _connect(workers)
        # Jobs are still given out: what was heard by now is in the log as it is a moment later.
        heard = [assignment.lease_id for worker in workers for assignment in worker.assigned]
        events = await user.events()
        assert_dense(events)
        assert_one_owner(events)
        given = {event.event_id for event in events if event.HasField("job_assigned")}
        assert len(set(heard)) == len(heard)
        # A worker never hears of a lease that is not in the log.
        assert set(heard) <= given
    finally:
        await asyncio.gather(*(worker.close() for worker in workers))
        await user.close()
    own_server.kill()
    verified = await asyncio.to_thread(run_tenure, "log", "verify", "--store", own_server.store_url)
    assert verified.returncode == 0, verified


async def _connect(workers: list[ScriptedWorker]) -> None:
    # Whoever has an assignment holds it, accepted or not.
    for batch in range(0, len(workers), 25):
        await asyncio.gather(
            *(
                worker.connect(leases=[held.assignment for held in worker.held.values()])
                for worker in workers[batch : batch + 25]
            )
        )


async def _all_given(workers: list[ScriptedWorker]) -> None:
    async def given() -> bool:
        return sum(len(worker.assigned) for worker in workers) == JOBS

    await eventually(given, "ten assignments")
