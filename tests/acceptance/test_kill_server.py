"""`kill -9` of a real server at random instants under mixed load: what was acknowledged is there, once.

`TENURE_TEST_KILLS` says how often, `TENURE_TEST_SEED` repeats a run (as far as the machine does).
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.acceptance.callers import Caller
from tests.acceptance.invariants import assert_dense, assert_ends_once, assert_one_owner
from tests.acceptance.mixed_load import MixedLoad
from tests.acceptance.processes import ServerProcess, run_tenure

pytestmark = pytest.mark.processes

ROUNDS = 30
LONG_ROUNDS = 1000
CHECK_EVERY = 10
# A server is killed at any instant from its start on; one time in so many before it listens.
EARLY = 6
LOAD_S = 0.6
START_S = 0.9


@pytest.mark.timeout(300)
async def test_kill_server(tmp_path: Path) -> None:
    await _rounds(tmp_path, int(os.environ.get("TENURE_TEST_KILLS", ROUNDS)))


@pytest.mark.prove
@pytest.mark.timeout(3600)
async def test_kill_server_a_thousand_times(tmp_path: Path) -> None:
    await _rounds(tmp_path, int(os.environ.get("TENURE_TEST_KILLS", LONG_ROUNDS)))


async def _rounds(directory: Path, rounds: int) -> None:
    seed = int(os.environ.get("TENURE_TEST_SEED") or random.SystemRandom().randrange(2**32))
    generator = random.Random(seed)
    server = ServerProcess(directory, more=["--log-level", "warning"])
    try:
        await server.up()
        load = MixedLoad(generator, server.admin_token())
        for number in range(1, rounds + 1):
            await load.connect(server.address)
            await asyncio.sleep(generator.uniform(0, LOAD_S))
            assert server.running, server.tail()
            load.assert_going_on()
            server.kill()
            await load.disconnected()
            if generator.randrange(EARLY) == 0:
                server.start()
                await asyncio.sleep(generator.uniform(0, START_S))
                server.kill()
            await server.up()
            if number % CHECK_EVERY == 0 or number == rounds:
                await _check(server, load, generator)
        await load.quiet(server.address)
        await _check(server, load, generator)
        assert load.ledger.creating == {}
        assert load.ledger.acknowledged() > 10 * rounds, "there was hardly any load"
        server.kill()
        verified = await asyncio.to_thread(run_tenure, "log", "verify", "--store", server.store_url, env=server.env)
        assert verified.returncode == 0, verified
    except BaseException as error:
        error.add_note(f"seed {seed}; the server's log ends with:\n{server.tail()}")
        raise
    finally:
        server.close()


async def _check(server: ServerProcess, load: MixedLoad, generator: random.Random) -> None:
    caller = Caller(server.address, server.admin_token())
    try:
        events = await caller.events()
        assert_dense(events)
        assert_one_owner(events)
        assert_ends_once(events)
        known = load.ledger.job_ids
        sample = generator.sample(known, min(50, len(known)))
        load.check(events, {job_id: await caller.job(job_id) for job_id in sample})
    finally:
        await caller.close()
