"""The file system can only be read: changes are refused with the reason, reads and leases go on.

Linux refuses to make a file system read-only while a server has its files open for writing; what happens is that ext4
finds an error and goes read-only by itself. That is one part. There is no way back from it, so the other part lets the
kernel answer writes with EROFS for a while and then take them again: the server needs no restart.

A flush that fails with EROFS leaves a commit's outcome open, and ends the server as any failed flush does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from tenure.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2
from tests.acceptance.callers import Caller, type_of
from tests.acceptance.invariants import assert_dense
from tests.acceptance.waiting import eventually
from tests.faults.disk_ledger import problems_in
from tests.faults.disk_load import Submitters
from tests.faults.disk_server import DiskServer
from tests.faults.disk_worker import LEASE_S, Beating
from tests.faults.loop_device import loop_disk
from tests.faults.traced_disk import injecting, read_trace
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size
from tests.proof.tools import needs, needs_linux_root

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

ERRORS = size(short=1, full=20)
WINDOWS = size(short=1, full=20)
REFUSED = ("UNAVAILABLE", "STORAGE_READ_ONLY")
# How long it stays so: in the long form for longer than a lease lasts.
HOLD_S = size(short=500, full=round(1000 * LEASE_S) + 500) / 1000
STORE_FAILED = 70
# Writes of the thread that commits: the window begins with one of these, and has so many.
FIRST_WRITE = (150, 400)
LONG_WINDOW = size(short=40, full=150)


@dataclass
class Told:
    """What came of it."""

    runs: int = 0
    faults: int = 0
    ended: int = 0
    reads: int = 0
    beats: int = 0
    refused: int = 0
    acknowledged: int = 0
    violations: list[str] = field(default_factory=list)


async def test_read_only(tmp_path: Path) -> None:
    needs_linux_root()
    needs("strace", "mkfs.ext4", "losetup")
    began = time.monotonic()
    generator = random.Random(first_seed())
    told, broken = Told(), Told()
    for number in range(ERRORS):
        await _errors(tmp_path / f"error-{number}", told, idle=number % 2 == 0)
    for number in range(WINDOWS):
        await _window(tmp_path / f"window-{number}", generator, told)
    await _errors(tmp_path / "control", broken, idle=True, change="read-only-is-fatal")
    settle(
        Proof(
            name="read-only",
            promise="On a file system that can only be read, reads and leases go on and changes are refused; "
            "once it can be written, changes go on without a restart.",
            fault="ext4 made to find an error (errors=remount-ro) under a server; EROFS for a while by strace.",
            runs=told.runs,
            faults=told.faults,
            acknowledged=told.acknowledged,
            violations=told.violations,
            figures={
                "changes refused": told.refused,
                "reads answered while it could only be read": told.reads,
                "heartbeats answered while it could only be read": told.beats,
                "servers ended because a flush was under way": told.ended,
            },
            control="a server that ends when the disk is read-only: "
            + (broken.violations[0] if broken.violations else "not noticed"),
            bites=bool(broken.violations),
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _errors(directory: Path, told: Told, *, idle: bool, change: str = "") -> None:
    """The file system finds an error, under load or between two changes, and goes read-only for good."""
    with loop_disk(directory.parent, directory / "data") as disk, _server(directory, change=change) as server:
        await server.up()
        token = server.admin_token()
        caller, beating = Caller(server.address, token), Beating(server.address, token)
        load = Submitters(server.address, token)
        try:
            await beating.start()
            load.start()
            await load.calm.wait()
            if idle:
                await load.stop()
            told.runs, told.faults = told.runs + 1, told.faults + 1
            disk.fail_to_read_only()
            if idle:
                load.start_again()
            await _while_read_only(server, caller, load, beating, told)
        except _Gone:
            # What was being flushed at that instant may be on disk or not.
            told.ended += 1
            code = await server.wait()
            if code != STORE_FAILED or idle:
                told.violations.append(f"the server ended with {code}")
        finally:
            told.refused += load.refused[REFUSED]
            told.acknowledged += len(load.acknowledged)
            await load.close()
            await beating.close()
            await caller.close()
        if change:
            return
        server.kill()
        server.start()
        if await server.wait() != 1 or "the file system is read-only. Mount it for writing" not in server.output():
            told.violations.append(f"a start on it does not say what to do: {server.tail()}")
        disk.unmount()
        disk.mount()
        await server.up()
        await _nothing_is_lost(server, load, told, lease_counts=False)


async def _window(directory: Path, generator: random.Random, told: Told) -> None:
    """The file system takes no writes for a while."""
    first = generator.randrange(*FIRST_WRITE)
    fault = f"pwrite64:error=EROFS:when={first}..{first + LONG_WINDOW}"
    trace = directory / "trace"
    with _server(directory) as server:
        server.run_as(before=injecting(trace, fault))
        await server.up()
        token = server.admin_token()
        beating, load = Beating(server.address, token), Submitters(server.address, token)
        try:
            await beating.start()
            load.start()
            await eventually(lambda: _at_least(trace, LONG_WINDOW), fault)
            told.runs, told.faults = told.runs + 1, told.faults + read_trace(trace).failed
            load.calm.clear()
            async with asyncio.timeout(20):
                await load.calm.wait()
            await load.stop()
            if load.refused[REFUSED] == 0:
                told.violations.append(f"{fault}: nothing was refused")
            await _nothing_is_lost(server, load, told, lease_counts=True)
        except TimeoutError:
            told.violations.append(f"{fault}: changes did not go on: {server.tail()}")
        finally:
            told.violations += [f"{fault}: a beat was answered with {one}" for one in beating.lost]
            told.refused += load.refused[REFUSED]
            told.acknowledged += len(load.acknowledged)
            await load.close()
            await beating.close()


async def _at_least(trace: Path, failed: int) -> bool:
    return read_trace(trace).failed >= failed


@contextmanager
def _server(directory: Path, *, change: str = "") -> Iterator[DiskServer]:
    server = DiskServer(directory, change=change)
    try:
        yield server
    except BaseException as error:
        error.add_note(f"seed {first_seed()}; the server's log ends with:\n{server.tail()}")
        raise
    finally:
        server.close()


async def _while_read_only(server: DiskServer, caller: Caller, load: Submitters, beating: Beating, told: Told) -> None:
    """For a while: every change is refused, and everything can be read."""
    until = time.monotonic() + 20
    while load.refused[REFUSED] == 0:
        if not server.running or (load.refused.total() > 0 and not load.refused[REFUSED]):
            raise _Gone
        assert time.monotonic() < until, "nothing was refused"
        await asyncio.sleep(0.01)
    beats, until = beating.beats, time.monotonic() + HOLD_S
    said = ""
    try:
        while time.monotonic() < until:
            assert (await caller.job(beating.job_id)).status.state == job_pb2.JOB_STATE_RUNNING
            told.reads += 1
            said = said or (await _state(caller)).read_only_reason
            await asyncio.sleep(0.05)
    except grpc.aio.AioRpcError:
        raise _Gone from None
    told.beats += beating.beats - beats
    told.violations += [f"a beat was answered with {one}" for one in beating.lost]
    told.violations += [f"refused with {code} {reason}" for code, reason in load.refused if (code, reason) != REFUSED]
    if said != "the file system is read-only":
        told.violations.append(f"`tenure log state` says {said!r}")
    if beating.beats == beats:
        told.violations.append("no heartbeat was answered")


async def _nothing_is_lost(server: DiskServer, load: Submitters, told: Told, *, lease_counts: bool) -> None:
    caller = Caller(server.address, server.admin_token())
    events = await caller.events()
    await caller.close()
    assert_dense(events)
    told.violations += load.missing_in(events)
    if lease_counts:
        told.violations += [f"{event.stream}: LeaseExpired" for event in events if type_of(event) == "LeaseExpired"]
    server.kill()
    told.violations += problems_in(server.data)


async def _state(caller: Caller) -> admin_service_pb2.RetrieveStoreResponse:
    stub = admin_service_pb2_grpc.AdminServiceStub(caller.channel)
    return await stub.RetrieveStore(admin_service_pb2.RetrieveStoreRequest(), metadata=caller.metadata, timeout=20)


class _Gone(Exception):
    """The server has ended."""
