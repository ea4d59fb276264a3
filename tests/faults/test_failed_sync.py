"""The disk fails in the middle of a commit: nothing of it is acknowledged, and the server ends rather than guess.

A commit that failed may be on disk all the same. So each request whose answer was lost is afterwards in the log as a
whole or not at all, and its repeat with the same request id gives one job. A full disk is another thing: SQLite takes
the commit back, callers are told, and the server goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.callers import Caller
from tests.acceptance.invariants import assert_dense
from tests.acceptance.mixed_load import MixedLoad
from tests.acceptance.waiting import eventually
from tests.faults.disk_ledger import missing_in_log, problems_in
from tests.faults.disk_load import Submitters
from tests.faults.disk_server import DiskServer
from tests.faults.loop_device import LoopDisk, loop_disk
from tests.faults.traced_disk import injecting, read_trace
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size
from tests.proof.tools import needs, needs_linux_root

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

# In the short form a machine may have much else to do.
ENDS_WITHIN_S = size(short=5, full=1)
LONG_AFTER_S = 1.0
STORE_FAILED = 70
# The first calls are those of the start.
FIRST_CALL = 12
FATAL = size(short=1, full=120)
FULL_DISKS = size(short=1, full=20)
SLOW = size(short=0, full=5)
SLOW_US = 80_000
SAME_DISK = 20
KINDS = ("fdatasync:error=EIO", "fdatasync:error=ENOSPC", "pwrite64:error=EIO")


@dataclass
class Told:
    """What came of the faults."""

    runs: int = 0
    at_start: int = 0
    failed_calls: int = 0
    acknowledged: int = 0
    cuts: int = 0
    ends_s: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def test_a_trace_is_read(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(
        "7 10.5 fdatasync(3) = 0\n7 11.25 fdatasync(3) = -1 EIO (Input/output error) (INJECTED)\n"
        "8 11.5 fdatasync(3) = -1 EIO (Input/output error) (INJECTED)\n8 11.75 +++ exited with 70 +++\n"
    )
    told = read_trace(trace)
    assert (told.failed, told.first_s, told.exited_s) == (2, 11.25, 11.75)


async def test_failed_sync(tmp_path: Path) -> None:
    needs_linux_root()
    needs("strace", "mkfs.ext4", "losetup")
    began = time.monotonic()
    generator = random.Random(first_seed())
    told = Told()
    faults = list(_fatal(generator))
    for first in range(0, len(faults), SAME_DISK):
        directory = tmp_path / f"disk-{first}"
        with loop_disk(tmp_path, directory / "data") as disk:
            server = DiskServer(directory)
            try:
                await _fail(disk, server, faults[first : first + SAME_DISK], generator, told)
            except BaseException as error:
                error.add_note(f"seed {first_seed()}; the server's log ends with:\n{server.tail()}")
                raise
            finally:
                server.close()
    for number in range(FULL_DISKS + SLOW):
        fault = f"fdatasync:delay_enter={SLOW_US}"
        if number < FULL_DISKS:
            fault = f"pwrite64:error=ENOSPC:when={generator.randrange(200, 300)}"
        await _go_on(tmp_path / f"goes-on-{number}", fault, told)
    noticed = await _control(tmp_path / "control")
    settle(
        Proof(
            name="failed-sync",
            promise="A commit that fails on the disk is never acknowledged; the process ends within 1 s of it.",
            fault="EIO and ENOSPC in fdatasync, EIO in pwrite64 by strace, half of them with the power cut after; "
            "ENOSPC in pwrite64 and a disk that takes 80 ms for each flush, which the server survives.",
            runs=told.runs,
            faults=told.failed_calls + told.cuts,
            acknowledged=told.acknowledged,
            violations=told.violations,
            figures={
                "runs that failed before the server listened": told.at_start,
                "power cuts after the failure": told.cuts,
                "slowest end after the failure (s)": round(max(told.ends_s, default=0), 3),
                "median end after the failure (s)": round(sorted(told.ends_s)[len(told.ends_s) // 2], 3),
            },
            control=f"a server that goes on after a failed flush: {noticed[0] if noticed else 'not noticed'}",
            bites=bool(noticed),
            seconds=round(time.monotonic() - began, 1),
        )
    )


def _fatal(generator: random.Random) -> Iterator[str]:
    """Faults that no server survives: which call, which error, the how-manieth."""
    for number in range(FATAL):
        last = 3 * FIRST_CALL if number % 2 else 200
        first = 1 if number % 10 == 9 else FIRST_CALL
        yield f"{KINDS[number % len(KINDS)]}:when={generator.randrange(first, last)}"


async def _fail(disk: LoopDisk, server: DiskServer, faults: list[str], generator: random.Random, told: Told) -> None:
    load: MixedLoad | None = None
    for fault in faults:
        told.runs += 1
        trace = server.directory / f"trace-{told.runs}"
        server.run_as(change=generator.choice(["", "small-checkpoints"]), before=injecting(trace, fault))
        if await _listens(server):
            load = load or MixedLoad(generator, server.admin_token())
            await _until_it_ends(server, load, told)
        else:
            told.at_start += 1
        told.violations += [f"{fault}: {wrong}" for wrong in _not_ended_in_time(trace, told)]
        if told.runs % 2:
            disk.cut_power()
            disk.unmount()
            disk.mount()
            told.cuts += 1
        server.run_as()
        await server.up()
        wrong = []
        if load is not None:
            # What stayed unknown is there as a whole or not at all; repeated, it is there once.
            wrong = await missing_in_log(server, load, generator)
            await load.quiet(server.address)
            wrong += await missing_in_log(server, load, generator)
            assert load.ledger.creating == {}
        server.kill()
        told.violations += [f"{fault}: {one}" for one in wrong + problems_in(server.data)]
    if load is not None:
        told.acknowledged += load.ledger.acknowledged()


async def _listens(server: DiskServer) -> bool:
    """Start a server that will fail; whether it came so far as to listen."""
    try:
        await server.up()
    except AssertionError:
        assert not server.running, server.tail()
        return False
    return True


async def _until_it_ends(server: DiskServer, load: MixedLoad, told: Told) -> None:
    """Ask things of a server until it fails."""
    await load.connect(server.address)
    try:
        code = await server.wait()
        if code != STORE_FAILED:
            told.violations.append(f"the server ended with {code}: {server.tail()}")
    finally:
        server.kill()
        await load.disconnected()


def _not_ended_in_time(trace: Path, told: Told) -> list[str]:
    seen = read_trace(trace)
    told.failed_calls += seen.failed
    if seen.first_s is None or seen.exited_s is None:
        return [f"no call failed, or the end was not seen: {seen}"]
    told.ends_s.append(seen.exited_s - seen.first_s)
    if told.ends_s[-1] > ENDS_WITHIN_S:
        return [f"the process ended {told.ends_s[-1]:.2f} s after the failure"]
    return []


async def _go_on(directory: Path, fault: str, told: Told) -> None:
    """A fault that the server survives: nothing is lost and nothing is there twice."""
    told.runs += 1
    trace = directory / "trace"
    server = DiskServer(directory, before=injecting(trace, fault))
    try:
        await server.up()
        load = Submitters(server.address, server.admin_token())
        load.start()

        async def met() -> bool:
            return len(load.acknowledged) > 20 if "delay" in fault else read_trace(trace).failed > 0

        await eventually(met, fault)
        load.calm.clear()
        async with asyncio.timeout(20):
            await load.calm.wait()
        await load.stop()
        caller = Caller(server.address, server.admin_token())
        events = await caller.events()
        await caller.close()
        await load.close()
        assert server.running, server.tail()
        assert_dense(events)
        told.violations += [f"{fault}: {wrong}" for wrong in load.missing_in(events)]
        allowed = {("RESOURCE_EXHAUSTED", "STORAGE_FULL")}
        told.violations += [f"{fault}: refused with {one}" for one in load.refused if one not in allowed]
        told.failed_calls += read_trace(trace).failed
        told.acknowledged += len(load.acknowledged)
    finally:
        server.close()


async def _control(directory: Path) -> list[str]:
    """What is noticed of a server that goes on after a failed flush."""
    trace = directory / "trace"
    fault = f"fdatasync:error=EIO:when={FIRST_CALL}"
    server = DiskServer(directory, change="go-on-after-failed-sync", before=injecting(trace, fault))
    try:
        await server.up()
        load = Submitters(server.address, server.admin_token())
        load.start()

        async def long_after() -> bool:
            first = read_trace(trace).first_s
            return first is not None and time.time() > first + LONG_AFTER_S

        await eventually(long_after, fault)
        seen = read_trace(trace)
        assert seen.first_s is not None
        late = sum(1 for at_s, _ in load.acknowledged.values() if at_s > seen.first_s + LONG_AFTER_S / 4)
        noticed = ["it did not end within 1 s"] if server.running else []
        if late and noticed:
            noticed[0] += f", and acknowledged {late} requests after it"
        await load.close()
        return noticed
    finally:
        server.close()
