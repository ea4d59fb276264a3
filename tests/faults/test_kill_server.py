"""`kill -9` of a real server at random instants under mixed load: what was acknowledged is there, once.

`TENURE_TEST_SEED` repeats a run (as far as the machine does).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.callers import Caller
from tests.acceptance.mixed_load import MixedLoad
from tests.acceptance.processes import Launch, ServerProcess
from tests.faults.disk_ledger import missing_in_log, problems_in
from tests.faults.follower import Follower, follower
from tests.faults.warm import warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

KILLS = size(short=10, full=1000)
CONTROL_KILLS = size(short=6, full=20)
# Kills of one store; the next begins with an empty one.
SAME_STORE = 50
CHECK_EVERY = 10
# A server is killed at any instant from its start on; one time in so many before it listens.
EARLY = 6
LOAD_S = 0.5
START_S = 0.25


@dataclass
class Told:
    """What came of the kills."""

    kills: int = 0
    early: int = 0
    acknowledged: int = 0
    drops: int = 0
    starts_s: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


async def test_kill_server(tmp_path: Path) -> None:
    began = time.monotonic()
    generator = random.Random(first_seed())
    told = Told()
    with warm() as family:
        while told.kills < KILLS and not told.violations:
            directory = tmp_path / f"store-{told.kills}"
            await _kills(family.launch, directory, generator, told, min(SAME_STORE, KILLS - told.kills), followed=True)
        noticed, hasty = Told(), family.launching(plants=["answers_before_commit"])
        await _kills(hasty, tmp_path / "control", generator, noticed, CONTROL_KILLS, check_every=1)
    settle(
        Proof(
            name="kill-server",
            promise="No acknowledged change is lost when the server is killed, none is made twice, and who follows the "
            "log gets each event once, in order.",
            fault="kill -9 of the server at random instants under mixed load, from the start of the process on.",
            runs=told.kills,
            faults=told.kills + told.early,
            acknowledged=told.acknowledged,
            violations=told.violations,
            figures={
                "kills while the server was starting": told.early,
                "connections lost by those who follow the log": told.drops,
                "slowest start after a kill (s)": round(max(told.starts_s), 2),
            },
            control=f"answers before the commit: noticed after {noticed.kills} kills",
            bites=bool(noticed.violations),
            seconds=round(time.monotonic() - began, 1),
        )
    )
    assert told.acknowledged > 10 * told.kills, "there was hardly any load"


async def _kills(
    launch: Launch,
    directory: Path,
    generator: random.Random,
    told: Told,
    kills: int,
    *,
    check_every: int = CHECK_EVERY,
    followed: bool = False,
) -> None:
    """Kill a server so often, or until something is wrong with its log, or with what a follower of it got."""
    server = ServerProcess(directory, more=["--log-level", "warning"])
    server.launch = launch
    try:
        await server.up()
        load = MixedLoad(generator, server.admin_token())
        following = follower(server.address, server.admin_token()) if followed else contextlib.nullcontext()
        async with following as watching:
            await _live_through(server, load, generator, told, kills, check_every)
            if watching is not None and not told.violations:
                told.violations += await _missed(server, watching)
                told.drops += watching.drops
        server.kill()
        told.violations += problems_in(server.data)
    except BaseException as error:
        error.add_note(f"seed {first_seed()}, kill {told.kills}; the server's log ends with:\n{server.tail()}")
        raise
    finally:
        server.close()


async def _live_through(
    server: ServerProcess, load: MixedLoad, generator: random.Random, told: Told, kills: int, check_every: int
) -> None:
    """So many kills, and a look at the log after some of them."""
    for number in range(1, kills + 1):
        await _kill(server, load, generator, told)
        if number % check_every == 0 or number == kills:
            told.violations += await missing_in_log(server, load, generator)
        if told.violations:
            return
    await load.quiet(server.address)
    told.violations += await missing_in_log(server, load, generator)
    assert load.ledger.creating == {}
    told.acknowledged += load.ledger.acknowledged()


async def _missed(server: ServerProcess, watching: Follower) -> list[str]:
    """What somebody who follows the log was not told, or otherwise than it is."""
    caller = Caller(server.address, server.admin_token())
    try:
        return await watching.caught_up(caller)
    finally:
        await caller.close()


async def _kill(server: ServerProcess, load: MixedLoad, generator: random.Random, told: Told) -> None:
    """Load, kill, and start again."""
    await load.connect(server.address)
    await asyncio.sleep(generator.uniform(0, LOAD_S))
    assert server.running, server.tail()
    load.assert_going_on()
    server.kill()
    await load.disconnected()
    told.kills += 1
    if generator.randrange(EARLY) == 0:
        server.start()
        await asyncio.sleep(generator.uniform(0, START_S))
        server.kill()
        told.early += 1
    began = time.monotonic()
    await server.up()
    told.starts_s.append(time.monotonic() - began)
