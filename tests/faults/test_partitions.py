"""Lines between workers and the server that are cut, one way or both, or lose a third of everything, and are mended.

Server and workers live in network namespaces; packets are dropped, so that nobody is told. The store (the journal that
attempts write into) can be reached all the time: it is the worker itself that has to stop writing when it hears nothing
more, before the server may give the job to somebody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.callers import Caller
from tests.acceptance.processes import Launch
from tests.acceptance.waiting import eventually
from tests.faults.hosts import HostProcess, LeaseStory, idle, quantiles, running, stories, until_running
from tests.faults.network import Cut, FarServer, Network, network
from tests.faults.scene import LEASE_S, Scene, patient, together, wall_offset_s, wrong_with
from tests.faults.warm import Warm, warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, first_seed, size
from tests.proof.tools import needs, needs_linux_root

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

CUTS = size(short=2, full=51)
CONTROL_CUTS = 1
# A worker each; three cut off at a time are too few to be taken for a fault of the server's.
AT_ONCE = 3
JOBS = 4
WORKERS = 8
# For a machine that is busy with other things, as it is while all tests run.
BUSY_S = 1.0 if FULL else 10.0
# The holder of a lease writes nothing more after so much of it; a line of the journal follows at once or never.
FENCE_S = 0.8 * LEASE_S
LANDING_S = BUSY_S / 20
# A worker gives up a server that has not answered for so long, and goes on calling it until it answers.
SILENT_S = 3.0
MENDED_S = 40.0
# For so long two workers have the job, one of which does not know that it has lost it.
APART_S = 0.5
BRIEF_CUTS = size(short=0, full=10)
BRIEF_S = 0.15 * LEASE_S
LOSSY_CUTS = size(short=0, full=5)
LOSSY_S = 10.0
HALF_OPEN_S = 25.0


@dataclass
class Told:
    """What came of the cuts."""

    cuts: int = 0
    leases: int = 0
    silences_s: list[float] = field(default_factory=list)
    noticed_s: list[float] = field(default_factory=list)
    fenced_s: list[float] = field(default_factory=list)
    mended_s: list[float] = field(default_factory=list)
    landed: int = 0
    events: int = 0
    figures: dict[str, float | int | str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CutOff:
    """A lease whose worker was cut off, since an instant of CLOCK_MONOTONIC."""

    lease: LeaseStory
    host: HostProcess
    cut: Cut
    at_s: float


async def test_partitions(tmp_path: Path) -> None:
    needs_linux_root()
    needs("ip", "nft")
    began = time.monotonic()
    with warm() as family, network(WORKERS) as net, network(WORKERS) as other:
        told, control = await together(
            _run(tmp_path / "proof", family, net, cuts=CUTS),
            _run(tmp_path / "control", family, other, cuts=CONTROL_CUTS, plants=("no_fence",)),
        )
    if told.landed:
        told.violations.append(f"{told.landed} writes to the store under leases that were over")
    settle(
        Proof(
            name="partitions",
            promise=(
                "A worker that is cut off writes nothing after its lease, is noticed in time, and is told when it "
                "comes back; its job goes on elsewhere."
            ),
            fault="nft in network namespaces drops what goes to the server, comes from it, both, or 30 % of both.",
            runs=told.cuts,
            faults=told.cuts + BRIEF_CUTS + LOSSY_CUTS,
            acknowledged=told.events,
            violations=told.violations,
            figures={
                "silence when noticed, least / median / p99 / most (s)": quantiles(told.silences_s),
                "cut to noticed, least / median / p99 / most (s)": quantiles(told.noticed_s),
                "cut to the last write, least / median / p99 / most (s)": quantiles(told.fenced_s),
                "mended to being told, least / median / p99 / most (s)": quantiles(told.mended_s),
                **told.figures,
            },
            control=f"without the fence {control.landed} writes landed after the lease of {control.leases} attempts",
            bites=control.landed > 0,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _run(directory: Path, family: Warm, net: Network, *, cuts: int, plants: tuple[str, ...] = ()) -> Told:
    told, generator = Told(), random.Random(first_seed())
    # Both ways first: a worker that can still be told that its lease is over stops without any fence.
    kinds = [Cut.BOTH, Cut.TO_SERVER, Cut.FROM_SERVER]
    async with _scene(directory, family, net, plants) as here:
        while told.cuts < cuts:
            await _cut_some(here, net, told, generator, kinds[: min(AT_ONCE, cuts - told.cuts)])
        if not plants:
            await _brief(here, net, told, generator)
            await _lossy(here, net, told, generator)
            if BRIEF_CUTS:
                await _half_open(here, net, told)
        events = await here.caller.events()
        told.events = len(events)
        told.violations += wrong_with(events)
        known, offset_s = stories(events), wall_offset_s()
        for line in here.written():
            lost_s = known[line.lease_id].lost_s
            told.landed += lost_s is not None and line.at_s + offset_s > lost_s
    return told


@contextlib.asynccontextmanager
async def _scene(directory: Path, family: Warm, net: Network, plants: tuple[str, ...]) -> AsyncIterator[Scene]:
    """A server and workers, each in its namespace, and jobs that run on them."""
    server = FarServer(directory / "server", net, more=patient(directory))
    server.launch = family.launching(namespace=net.server_namespace)
    started: list[HostProcess] = []
    try:
        await server.up()
        caller = Caller(server.address, server.admin_token())
        await caller.create_many([idle(heartbeat_s=LEASE_S / 2)] * JOBS)
        for namespace in net.workers:
            launch: Launch = family.launching(namespace=namespace, plants=plants)
            address = f"{net.server_ip_for(namespace)}:{server.port}"
            started.append(HostProcess(namespace, directory, server, launch, address=address))
            started[-1].start()
        await until_running(caller, JOBS)
        yield Scene(server, started, caller)
        await caller.close()
    except BaseException as error:
        error.add_note(f"seed {first_seed()}; the server's log ends with:\n{server.tail()}")
        raise
    finally:
        for process in (*started, server):
            process.close()


async def _cut_some(here: Scene, net: Network, told: Told, generator: random.Random, kinds: list[Cut]) -> None:
    """Cut some workers off until their jobs run elsewhere, mend the lines, and wait until they have been told."""
    live = await until_running(here.caller, JOBS)
    heard = {host.name: len(host.output()) for host in here.hosts}
    off = []
    chosen = generator.sample(sorted(live.values(), key=lambda one: one.job_id), len(kinds))
    for lease, cut in zip(chosen, kinds, strict=True):
        net.cut(lease.worker_id, cut)
        off.append(CutOff(lease=lease, host=here.host(lease.worker_id), cut=cut, at_s=_now_s()))

    async def elsewhere() -> bool:
        runs = running(await here.caller.events())
        return all(one.lease.job_id in runs and runs[one.lease.job_id].attempt > one.lease.attempt for one in off)

    await eventually(elsewhere, "the jobs of workers that were cut off to run elsewhere", within_s=30)
    await asyncio.sleep(APART_S)
    for one in off:
        net.mend(one.host.name)
    mended_s = _now_s()
    for one in off:
        found = one.host.says(r" lost  ", after=heard[one.host.name], within_s=MENDED_S)
        try:
            await found
        except AssertionError:
            told.violations.append(f"{one.cut.value}: {one.host.name} never heard that its lease is lost")
        told.mended_s.append(_now_s() - mended_s)
    told.cuts += len(off)
    told.leases += len(off)
    await _judge(here, told, off)


async def _judge(here: Scene, told: Told, off: list[CutOff]) -> None:
    """Whether each was noticed in time, stopped writing in time, and was given to somebody else."""
    known, offset_s = stories(await here.caller.events()), wall_offset_s()
    written = here.written()
    for one in off:
        story = known[one.lease.lease_id]
        if story.lost_s is None:
            told.violations.append(f"{one.cut.value}: nobody noticed")
            continue
        noticed_s = story.lost_s - offset_s - one.at_s
        told.silences_s.append(story.silence_s)
        told.noticed_s.append(noticed_s)
        # What is dropped is sent again: a line that is cut one way carries something until the worker hangs up.
        most_s = LEASE_S + 1 + BUSY_S + (SILENT_S if one.cut is Cut.FROM_SERVER else 0)
        if noticed_s > most_s or story.silence_s > LEASE_S + 1 + BUSY_S:
            told.violations.append(
                f"{one.cut.value}: noticed after {noticed_s:.1f} s, {story.silence_s:.1f} s of silence"
            )
        last_s = max((line.at_s for line in written if line.lease_id == story.lease_id), default=one.at_s)
        told.fenced_s.append(last_s - one.at_s)
        if last_s - one.at_s > FENCE_S + LANDING_S:
            told.violations.append(f"{one.cut.value}: it wrote for another {last_s - one.at_s:.2f} s")


async def _brief(here: Scene, net: Network, told: Told, generator: random.Random) -> None:
    """A cut that is much shorter than the lease changes nothing."""
    for _ in range(BRIEF_CUTS):
        before = await until_running(here.caller, JOBS)
        names = [lease.worker_id for lease in before.values()]
        chosen = generator.sample(names, min(AT_ONCE, len(names)))
        for name in chosen:
            net.cut(name, generator.choice([Cut.TO_SERVER, Cut.FROM_SERVER, Cut.BOTH]))
        await asyncio.sleep(BRIEF_S)
        for name in chosen:
            net.mend(name)
        await asyncio.sleep(LEASE_S + BUSY_S)
        after = running(await here.caller.events())
        changed = [job_id for job_id, lease in before.items() if after.get(job_id) != lease]
        told.violations += [f"{job_id}: a cut of {BRIEF_S} s cost it its lease" for job_id in changed]
    if BRIEF_CUTS:
        told.figures[f"cuts of {BRIEF_S} s that changed nothing"] = BRIEF_CUTS


async def _lossy(here: Scene, net: Network, told: Told, generator: random.Random) -> None:
    """Lines that lose much: leases may be lost, but never wrongly, and all is well when it is over."""
    lost = 0
    for _ in range(LOSSY_CUTS):
        names = [lease.worker_id for lease in (await until_running(here.caller, JOBS)).values()]
        chosen = generator.sample(names, min(AT_ONCE, len(names)))
        before = sum(story.lost_s is not None for story in stories(await here.caller.events()).values())
        for name in chosen:
            net.cut(name, Cut.LOSSY)
        await asyncio.sleep(LOSSY_S)
        for name in chosen:
            net.mend(name)
        await until_running(here.caller, JOBS)
        lost += sum(story.lost_s is not None for story in stories(await here.caller.events()).values()) - before
    if LOSSY_CUTS:
        told.figures[f"leases lost on lines that lose 30 % for {LOSSY_S:.0f} s"] = f"{lost} of {LOSSY_CUTS * AT_ONCE}"


async def _half_open(here: Scene, net: Network, told: Told) -> None:
    """A connection whose other end is gone is noticed on both sides."""
    lease = next(iter((await until_running(here.caller, JOBS)).values()))
    host = here.host(lease.worker_id)
    heard, logged = len(host.output()), len(here.server.output())
    net.cut(host.name, Cut.BOTH)
    at_s = _now_s()
    await host.says(r" disconnected  ", after=heard, within_s=HALF_OPEN_S)
    told.figures["half-open connection noticed by the worker (s)"] = round(_now_s() - at_s, 1)
    pattern = rf'"worker_id": "{host.name}".*"event": "worker_disconnected"'
    await here.server.says(pattern, after=logged, within_s=HALF_OPEN_S)
    told.figures["half-open connection noticed by the server (s)"] = round(_now_s() - at_s, 1)
    net.mend(host.name)


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)
