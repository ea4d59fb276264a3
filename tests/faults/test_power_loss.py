"""The power goes at any instant under mixed load: what was acknowledged is there afterwards, and nobody is accused.

An ext4 file system of its own is shut down without flushing anything, not even its journal, and mounted again. The
anchor is on the same file system, so it must never be ahead of the log that a cut leaves behind: then a server would
refuse to start on a log that has lost nothing.

`TENURE_TEST_SEED` repeats a run (as far as the machine does).
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tenure.store.sqlite_schema import BadDatabase
from tests.acceptance.mixed_load import MixedLoad
from tests.faults.disk_ledger import missing_in_log, problems_in
from tests.faults.disk_server import DiskServer, jobs_in
from tests.faults.loop_device import LoopDisk, loop_disk
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size
from tests.proof.tools import needs, needs_linux_root

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

CUTS = size(short=2, full=300)
CONTROL_CUTS = size(short=1, full=8)
# Cuts of one file system; the next begins with an empty one, whose first start is cut into as well.
SAME_DISK = 25
CHECK_EVERY = 5
# One cut in so many meets a server that is just starting.
EARLY = 5
LOAD_S = size(short=300, full=600) / 1000
START_S = 1.0


@dataclass
class Told:
    """What came of the cuts."""

    cuts: int = 0
    early: int = 0
    acknowledged: int = 0
    slowest_start_s: float = 0
    violations: list[str] = field(default_factory=list)


async def test_power_loss(tmp_path: Path) -> None:
    needs_linux_root()
    needs("mkfs.ext4", "losetup")
    began = time.monotonic()
    generator = random.Random(first_seed())
    told = Told()
    while told.cuts < CUTS and not told.violations:
        directory = tmp_path / f"disk-{told.cuts}"
        with loop_disk(tmp_path, directory / "data") as disk:
            server = DiskServer(directory)
            try:
                await _cuts(disk, server, generator, told, min(SAME_DISK, CUTS - told.cuts))
            except BaseException as error:
                error.add_note(f"seed {first_seed()}, cut {told.cuts}; the server's log ends with:\n{server.tail()}")
                raise
            finally:
                server.close()
    lost, cuts = await _control(tmp_path, generator)
    settle(
        Proof(
            name="power-loss",
            promise="No acknowledged change is lost when the power goes, and the server starts again by itself.",
            fault="ext4 on a loop device shut down (EXT4_IOC_SHUTDOWN, no log flush) under mixed load, mounted again.",
            runs=told.cuts,
            faults=told.cuts + told.early,
            acknowledged=told.acknowledged,
            violations=told.violations,
            figures={
                "cuts while the server was starting": told.early,
                "slowest start after a cut (s)": round(told.slowest_start_s, 2),
                "acknowledged jobs lost by the control": lost,
            },
            control=f"with synchronous=NORMAL, {lost} acknowledged jobs were gone after {cuts} cuts",
            bites=lost > 0,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _cuts(disk: LoopDisk, server: DiskServer, generator: random.Random, told: Told, count: int) -> None:
    if generator.randrange(2):
        await _cut_at_start(disk, server, generator, told)
    await server.up()
    load = MixedLoad(generator, server.admin_token())
    for number in range(1, count + 1):
        await load.connect(server.address)
        await asyncio.sleep(generator.uniform(0.05, LOAD_S))
        assert server.running, server.tail()
        load.assert_going_on()
        disk.cut_power()
        server.kill()
        await load.disconnected()
        told.cuts += 1
        _power_comes_back(disk)
        if generator.randrange(EARLY) == 0:
            await _cut_at_start(disk, server, generator, told)
        server.run_as(change=generator.choice(["", "small-checkpoints"]))
        if not await _started(server, told):
            return
        if number % CHECK_EVERY == 0 or number == count:
            told.violations += await missing_in_log(server, load, generator)
    await load.quiet(server.address)
    told.violations += await missing_in_log(server, load, generator)
    told.acknowledged += load.ledger.acknowledged()
    server.kill()
    told.violations += problems_in(server.data)


async def _cut_at_start(disk: LoopDisk, server: DiskServer, generator: random.Random, told: Told) -> None:
    server.start()
    await asyncio.sleep(generator.uniform(0.3, START_S))
    disk.cut_power()
    server.kill()
    told.early += 1
    _power_comes_back(disk)


def _power_comes_back(disk: LoopDisk) -> None:
    disk.unmount()
    disk.mount()


async def _started(server: DiskServer, told: Told) -> bool:
    """Start the server; that it does not is a violation."""
    began = time.monotonic()
    try:
        await server.up()
    except AssertionError as error:
        told.violations.append(f"after cut {told.cuts} the server did not start: {error}")
        return False
    told.slowest_start_s = max(told.slowest_start_s, time.monotonic() - began)
    return True


async def _control(directory: Path, generator: random.Random) -> tuple[int, int]:
    """Acknowledged jobs that are lost when a commit is not brought to disk, and after how many cuts."""
    lost = 0
    for number in range(1, CONTROL_CUTS + 1):
        home = directory / f"control-{number}"
        with loop_disk(directory, home / "data") as disk:
            server = DiskServer(home, change="synchronous-normal")
            try:
                await server.up()
                load = MixedLoad(generator, server.admin_token())
                await load.connect(server.address)
                await asyncio.sleep(LOAD_S)
                disk.cut_power()
                server.kill()
                await load.disconnected()
                _power_comes_back(disk)
                lost += len(set(load.ledger.job_ids) - _jobs_left(server))
            finally:
                server.close()
    return lost, CONTROL_CUTS


def _jobs_left(server: DiskServer) -> set[str]:
    try:
        return jobs_in(server.data)
    except BadDatabase:
        return set()  # not even its tables are there
