"""The disk is full: changes are refused with the reason, everything else goes on, and room is all that it takes.

A file system of 12 MB is filled to the last byte by another file, for longer than a lease lasts, and freed again. A
worker's job must not be taken from it meanwhile: its beats count although none of them can be written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
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
from tests.faults.disk_ledger import problems_in
from tests.faults.disk_load import Submitters
from tests.faults.disk_server import DiskServer
from tests.faults.disk_worker import LEASE_S, Beating
from tests.faults.loop_device import loop_disk
from tests.proof.record import Proof, settle
from tests.proof.sizes import size
from tests.proof.tools import needs, needs_linux_root

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

MEGABYTES = 12
FILLS = size(short=1, full=60)
# What is acknowledged in between needs room too.
SAME_DISK = 20
# So long after a lease would have run out.
LONGER_S = 0.5
FULL = ("RESOURCE_EXHAUSTED", "STORAGE_FULL")
CHUNKS = (1 << 20, 1 << 12, 1)


@dataclass
class Told:
    """What came of the full disks."""

    fills: int = 0
    reads: int = 0
    beats: int = 0
    refused: int = 0
    acknowledged: int = 0
    recovered_s: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


class Ballast:
    """A file that takes all the room there is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Leave not a byte."""
        with self._path.open("ab", buffering=0) as file:
            for chunk in CHUNKS:
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * chunk) == chunk:
                        pass
                with contextlib.suppress(OSError):
                    os.fsync(file.fileno())

    def free(self) -> None:
        """Give it all back."""
        self._path.unlink(missing_ok=True)


async def test_full_disk(tmp_path: Path) -> None:
    needs_linux_root()
    needs("mkfs.ext4", "losetup")
    began = time.monotonic()
    told = Told()
    while told.fills < FILLS and not told.violations:
        with _server(tmp_path / f"disk-{told.fills}") as (server, ballast):
            try:
                await server.up()
                await _filled(server, ballast, told, min(SAME_DISK, FILLS - told.fills))
            except BaseException as error:
                error.add_note(f"the server's log ends with:\n{server.tail()}")
                raise
            server.kill()
            told.violations += problems_in(server.data)
    broken = Told()
    with _server(tmp_path / "control", change="full-disk-is-fatal") as (server, ballast):
        await server.up()
        await _filled(server, ballast, broken, 1)
    settle(
        Proof(
            name="full-disk",
            promise="On a full disk reads go on, changes are refused, leases live, and room alone mends it.",
            fault=f"an ext4 of {MEGABYTES} MB filled to the last byte for longer than a lease, and freed.",
            runs=told.fills,
            faults=told.fills,
            acknowledged=told.acknowledged,
            violations=told.violations,
            figures={
                "changes refused": told.refused,
                "reads answered while it was full": told.reads,
                "heartbeats answered while it was full": told.beats,
                "slowest change after room was made (s)": round(max(told.recovered_s, default=0), 2),
            },
            control="a server that ends when the disk is full: "
            + (broken.violations[0] if broken.violations else "not noticed"),
            bites=bool(broken.violations),
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def test_a_start_on_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    needs_linux_root()
    needs("mkfs.ext4", "losetup")
    with _server(tmp_path) as (server, ballast):
        ballast.fill()
        server.start()
        assert await server.wait() == 1
        assert "the disk is full. Free some space and start again" in server.output()
        assert "Traceback" not in server.output()
        ballast.free()
        await server.up()


@contextmanager
def _server(directory: Path, change: str = "") -> Iterator[tuple[DiskServer, Ballast]]:
    directory.mkdir(exist_ok=True)
    with loop_disk(directory, directory / "data", megabytes=MEGABYTES):
        server = DiskServer(directory, change=change)
        try:
            yield server, Ballast(server.data / "ballast")
        finally:
            server.close()


async def _filled(server: DiskServer, ballast: Ballast, told: Told, fills: int) -> None:
    """Fill the disk and free it, so many times, under load."""
    token = server.admin_token()
    caller, beating = Caller(server.address, token), Beating(server.address, token)
    load = Submitters(server.address, token)
    try:
        await beating.start()
        load.start()
        for _ in range(fills):
            await asyncio.sleep(0.1)
            told.fills += 1
            ballast.fill()
            await _while_full(server, caller, load, beating, told)
            began = time.monotonic()
            ballast.free()
            load.calm.clear()
            async with asyncio.timeout(20):
                await load.calm.wait()
            told.recovered_s.append(time.monotonic() - began)
        await load.stop()
        if await beating.state() != job_pb2.JOB_STATE_RUNNING:
            told.violations.append("the job that was running is not running any more")
        events = await caller.events()
        assert_dense(events)
        told.violations += load.missing_in(events)
        told.violations += [f"{event.stream}: LeaseExpired" for event in events if type_of(event) == "LeaseExpired"]
        told.violations += [f"refused with {code} {reason}" for code, reason in load.refused if (code, reason) != FULL]
    except (grpc.aio.AioRpcError, TimeoutError, _Gone) as error:
        told.violations.append("the server ended" if not server.running else f"a call failed: {error}")
    finally:
        told.violations += [f"a beat was answered with {one}" for one in beating.lost]
        told.acknowledged += len(load.acknowledged)
        told.refused += load.refused[FULL]
        await load.close()
        await beating.close()
        await caller.close()


async def _while_full(server: DiskServer, caller: Caller, load: Submitters, beating: Beating, told: Told) -> None:
    """For longer than a lease lasts: everybody is refused, and everything can be read."""
    refused, until = load.refused.total(), time.monotonic() + 20
    while load.refused.total() == refused:
        if not server.running:
            raise _Gone
        assert time.monotonic() < until, "the disk is not full"
        await asyncio.sleep(0.01)
    beats, until = beating.beats, time.monotonic() + LEASE_S + LONGER_S
    said = ""
    while time.monotonic() < until:
        assert (await caller.job(beating.job_id)).status.state == job_pb2.JOB_STATE_RUNNING
        assert await caller.event_types(beating.job_id)
        told.reads += 2
        said = said or (await _state(caller)).read_only_reason
        await asyncio.sleep(0.05)
    told.beats += beating.beats - beats
    if said != "the disk is full":
        told.violations.append(f"`tenure log state` says {said!r}")
    if beating.beats == beats:
        told.violations.append("no heartbeat was answered while the disk was full")


async def _state(caller: Caller) -> admin_service_pb2.RetrieveStoreResponse:
    stub = admin_service_pb2_grpc.AdminServiceStub(caller.channel)
    return await stub.RetrieveStore(admin_service_pb2.RetrieveStoreRequest(), metadata=caller.metadata, timeout=20)


class _Gone(Exception):
    """The server has ended."""


def test_a_ballast_takes_all_the_room(tmp_path: Path) -> None:
    needs_linux_root()
    needs("mkfs.ext4", "losetup")
    with loop_disk(tmp_path, tmp_path / "data", megabytes=MEGABYTES):
        Ballast(tmp_path / "data" / "ballast").fill()
        with pytest.raises(OSError, match="No space left") as refused:
            (tmp_path / "data" / "more").write_bytes(b"x")
        assert refused.value.errno == errno.ENOSPC
