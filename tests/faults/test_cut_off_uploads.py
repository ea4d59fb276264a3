"""Real workers that upload to a real object store all the time and are cut off from the server, but not from the store.

Every worker reaches the store through a proxy of its own, which notes when each request began and ended: under a lease
that is over, none does either.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tenure.v1 import job_pb2
from tests.acceptance.callers import Caller, duration
from tests.acceptance.faulty_store import FaultyStore, faulty_store
from tests.acceptance.processes import WorkerProcess
from tests.acceptance.waiting import eventually
from tests.faults.hosts import quantiles, running, stories, until_running
from tests.faults.network import Cut, FarServer, Network, network
from tests.faults.scene import LEASE_S, patient, wrong_with
from tests.faults.warm import Warm, warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size
from tests.proof.tools import needs, needs_linux_root
from tests.servers.seaweedfs import SeaweedFS

pytestmark = [pytest.mark.processes, pytest.mark.prove, pytest.mark.timeout(3600)]

CUTS = size(short=2, full=15)
KINDS = (Cut.TO_SERVER, Cut.FROM_SERVER, Cut.BOTH)
WORKERS = 3
BUCKET = "faults"
WITHIN_S = 60.0

# Writes a checkpoint again and again; what is uploaded says which attempt wrote it.
WRITER = """
import os, pathlib, time
pathlib.Path("state").mkdir(exist_ok=True)
n = 0
while True:
    n += 1
    pathlib.Path("state/checkpoint").write_text(f"attempt {os.environ['TENURE_ATTEMPT']} write {n}")
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Uploader:
    """A worker and its way to the store."""

    process: WorkerProcess
    store: FaultyStore

    def writes(self) -> list[tuple[float, float]]:
        """When its requests that write began and ended (seconds since the epoch)."""
        return [(one.began, one.ended) for one in list(self.store.seen) if one.method in ("PUT", "POST")]


@dataclass
class Told:
    """What came of the cuts; `late` are uploads under a lease that was over."""

    late: int = 0
    margins_s: list[float] = field(default_factory=list)
    uploads: int = 0
    violations: list[str] = field(default_factory=list)


async def test_cut_off_uploads(tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    needs_linux_root()
    needs("ip", "nft")
    began = time.monotonic()
    seaweedfs.create_bucket(BUCKET)
    with warm() as family:
        with network(WORKERS) as net:
            told = await _run(tmp_path / "proof", family, net, seaweedfs, cuts=CUTS)
        with network(WORKERS) as net:
            # Cut off both ways: a worker that can still be told that its lease is over stops without any fence.
            control = await _run(
                tmp_path / "control", family, net, seaweedfs, cuts=1, kinds=(Cut.BOTH,), plants=("no_fence",)
            )
    settle(
        Proof(
            name="cut-off-uploads",
            promise="A worker that is cut off from the server, not from the store, uploads nothing after its lease.",
            fault=f"nft drops to, from, or to and from the server of real workers with leases of {LEASE_S:.0f} s.",
            runs=CUTS,
            faults=CUTS,
            acknowledged=told.uploads,
            violations=told.violations,
            figures={"last upload before the lease's end, least / median / p99 / most (s)": quantiles(told.margins_s)},
            control=f"without the fence {control.late} uploads ended after the lease of one attempt",
            bites=control.late > 0,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _run(
    directory: Path,
    family: Warm,
    net: Network,
    store: SeaweedFS,
    *,
    cuts: int,
    kinds: Sequence[Cut] = KINDS,
    plants: Sequence[str] = (),
) -> Told:
    """One job that uploads all the time, and so many cuts."""
    told, generator = Told(), random.Random(first_seed())
    async with _workers(directory, family, net, store, plants) as (caller, uploaders):
        await caller.create(_job(f"{directory.name}/"))
        for _ in range(cuts):
            await _cut(caller, uploaders, net, generator.choice(kinds), told)
        told.violations += wrong_with(await caller.events())
        told.uploads = sum(len(one.writes()) for one in uploaders.values())
    return told


@contextlib.asynccontextmanager
async def _workers(
    directory: Path, family: Warm, net: Network, store: SeaweedFS, plants: Sequence[str]
) -> AsyncIterator[tuple[Caller, dict[str, Uploader]]]:
    """A server, and workers in namespaces of their own, each with its own way to the store."""
    server = FarServer(directory / "server", net, more=patient(directory))
    server.launch = family.launching(namespace=net.server_namespace)
    uploaders: dict[str, Uploader] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        await server.up()
        for name in net.workers:
            faulty = stack.enter_context(faulty_store(store.endpoint_url, host=net.here_ip))
            process = WorkerProcess(
                name,
                directory,
                server,
                env=store.environment() | {"AWS_ENDPOINT_URL_S3": faulty.endpoint_url},
                server_address=f"{net.server_ip_for(name)}:{server.port}",
            )
            process.launch = family.launching(namespace=name, plants=plants)
            stack.callback(process.close)
            process.start()
            uploaders[name] = Uploader(process, faulty)
        caller = Caller(server.address, server.admin_token())
        try:
            yield caller, uploaders
        except BaseException as error:
            error.add_note("\n".join(one.tail() for one in (server, *(each.process for each in uploaders.values()))))
            raise
        finally:
            await caller.close()


async def _cut(caller: Caller, uploaders: dict[str, Uploader], net: Network, cut: Cut, told: Told) -> None:
    """Cut off whoever has the job, until somebody else uploads; mend, and look when it uploaded last."""
    ((job_id, lease),) = (await until_running(caller, 1)).items()
    old, seen = uploaders[lease.worker_id], len(uploaders[lease.worker_id].writes())

    async def uploading() -> bool:
        return len(old.writes()) > seen + 2

    await eventually(uploading, "uploads of the job", within_s=WITHIN_S)
    heard = len(old.process.output())
    net.cut(lease.worker_id, cut)

    async def elsewhere() -> bool:
        live = running(await caller.events()).get(job_id)
        return live is not None and live.attempt > lease.attempt and bool(uploaders[live.worker_id].writes())

    await eventually(elsewhere, "the job to run elsewhere", within_s=WITHIN_S)
    net.mend(lease.worker_id)
    await old.process.says(r" lost  ", after=heard, within_s=WITHIN_S)
    lost_s = stories(await caller.events())[lease.lease_id].lost_s
    if lost_s is None:
        told.violations.append(f"{cut.value}: nobody noticed")
        return
    late = [one for one in old.writes() if one[1] > lost_s]
    told.late += len(late)
    told.violations += [f"{cut.value}: an upload ended {ended - lost_s:.2f} s after its lease" for _, ended in late]
    told.margins_s.append(lost_s - max(ended for _, ended in old.writes()))


def _job(prefix: str) -> job_pb2.JobSpecification:
    rule = job_pb2.SyncRule(bucket=BUCKET, prefix=prefix, local_path="state", max_wait=duration(0.2))
    return job_pb2.JobSpecification(
        command=sys.executable,
        arguments=["-c", WRITER],
        heartbeat_interval=duration(LEASE_S / 2),
        sync=job_pb2.Sync(during=[rule]),
    )
